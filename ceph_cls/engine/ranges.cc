#include "ranges.h"

#include <algorithm>
#include <cstring>
#include <numeric>

namespace skyhook {

void ReadJoined(const std::vector<ByteRange>& ranges, const std::vector<uint8_t*>& places,
                const ReadRange& read) {
  std::vector<size_t> order(ranges.size());
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(),
            [&](size_t a, size_t b) { return ranges[a].start < ranges[b].start; });
  for (size_t first = 0; first < order.size();) {
    ByteRange whole = ranges[order[first]];
    size_t last = first + 1;
    for (; last < order.size() && ranges[order[last]].start <= whole.stop + kGapBytes; ++last) {
      whole.stop = std::max(whole.stop, ranges[order[last]].stop);
    }
    const Bytes joined = read(whole);
    for (; first < last; ++first) {
      const ByteRange& part = ranges[order[first]];
      std::memcpy(places[order[first]], joined.data() + (part.start - whole.start), part.size());
    }
  }
}

}  // namespace skyhook
