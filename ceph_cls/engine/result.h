// What scans deliver: growing columns, and what it took.
#pragma once

#include <cstdint>
#include <vector>

#include "bytes.h"
#include "dtype.h"
#include "histogram.h"

namespace skyhook {

// Memory that grows by remapping, so that growing does not copy; large blocks use huge pages.
class GrowingBuffer {
 public:
  GrowingBuffer() = default;
  GrowingBuffer(GrowingBuffer&& other) noexcept { *this = std::move(other); }
  GrowingBuffer& operator=(GrowingBuffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    std::swap(capacity_, other.capacity_);
    return *this;
  }
  ~GrowingBuffer();

  // Makes room for `more` bytes at the end and returns their place; old places become invalid.
  uint8_t* Extend(size_t more) {
    if (size_ + more > capacity_) Grow(size_ + more);
    uint8_t* place = data_ + size_;
    size_ += more;
    return place;
  }
  void Truncate(size_t size) { size_ = size; }
  uint8_t* data() { return data_; }
  const uint8_t* data() const { return data_; }
  size_t size() const { return size_; }

 private:
  void Grow(size_t needed);
  uint8_t* data_ = nullptr;
  size_t size_ = 0;
  size_t capacity_ = 0;
};

struct ScanReport {
  int64_t events_in = 0;
  int64_t events_out = 0;
  std::vector<int64_t> passed;  // events left after each term
  // By term, true where that is too few: zone maps ruled events out for a later term, before this one was
  // tried on them. Empty if all are whole; the last term always is.
  std::vector<bool> partial;
  int64_t chunks = 0;
  int64_t chunks_pruned = 0;
  int64_t bytes_read = 0;
  int64_t bytes_total = 0;
  double seconds_read = 0;
  double seconds_compute = 0;

  void Add(const ScanReport& other);
  void SetPartial(size_t term);
  bool IsPartial(size_t term) const { return term < partial.size() && partial[term]; }
};

struct ResultColumn {
  DType dtype;
  int group;  // -1: one value per event
  GrowingBuffer values;
  GrowingBuffer valid;  // one byte each; empty while every value is there
  bool has_valid = false;

  int64_t n() const { return static_cast<int64_t>(values.size() / SizeOf(dtype)); }
  // Appends validity for the last n values: all there if `from` is null.
  void AppendValid(const uint8_t* from, int64_t n);
};

class Result {
 public:
  Result(std::vector<DType> dtypes, std::vector<int> groups, bool keep_rows);

  // Adds lists of these lengths to a group: `offsets` has n + 1 entries.
  void AppendLists(int group, const int32_t* offsets, int64_t n);
  // Adds lists number `rows` of `offsets`.
  void AppendLists(int group, const int32_t* offsets, const int32_t* rows, int64_t n);
  // Adds n lists from int64 offsets (n + 1 of them, from 0), as a result has them; need not be aligned.
  void AppendOffsets(int group, const uint8_t* offsets, int64_t n);
  void Append(const Result& other);
  // Fills the histograms with the last `n` events, which are all there are, and lets go of them.
  void FillHistograms(int64_t n);
  int64_t nbytes() const;

  std::vector<ResultColumn> columns;
  std::vector<GrowingBuffer> groups;  // int64 offsets, events + 1
  GrowingBuffer rows;                 // int64
  bool keep_rows;
  // If there are any, they are filled and the columns stay empty.
  std::vector<Histogram> histograms;
  int64_t events = 0;
  ScanReport report;
};

}  // namespace skyhook
