// Some events of an object, or of a dataset: what one scan kept and the next shall look at. See doc/wire.md.
#pragma once

#include <cstdint>
#include <vector>

#include "bytes.h"

namespace skyhook {

// Most events from the first to the last of a selection: as bits they take 512 KiB.
inline constexpr int64_t kSelectionEventsMax = int64_t{1} << 22;

class Selection {
 public:
  Selection() = default;

  // Decodes what Encode() made. Throws Error(kInvalidRequest).
  explicit Selection(Bytes coded);

  // Encodes numbers of events that rise. Returns nothing if first and last lie further apart than
  // kSelectionEventsMax allows. Throws Error(kInvalidRequest) if they do not rise from 0 or more.
  static std::vector<uint8_t> Encode(const int64_t* events, size_t n);

  int64_t count() const { return count_; }

  // Whether an event in [begin, end) is in.
  bool Any(int64_t begin, int64_t end) const;

  // Calls f with the number of each event in [begin, end), rising.
  template <typename F>
  void ForEach(int64_t begin, int64_t end, F f) const;

  // The numbers of all its events.
  std::vector<int64_t> Events() const;

 private:
  void Mark(int64_t begin, int64_t end);
  void DecodeRuns(Bytes data);
  void DecodeBits(Bytes data);

  int64_t first_ = 0;
  int64_t span_ = 0;
  int64_t count_ = 0;
  std::vector<uint64_t> words_;  // bit i: whether event first_ + i is in
};

template <typename F>
void Selection::ForEach(int64_t begin, int64_t end, F f) const {
  int64_t at = begin > first_ ? begin - first_ : 0;
  const int64_t stop = end - first_ < span_ ? end - first_ : span_;
  while (at < stop) {
    const uint64_t left = words_[static_cast<size_t>(at / 64)] >> (at % 64);
    if (left == 0) {
      at = (at / 64 + 1) * 64;
      continue;
    }
    at += __builtin_ctzll(left);
    if (at < stop) f(first_ + at);
    ++at;
  }
}

}  // namespace skyhook
