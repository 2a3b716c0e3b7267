// Reading several ranges with few reads.
#pragma once

#include <functional>
#include <vector>

#include "bytes.h"

namespace skyhook {

// Ranges closer than this are read as one: about what a read costs besides its bytes on a disk.
inline constexpr uint64_t kGapBytes = 64 << 10;

// Returns exactly the bytes of the range, which is not empty; they stay until the next call. Throws Error.
using ReadRange = std::function<Bytes(ByteRange range)>;

// Fills places[i] with ranges[i], joining ranges that lie close together.
void ReadJoined(const std::vector<ByteRange>& ranges, const std::vector<uint8_t*>& places,
                const ReadRange& read);

}  // namespace skyhook
