// Checks a whole object: every checksum that it holds, and the SHA-256 that is its name.
#pragma once

#include "ranges.h"
#include "scan.h"
#include "sha256.h"

namespace skyhook {

// Bytes that one call checks; it then gives a cursor.
inline constexpr uint64_t kVerifyBytesMax = 8 << 20;

// What a call is to check, and what it found.
struct Verification {
  ObjectPlace place;  // of the directory; without one (directory_bytes 0) only the SHA-256 is made
  uint64_t object_bytes = 0;
  uint64_t cursor = 0;  // bytes checked so far
  Sha256 sha;           // of the bytes checked so far; at the end of all
  // Of the directory: its events, its chunks, the checksum of its table of column names.
  uint64_t events = 0;
  uint32_t chunks = 0;
  uint64_t names_checksum = 0;

  bool done() const { return cursor == object_bytes; }
};

// Goes on at the cursor, for kVerifyBytesMax bytes or `milliseconds_max`. The directory is checked by every
// call. Throws Error: kCorruptObject if anything does not hold, or what `read` throws.
void Verify(const ReadRange& read, uint32_t milliseconds_max, Verification* verification);

}  // namespace skyhook
