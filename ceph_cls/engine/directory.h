// The directory inside an object: where each column's bytes of each chunk lie. See doc/object_format.md.
#pragma once

#include <cstdint>
#include <vector>

#include "bytes.h"
#include "dtype.h"

namespace skyhook {

inline constexpr uint32_t kNoHint = 0xFFFFFFFF;
inline constexpr uint64_t kDirectoryHeaderBytes = 64;
inline constexpr uint64_t kObjectBytesMax = 64ull << 20;
inline constexpr uint32_t kChunksMax = 1u << 16;
inline constexpr uint32_t kDirectoryColumnsMax = 1u << 16;
inline constexpr uint64_t kObjectEventsMax = 1ull << 30;
inline constexpr uint32_t kChunkEventsMax = 1u << 22;
// Elements that the lists of one chunk may have together.
inline constexpr uint32_t kChunkElementsMax = 1u << 26;
// Memory that one column of one chunk may take when decoded.
inline constexpr uint64_t kChunkColumnBytesMax = 1ull << 28;

enum class Codec : uint32_t { kNone = 0, kLz4Frame = 1, kZstd = 2 };
enum class ColumnKind : uint8_t { kEventValue = 0, kListElement = 1, kOffsets = 2 };

// One column's bytes of one chunk.
struct ChunkEntry {
  uint64_t offset;
  uint32_t stored_bytes;
  uint32_t raw_bytes;
  uint64_t checksum;
  uint64_t min_bits;
  uint64_t max_bits;
  uint32_t n_values;
  uint32_t flags;
  bool has_bounds() const { return (flags & 1) != 0; }
  bool has_nan() const { return (flags & 2) != 0; }
};
static_assert(sizeof(ChunkEntry) == 48);

struct ColumnRow {
  uint64_t name_hash;
  DType dtype;
  ColumnKind kind;
  uint32_t offsets_index;
  std::vector<ChunkEntry> chunks;
};

// The fixed part of a directory and the places of its tables.
struct DirectoryHeader {
  uint32_t n_columns;
  uint32_t n_chunks;
  uint32_t row_bytes;
  uint64_t n_events;
  uint64_t start;
  Codec codec;

  uint64_t chunk_table_bytes() const { return ((uint64_t{n_chunks} * 4 + 7) & ~7ull) + 8; }
  ByteRange chunk_table() const {
    return {start + kDirectoryHeaderBytes, start + kDirectoryHeaderBytes + chunk_table_bytes()};
  }
  ByteRange key_table() const {
    return {chunk_table().stop, chunk_table().stop + uint64_t{n_columns} * 8 + 8};
  }
  ByteRange row(uint32_t index) const {
    const uint64_t at = key_table().stop + uint64_t{index} * row_bytes;
    return {at, at + row_bytes};
  }
};

// Each throws Error(kCorruptObject) if a checksum or a bound does not hold. `objects` is for messages.
uint64_t Checksum(Bytes data);
DirectoryHeader DecodeHeader(Bytes data, uint64_t directory_start, uint64_t directory_bytes);
std::vector<uint32_t> DecodeChunkTable(Bytes data, const DirectoryHeader& header);
std::vector<uint64_t> DecodeKeyTable(Bytes data, const DirectoryHeader& header);
ColumnRow DecodeRow(Bytes data, const DirectoryHeader& header, uint32_t index,
                    const std::vector<uint32_t>& events);

}  // namespace skyhook
