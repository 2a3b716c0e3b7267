#include "selection.h"

#include <algorithm>

#include "status.h"

namespace skyhook {
namespace {

constexpr size_t kHeaderBytes = 16;
constexpr uint32_t kRuns = 0, kBits = 1;

void PutNumber(std::vector<uint8_t>* to, uint64_t number) {
  for (; number >= 0x80; number >>= 7) to->push_back(static_cast<uint8_t>(number | 0x80));
  to->push_back(static_cast<uint8_t>(number));
}

// Takes a number off the front of `data`.
int64_t TakeNumber(Bytes* data) {
  uint64_t number = 0;
  for (int shift = 0; shift < 28 && !data->empty(); shift += 7) {
    const uint8_t byte = data->front();
    *data = data->subspan(1);
    number |= uint64_t{byte & 0x7Fu} << shift;
    if (byte < 0x80) return static_cast<int64_t>(number);
  }
  Invalid("a run of the selection is cut short or too long");
}

template <typename T>
void Put(std::vector<uint8_t>* to, T value) {
  const auto* from = reinterpret_cast<const uint8_t*>(&value);
  to->insert(to->end(), from, from + sizeof(T));
}

}  // namespace

Selection::Selection(Bytes coded) {
  if (coded.size() < kHeaderBytes) Invalid("the selection is cut short");
  const uint64_t first = Load<uint64_t>(coded.data());
  span_ = Load<uint32_t>(coded.data() + 8);
  if (span_ > kSelectionEventsMax || first >= uint64_t{1} << 62) {
    Invalid("the selection reaches over " + std::to_string(span_) + " events; " +
            std::to_string(kSelectionEventsMax) + " are allowed");
  }
  first_ = static_cast<int64_t>(first);
  words_.assign(static_cast<size_t>((span_ + 63) / 64), 0);
  const uint32_t form = Load<uint32_t>(coded.data() + 12);
  const Bytes data = coded.subspan(kHeaderBytes);
  if (form == kRuns) {
    DecodeRuns(data);
  } else if (form == kBits) {
    DecodeBits(data);
  } else {
    Invalid("the selection has an unknown form");
  }
}

void Selection::DecodeRuns(Bytes data) {
  int64_t at = 0;
  while (!data.empty()) {
    const int64_t skipped = TakeNumber(&data), taken = TakeNumber(&data);
    if ((at > 0 && skipped == 0) || taken == 0 || skipped + taken > span_ - at)
      Invalid("the runs of the selection contradict its span");
    at += skipped;
    Mark(at, at + taken);
    at += taken;
  }
}

void Selection::DecodeBits(Bytes data) {
  if (data.size() != static_cast<size_t>((span_ + 7) / 8)) Invalid("the selection has too few or many bits");
  if (!data.empty()) std::memcpy(words_.data(), data.data(), data.size());
  if (span_ % 64 != 0 && words_.back() >> (span_ % 64) != 0) Invalid("the selection has bits past its span");
  for (const uint64_t word : words_) count_ += __builtin_popcountll(word);
}

void Selection::Mark(int64_t begin, int64_t end) {
  count_ += end - begin;
  for (int64_t at = begin; at < end;) {
    const int64_t n = std::min(end - at, 64 - at % 64);
    words_[static_cast<size_t>(at / 64)] |= (n == 64 ? ~uint64_t{0} : (uint64_t{1} << n) - 1) << (at % 64);
    at += n;
  }
}

bool Selection::Any(int64_t begin, int64_t end) const {
  int64_t at = std::max(begin - first_, int64_t{0});
  const int64_t stop = std::min(end - first_, span_);
  for (; at < stop; at = (at / 64 + 1) * 64) {
    const uint64_t left = words_[static_cast<size_t>(at / 64)] >> (at % 64);
    if (left != 0) return at + __builtin_ctzll(left) < stop;
  }
  return false;
}

std::vector<int64_t> Selection::Events() const {
  std::vector<int64_t> events;
  events.reserve(static_cast<size_t>(count_));
  ForEach(first_, first_ + span_, [&](int64_t event) { events.push_back(event); });
  return events;
}

std::vector<uint8_t> Selection::Encode(const int64_t* events, size_t n) {
  if (n > 0 && events[0] < 0) Invalid("an event to select has a negative number");
  for (size_t i = 1; i < n; ++i) {
    if (events[i] <= events[i - 1]) Invalid("the events to select do not rise");
  }
  const int64_t first = n == 0 ? 0 : events[0];
  if (n > 0 && events[n - 1] - first >= kSelectionEventsMax) return {};
  const int64_t span = n == 0 ? 0 : events[n - 1] - first + 1;
  const auto bits_bytes = static_cast<size_t>((span + 7) / 8);

  std::vector<uint8_t> coded;
  Put(&coded, static_cast<uint64_t>(first));
  Put(&coded, static_cast<uint32_t>(span));
  Put(&coded, kRuns);
  int64_t done = first;
  for (size_t i = 0; i < n && coded.size() < kHeaderBytes + bits_bytes;) {
    size_t end = i + 1;
    while (end < n && events[end] == events[end - 1] + 1) ++end;
    PutNumber(&coded, static_cast<uint64_t>(events[i] - done));
    PutNumber(&coded, end - i);
    done = events[end - 1] + 1;
    i = end;
  }
  if (n == 0 || (done == first + span && coded.size() <= kHeaderBytes + bits_bytes)) return coded;
  coded.assign(coded.begin(), coded.begin() + 12);
  Put(&coded, kBits);
  coded.resize(kHeaderBytes + bits_bytes, 0);
  for (size_t i = 0; i < n; ++i) {
    const int64_t bit = events[i] - first;
    coded[kHeaderBytes + static_cast<size_t>(bit / 8)] |= static_cast<uint8_t>(1 << (bit % 8));
  }
  return coded;
}

}  // namespace skyhook
