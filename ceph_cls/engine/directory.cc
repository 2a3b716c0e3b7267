#include "directory.h"

#include <algorithm>
#include <bit>
#include <string>

#include "kernels.h"

namespace skyhook {
namespace {

// Tables end with the checksum of all that comes before it.
void CheckSum(Bytes data, const char* what) {
  if (data.size() < 8 ||
      Checksum(data.first(data.size() - 8)) != Load<uint64_t>(data.data() + data.size() - 8)) {
    Corrupt(std::string(what) + " does not match its checksum");
  }
}

// Bytes that one stored byte can decode to at the very most: memory is asked for before decoding.
uint64_t Expansion(Codec codec) {
  switch (codec) {
    case Codec::kNone:
      return 1;
    case Codec::kLz4Frame:
      return 255;  // a length byte of a match
    case Codec::kZstd:
      return 1 << 15;  // a block of 128 KiB in 4 bytes
  }
  return 0;
}

bool Ordered(DType dtype, uint64_t low, uint64_t high) {
  if (IsFloat(dtype)) return std::bit_cast<double>(low) <= std::bit_cast<double>(high);
  return IsUnsigned(dtype) ? low <= high : static_cast<int64_t>(low) <= static_cast<int64_t>(high);
}

void CheckEntry(const ChunkEntry& entry, const ColumnRow& row, const DirectoryHeader& header,
                uint32_t events) {
  const bool fits = entry.offset <= header.start && entry.stored_bytes <= header.start - entry.offset;
  const uint64_t expected = row.dtype == DType::kBool ? (uint64_t{entry.n_values} + 7) / 8
                                                      : uint64_t{entry.n_values} * SizeOf(row.dtype);
  const bool sized = entry.raw_bytes == expected && entry.n_values <= kChunkElementsMax &&
                     uint64_t{entry.n_values} * SizeOf(row.dtype) <= kChunkColumnBytesMax;
  bool counted = true;
  if (row.kind == ColumnKind::kEventValue) counted = entry.n_values == events;
  if (row.kind == ColumnKind::kOffsets) counted = entry.n_values == events + 1;
  const bool possible = entry.raw_bytes <= uint64_t{entry.stored_bytes} * Expansion(header.codec);
  const bool bounded = !entry.has_bounds() || Ordered(row.dtype, entry.min_bits, entry.max_bits);
  if (!fits || !sized || !counted || !possible || !bounded)
    Corrupt("a row of the directory contradicts the object");
}

}  // namespace

uint64_t Checksum(Bytes data) { return Kernels().checksum(data.data(), data.size()); }

DirectoryHeader DecodeHeader(Bytes data, uint64_t directory_start, uint64_t directory_bytes) {
  if (data.size() < kDirectoryHeaderBytes || std::memcmp(data.data(), "SKYHKDIR", 8) != 0) {
    Corrupt("there is no directory where the catalog says");
  }
  CheckSum(data.first(kDirectoryHeaderBytes), "the directory's header");
  const uint32_t version = Load<uint32_t>(data.data() + 8);
  if (version != 1)
    Invalid("object format version " + std::to_string(version) + "; this engine reads version 1");
  DirectoryHeader header;
  header.n_columns = Load<uint32_t>(data.data() + 12);
  header.n_chunks = Load<uint32_t>(data.data() + 16);
  header.row_bytes = Load<uint32_t>(data.data() + 20);
  header.n_events = Load<uint64_t>(data.data() + 24);
  header.start = Load<uint64_t>(data.data() + 32);
  header.codec = static_cast<Codec>(Load<uint32_t>(data.data() + 44));
  const bool limits = header.n_columns <= kDirectoryColumnsMax && header.n_chunks <= kChunksMax &&
                      header.start <= kObjectBytesMax && header.codec <= Codec::kZstd;
  if (!limits || header.row_bytes != 32 + 48 * header.n_chunks + 8 || header.start != directory_start ||
      header.row(header.n_columns).start > directory_start + directory_bytes) {
    Corrupt("the directory's header contradicts itself or the catalog");
  }
  return header;
}

std::vector<uint32_t> DecodeChunkTable(Bytes data, const DirectoryHeader& header) {
  CheckSum(data, "the table of chunks");
  std::vector<uint32_t> events(header.n_chunks);
  if (!events.empty()) std::memcpy(events.data(), data.data(), 4 * events.size());
  uint64_t total = 0;
  for (uint32_t n : events) total += n;
  const bool small =
      std::all_of(events.begin(), events.end(), [](uint32_t n) { return n <= kChunkEventsMax; });
  if (!small || total > kObjectEventsMax)
    Corrupt("a chunk or the object claims more events than any may have");
  if (total != header.n_events) Corrupt("the chunks do not add up to the object's events");
  return events;
}

std::vector<uint64_t> DecodeKeyTable(Bytes data, const DirectoryHeader& header) {
  CheckSum(data, "the table of column names");
  std::vector<uint64_t> keys(header.n_columns);
  if (!keys.empty()) std::memcpy(keys.data(), data.data(), 8 * keys.size());
  return keys;
}

ColumnRow DecodeRow(Bytes data, const DirectoryHeader& header, uint32_t index,
                    const std::vector<uint32_t>& events) {
  CheckSum(data, "a row of the directory");
  ColumnRow row;
  row.name_hash = Load<uint64_t>(data.data());
  const uint8_t dtype = data[8], kind = data[9];
  row.offsets_index = Load<uint32_t>(data.data() + 12);
  if (dtype >= kDTypes || kind > 2 || Load<uint32_t>(data.data() + 16) != index) {
    Corrupt("a row of the directory contradicts its place");
  }
  row.dtype = static_cast<DType>(dtype);
  row.kind = static_cast<ColumnKind>(kind);
  if (row.kind == ColumnKind::kOffsets && row.dtype != DType::kInt32) Corrupt("offsets that are not int32");
  row.chunks.resize(header.n_chunks);
  if (!row.chunks.empty()) std::memcpy(row.chunks.data(), data.data() + 32, 48 * row.chunks.size());
  uint64_t stored = 0;
  for (size_t i = 0; i < row.chunks.size(); ++i) {
    CheckEntry(row.chunks[i], row, header, events[i]);
    stored += row.chunks[i].stored_bytes;
  }
  if (stored > header.start) Corrupt("the chunks' bytes overlap");
  return row;
}

}  // namespace skyhook
