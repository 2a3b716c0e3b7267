// From stored bytes to values: checksum, LZ4 frame or zstd, bits to bytes.
#pragma once

#include <memory>

#include "directory.h"

namespace skyhook {

// Decodes buffers one after the other; keeps its codec contexts. Not thread-safe.
class Decoder {
 public:
  Decoder();
  ~Decoder();

  // Writes the entry.n_values values of `stored` (entry.stored_bytes long) to `to`, bool as one byte
  // each. `to` has room for SizeOf(dtype) * n_values bytes. Throws Error(kCorruptObject) if the
  // checksum does not hold or the bytes do not decode to exactly that.
  void Decode(Bytes stored, const ChunkEntry& entry, Codec codec, DType dtype, uint8_t* to);

  // Returns the values in place if they are stored as they are in memory, else an empty span.
  static Bytes InPlace(Bytes stored, const ChunkEntry& entry, Codec codec, DType dtype);

 private:
  struct Contexts;
  void Inflate(Bytes frame, Codec codec, uint8_t* to, uint64_t size);
  std::unique_ptr<Contexts> contexts_;
  Buffer scratch_;
};

// Throws Error(kCorruptObject) unless `stored` has the entry's checksum.
void CheckStored(Bytes stored, const ChunkEntry& entry);

}  // namespace skyhook
