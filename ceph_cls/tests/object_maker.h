// Objects in memory for tests: chunks of values in, stored buffers and a directory out.
//
// What is made is what the engine reads of an object: the Arrow framing around it is left out.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/directory.h"
#include "engine/scan.h"

namespace skyhook::test {

struct ColumnSpec {
  std::string name;
  DType dtype;
  ColumnKind kind = ColumnKind::kEventValue;
  uint32_t list = kNoHint;  // of an element: the number of the column of offsets
};

// Values of all columns as in memory, a bool being one byte.
struct ChunkData {
  uint32_t events = 0;
  std::vector<std::vector<uint8_t>> values;
};

struct Table {
  std::vector<ColumnSpec> columns;
  std::vector<ChunkData> chunks;

  // Adds a column and returns its number; chunks come after all columns.
  int Event(const std::string& name, DType dtype);
  int List(const std::string& name);  // the column of offsets
  int Element(const std::string& name, DType dtype, int list);
  int64_t events() const;
};

template <typename T>
std::vector<uint8_t> AsBytes(const std::vector<T>& values) {
  std::vector<uint8_t> bytes(values.size() * sizeof(T));
  for (size_t i = 0; i < values.size(); ++i) {
    const T value = values[i];
    std::memcpy(bytes.data() + i * sizeof(T), &value, sizeof(T));
  }
  return bytes;
}

struct Object {
  std::vector<uint8_t> data;
  ObjectPlace place;
};

// How a compressed object's buffers are stored.
enum class Storing {
  kInTurn,      // the three below, one after the other
  kCompressed,  // a frame
  kRaw,         // length -1: as they are
  kPadded,      // a frame of the buffer padded to a multiple of 64 bytes
};

Object MakeObject(const Table& table, Codec codec, Storing storing = Storing::kInTurn);

// One buffer as it is stored.
std::vector<uint8_t> Store(const std::vector<uint8_t>& raw, Codec codec, Storing storing);
std::vector<uint8_t> PackBits(const std::vector<uint8_t>& bools);

// Computes every checksum anew, as far as the object's tables can be found, so that changed bytes
// get past the checksums.
void Reseal(std::vector<uint8_t>* data, uint64_t directory_start);

}  // namespace skyhook::test
