#include "object_maker.h"

#include <lz4frame.h>
#include <zstd.h>

#include <bit>
#include <cmath>
#include <stdexcept>

#include "engine/kernels.h"

namespace skyhook::test {
namespace {

template <typename T>
void Append(std::vector<uint8_t>* to, const T& value) {
  const auto* from = reinterpret_cast<const uint8_t*>(&value);
  to->insert(to->end(), from, from + sizeof(T));
}

void Seal(std::vector<uint8_t>* to, size_t start) {
  Append(to, Checksum({to->data() + start, to->size() - start}));
}

// Smallest and largest value and flags, as the directory has them.
void NoteBounds(const std::vector<uint8_t>& values, DType dtype, ChunkEntry* entry) {
  Dispatch(dtype, [&]<typename T>(T*) {
    using Wide = std::conditional_t<
        std::is_floating_point_v<T>, double,
        std::conditional_t<std::is_signed_v<T> || std::is_same_v<T, bool>, int64_t, uint64_t>>;
    Wide low{}, high{};
    for (size_t i = 0; i < values.size(); i += sizeof(T)) {
      const T value = Load<T>(values.data() + i);
      if (value != value) {
        entry->flags |= 2;
        continue;
      }
      const Wide wide = static_cast<Wide>(value);
      if ((entry->flags & 1) == 0 || wide < low) low = wide;
      if ((entry->flags & 1) == 0 || wide > high) high = wide;
      entry->flags |= 1;
    }
    entry->min_bits = std::bit_cast<uint64_t>(low);
    entry->max_bits = std::bit_cast<uint64_t>(high);
  });
}

void NoteLengths(const std::vector<uint8_t>& offsets, ChunkEntry* entry) {
  entry->flags = 0;
  for (size_t i = 4; i < offsets.size(); i += 4) {
    const auto length = static_cast<uint64_t>(int64_t{Load<int32_t>(offsets.data() + i)} -
                                              int64_t{Load<int32_t>(offsets.data() + i - 4)});
    if (entry->flags == 0 || length < entry->min_bits) entry->min_bits = length;
    if (entry->flags == 0 || length > entry->max_bits) entry->max_bits = length;
    entry->flags = 1;
  }
}

}  // namespace

int Table::Event(const std::string& name, DType dtype) {
  columns.push_back({name, dtype, ColumnKind::kEventValue, kNoHint});
  return static_cast<int>(columns.size()) - 1;
}

int Table::List(const std::string& name) {
  columns.push_back({name + "#", DType::kInt32, ColumnKind::kOffsets, kNoHint});
  return static_cast<int>(columns.size()) - 1;
}

int Table::Element(const std::string& name, DType dtype, int list) {
  columns.push_back({name, dtype, ColumnKind::kListElement, static_cast<uint32_t>(list)});
  return static_cast<int>(columns.size()) - 1;
}

int64_t Table::events() const {
  int64_t total = 0;
  for (const ChunkData& chunk : chunks) total += chunk.events;
  return total;
}

std::vector<uint8_t> PackBits(const std::vector<uint8_t>& bools) {
  std::vector<uint8_t> bits((bools.size() + 7) / 8);
  for (size_t i = 0; i < bools.size(); ++i) bits[i / 8] |= static_cast<uint8_t>((bools[i] & 1) << (i % 8));
  return bits;
}

std::vector<uint8_t> Store(const std::vector<uint8_t>& raw, Codec codec, Storing storing) {
  if (codec == Codec::kNone || raw.empty()) return raw;
  std::vector<uint8_t> from = raw, stored;
  if (storing == Storing::kRaw) {
    Append(&stored, int64_t{-1});
    stored.insert(stored.end(), raw.begin(), raw.end());
    return stored;
  }
  if (storing == Storing::kPadded) from.resize((from.size() + 63) / 64 * 64);
  Append(&stored, static_cast<int64_t>(from.size()));
  const bool lz4 = codec == Codec::kLz4Frame;
  const size_t room = lz4 ? LZ4F_compressFrameBound(from.size(), nullptr) : ZSTD_compressBound(from.size());
  stored.resize(8 + room);
  const size_t made = lz4 ? LZ4F_compressFrame(stored.data() + 8, room, from.data(), from.size(), nullptr)
                          : ZSTD_compress(stored.data() + 8, room, from.data(), from.size(), 1);
  if (lz4 ? LZ4F_isError(made) : ZSTD_isError(made)) throw std::runtime_error("cannot compress");
  stored.resize(8 + made);
  return stored;
}

Object MakeObject(const Table& table, Codec codec, Storing storing) {
  std::vector<uint8_t> data(64, 0xA5);  // stands for the schema
  std::vector<std::vector<ChunkEntry>> entries(table.columns.size());
  int turn = 0;
  for (const ChunkData& chunk : table.chunks) {
    for (size_t c = 0; c < table.columns.size(); ++c) {
      const ColumnSpec& column = table.columns[c];
      const std::vector<uint8_t>& values = chunk.values[c];
      const std::vector<uint8_t> raw = column.dtype == DType::kBool ? PackBits(values) : values;
      const Storing how = storing == Storing::kInTurn ? static_cast<Storing>(1 + turn++ % 3) : storing;
      const std::vector<uint8_t> stored = Store(raw, codec, how);
      ChunkEntry entry{};
      entry.offset = data.size();
      entry.stored_bytes = static_cast<uint32_t>(stored.size());
      entry.raw_bytes = static_cast<uint32_t>(raw.size());
      entry.checksum = Checksum(stored);
      entry.n_values = static_cast<uint32_t>(values.size() / SizeOf(column.dtype));
      if (column.kind == ColumnKind::kOffsets) {
        NoteLengths(values, &entry);
      } else {
        NoteBounds(values, column.dtype, &entry);
      }
      entries[c].push_back(entry);
      data.insert(data.end(), stored.begin(), stored.end());
      data.resize((data.size() + 7) & ~size_t{7});
    }
  }

  const uint64_t start = data.size();
  const auto n_chunks = static_cast<uint32_t>(table.chunks.size());
  std::vector<uint8_t> names;
  for (const ColumnSpec& column : table.columns) {
    Append(&names, static_cast<uint16_t>(column.name.size()));
    names.insert(names.end(), column.name.begin(), column.name.end());
  }
  names.resize((names.size() + 7) & ~size_t{7});

  const char magic[] = "SKYHKDIR";
  data.insert(data.end(), magic, magic + 8);
  for (uint32_t field : {1u, static_cast<uint32_t>(table.columns.size()), n_chunks, 32 + 48 * n_chunks + 8}) {
    Append(&data, field);
  }
  Append(&data, static_cast<uint64_t>(table.events()));
  Append(&data, start);
  Append(&data, static_cast<uint32_t>(names.size()));
  Append(&data, static_cast<uint32_t>(codec));
  Append(&data, uint64_t{0});
  Seal(&data, start);

  size_t at = data.size();
  for (const ChunkData& chunk : table.chunks) Append(&data, chunk.events);
  if (n_chunks % 2 == 1) Append(&data, uint32_t{0});
  Seal(&data, at);
  at = data.size();
  const auto hash = [](const std::string& name) {
    return Checksum({reinterpret_cast<const uint8_t*>(name.data()), name.size()});
  };
  for (const ColumnSpec& column : table.columns) Append(&data, hash(column.name));
  Seal(&data, at);
  for (size_t c = 0; c < table.columns.size(); ++c) {
    const ColumnSpec& column = table.columns[c];
    at = data.size();
    Append(&data, hash(column.name));
    Append(&data, static_cast<uint8_t>(column.dtype));
    Append(&data, static_cast<uint8_t>(column.kind));
    Append(&data, uint16_t{0});
    Append(&data, column.list);
    Append(&data, static_cast<uint32_t>(c));
    Append(&data, uint32_t{0});
    uint64_t total = 0;
    for (const ChunkEntry& entry : entries[c]) total += entry.n_values;
    Append(&data, total);
    for (const ChunkEntry& entry : entries[c]) Append(&data, entry);
    Seal(&data, at);
  }
  at = data.size();
  data.insert(data.end(), names.begin(), names.end());
  Seal(&data, at);
  at = data.size();
  Append(&data, start);
  Append(&data, static_cast<uint32_t>(data.size() + 24 - start));
  Append(&data, uint32_t{1});
  Seal(&data, at);
  const char end[] = "SKYHKEND";
  data.insert(data.end(), end, end + 8);
  const uint64_t size = data.size();
  return {std::move(data), {start, size - start, 0}};
}

void Reseal(std::vector<uint8_t>* data, uint64_t directory_start) {
  const uint64_t size = data->size();
  const auto seal = [&](uint64_t start, uint64_t stop) {
    if (start > stop || stop < 8 || stop > size || stop - start < 8) return;
    const uint64_t sum = Checksum({data->data() + start, stop - 8 - start});
    std::memcpy(data->data() + stop - 8, &sum, 8);
  };
  if (directory_start > size || size - directory_start < kDirectoryHeaderBytes) return;
  seal(directory_start, directory_start + kDirectoryHeaderBytes);
  DirectoryHeader header{};
  header.n_columns = Load<uint32_t>(data->data() + directory_start + 12);
  header.n_chunks = Load<uint32_t>(data->data() + directory_start + 16);
  header.row_bytes = Load<uint32_t>(data->data() + directory_start + 20);
  header.start = directory_start;
  if (header.n_chunks > kChunksMax || header.row_bytes < 40) return;
  seal(header.chunk_table().start, header.chunk_table().stop);
  seal(header.key_table().start, header.key_table().stop);
  for (uint32_t c = 0; c < header.n_columns && header.row(c).stop <= size; ++c) {
    for (uint64_t at = header.row(c).start + 32; at + 48 + 8 <= header.row(c).stop; at += 48) {
      const auto offset = Load<uint64_t>(data->data() + at);
      const auto stored = Load<uint32_t>(data->data() + at + 8);
      if (offset > size || stored > size - offset) continue;
      const uint64_t sum = Checksum({data->data() + offset, stored});
      std::memcpy(data->data() + at + 16, &sum, 8);
    }
    seal(header.row(c).start, header.row(c).stop);
  }
}

}  // namespace skyhook::test
