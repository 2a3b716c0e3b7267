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
  Buffer joined;
  for (size_t first = 0; first < order.size();) {
    ByteRange whole = ranges[order[first]];
    size_t last = first + 1;
    for (; last < order.size() && ranges[order[last]].start <= whole.stop + kGapBytes; ++last) {
      whole.stop = std::max(whole.stop, ranges[order[last]].stop);
    }
    if (last == first + 1) {
      read(whole, places[order[first]]);
    } else {
      read(whole, joined.Renew(whole.size()));
      for (size_t i = first; i < last; ++i) {
        const ByteRange& part = ranges[order[i]];
        std::memcpy(places[order[i]], joined.data() + (part.start - whole.start), part.size());
      }
    }
    first = last;
  }
}

}  // namespace skyhook
