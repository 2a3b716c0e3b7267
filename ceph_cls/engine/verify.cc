#include "verify.h"

#include <algorithm>
#include <chrono>
#include <string>

#include "codec.h"
#include "directory.h"

namespace skyhook {
namespace {

constexpr uint64_t kTrailerBytes = 32;
// Bytes read at a time, and checked between two looks at the clock.
constexpr uint64_t kPieceBytes = 1 << 20;
static_assert(kPieceBytes % Sha256::kBlockBytes == 0);

// The stored bytes of one column in one chunk.
struct Stored {
  ChunkEntry entry;
  uint32_t column;
  uint32_t chunk;
  ByteRange range() const { return {entry.offset, entry.offset + entry.stored_bytes}; }
};

std::string Where(uint32_t column) { return "column number " + std::to_string(column); }

void CheckTrailer(Bytes trailer, const ObjectPlace& place) {
  if (std::memcmp(trailer.data() + 24, "SKYHKEND", 8) != 0 ||
      Load<uint64_t>(trailer.data()) != place.directory_start ||
      Load<uint32_t>(trailer.data() + 8) != place.directory_bytes ||
      Load<uint64_t>(trailer.data() + 16) != Checksum(trailer.first(16))) {
    Corrupt("the directory's trailer does not match the directory or the catalog");
  }
}

// Checks the directory and returns what it says of the columns' bytes.
std::vector<Stored> CheckDirectory(const ReadRange& read, Verification* verification) {
  const ObjectPlace& place = verification->place;
  if (place.directory_bytes < kDirectoryHeaderBytes + kTrailerBytes ||
      place.directory_bytes > kObjectBytesMax || place.directory_start > kObjectBytesMax) {
    Corrupt("the directory's place is out of range");
  }
  const Bytes data = read({place.directory_start, place.directory_start + place.directory_bytes});
  const DirectoryHeader header = DecodeHeader(data, place.directory_start, place.directory_bytes);
  const auto part = [&](ByteRange range) { return data.subspan(range.start - header.start, range.size()); };
  const std::vector<uint32_t> events = DecodeChunkTable(part(header.chunk_table()), header);
  const Bytes keys = part(header.key_table());
  DecodeKeyTable(keys, header);
  CheckTrailer(data.last(kTrailerBytes), place);
  verification->events = header.n_events;
  verification->chunks = header.n_chunks;
  verification->names_checksum = Load<uint64_t>(keys.data() + keys.size() - 8);
  std::vector<Stored> stored;
  uint64_t nbytes = 0;
  for (uint32_t column = 0; column < header.n_columns; ++column) {
    try {
      const ColumnRow row = DecodeRow(part(header.row(column)), header, column, events);
      for (uint32_t chunk = 0; chunk < header.n_chunks; ++chunk) {
        nbytes += row.chunks[chunk].stored_bytes;
        if (row.chunks[chunk].stored_bytes > 0) stored.push_back({row.chunks[chunk], column, chunk});
      }
    } catch (const Error& error) {
      throw Error(error.kind(), Where(column) + ": " + error.what());
    }
  }
  // Or a small object could make the check read without end.
  if (nbytes > header.start) Corrupt("the columns' bytes overlap");
  return stored;
}

void CheckColumn(Bytes bytes, const Stored& stored) {
  try {
    CheckStored(bytes, stored.entry);
  } catch (const Error& error) {
    throw Error(error.kind(),
                Where(stored.column) + ", chunk " + std::to_string(stored.chunk) + ": " + error.what());
  }
}

// Checks the columns' bytes that begin in the piece. Those that end behind it are read on their own, and
// `piece` is lost.
void CheckColumns(const std::vector<Stored>& stored, ByteRange range, Bytes piece, const ReadRange& read) {
  std::vector<const Stored*> longer;
  for (const Stored& one : stored) {
    const ByteRange its = one.range();
    if (its.start < range.start || its.start >= range.stop) continue;
    if (its.stop > range.stop) {
      longer.push_back(&one);
    } else {
      CheckColumn(piece.subspan(its.start - range.start, its.size()), one);
    }
  }
  for (const Stored* one : longer) CheckColumn(read(one->range()), *one);
}

}  // namespace

void Verify(const ReadRange& read, uint32_t milliseconds_max, Verification* verification) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(milliseconds_max);
  Verification& v = *verification;
  if (v.object_bytes > kObjectBytesMax || v.cursor > v.object_bytes || v.cursor % Sha256::kBlockBytes != 0) {
    Invalid("the object's size or the cursor is out of range");
  }
  std::vector<Stored> stored;
  if (v.place.directory_bytes > 0) stored = CheckDirectory(read, verification);
  const uint64_t end = std::min(v.object_bytes, v.cursor + kVerifyBytesMax);
  do {
    const ByteRange range{v.cursor, std::min(end, v.cursor + kPieceBytes)};
    const Bytes piece = range.size() > 0 ? read(range) : Bytes();
    v.cursor = range.stop;
    if (v.done()) {
      v.sha.Finish(piece, v.object_bytes);
    } else {
      v.sha.Add(piece);
    }
    CheckColumns(stored, range, piece, read);
  } while (v.cursor < end && std::chrono::steady_clock::now() < deadline);
}

}  // namespace skyhook
