#include "result.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <new>

namespace skyhook {
namespace {

constexpr size_t kHugeBytes = 2u << 20;
constexpr int kProtection = PROT_READ | PROT_WRITE;
constexpr int kFlags = MAP_PRIVATE | MAP_ANONYMOUS;

}  // namespace

GrowingBuffer::~GrowingBuffer() {
  if (data_ == nullptr) return;
  if (capacity_ >= kHugeBytes) {
    munmap(data_, capacity_);
  } else {
    std::free(data_);
  }
}

void GrowingBuffer::Grow(size_t needed) {
  const size_t wanted = (std::max({needed, capacity_ * 2, size_t{256}}) + 63) & ~size_t{63};
  // What is as large as a huge page is mapped, and unmapped again: the capacity tells which.
  if (wanted < kHugeBytes) {
    void* memory = std::realloc(data_, wanted);
    if (memory == nullptr) throw std::bad_alloc();
    data_ = static_cast<uint8_t*>(memory);
    capacity_ = wanted;
    return;
  }
  const size_t capacity = (wanted + kHugeBytes - 1) & ~(kHugeBytes - 1);
  void* memory;
  if (capacity_ >= kHugeBytes) {
    memory = mremap(data_, capacity_, capacity, MREMAP_MAYMOVE);
    if (memory == MAP_FAILED) throw std::bad_alloc();
  } else {
    memory = mmap(nullptr, capacity, kProtection, kFlags, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    if (size_ > 0) std::memcpy(memory, data_, size_);
    std::free(data_);
  }
  // Advice only: without huge pages the memory is as good, but slower to fault in.
  static_cast<void>(madvise(memory, capacity, MADV_HUGEPAGE));
  data_ = static_cast<uint8_t*>(memory);
  capacity_ = capacity;
}

void ScanReport::Add(const ScanReport& other) {
  events_in += other.events_in;
  events_out += other.events_out;
  if (passed.size() < other.passed.size()) passed.resize(other.passed.size());
  for (size_t i = 0; i < other.passed.size(); ++i) passed[i] += other.passed[i];
  for (size_t i = 0; i < other.partial.size(); ++i) {
    if (other.partial[i]) SetPartial(i);
  }
  chunks += other.chunks;
  chunks_pruned += other.chunks_pruned;
  bytes_read += other.bytes_read;
  bytes_total += other.bytes_total;
  seconds_read += other.seconds_read;
  seconds_compute += other.seconds_compute;
}

void ScanReport::SetPartial(size_t term) {
  if (partial.size() <= term) partial.resize(term + 1, false);
  partial[term] = true;
}

void ResultColumn::AppendValid(const uint8_t* from, int64_t n) {
  if (from == nullptr && !has_valid) return;
  if (!has_valid) {
    has_valid = true;
    const int64_t before = this->n() - n;
    if (before > 0) std::memset(valid.Extend(static_cast<size_t>(before)), 1, static_cast<size_t>(before));
  }
  uint8_t* to = valid.Extend(static_cast<size_t>(n));
  if (n == 0) return;
  if (from == nullptr) {
    std::memset(to, 1, static_cast<size_t>(n));
  } else {
    std::memcpy(to, from, static_cast<size_t>(n));
  }
}

Result::Result(std::vector<DType> dtypes, std::vector<int> groups_of, bool keep) : keep_rows(keep) {
  if (dtypes.size() != groups_of.size()) Invalid("as many groups as dtypes are needed");
  int n_groups = 0;
  for (size_t i = 0; i < dtypes.size(); ++i) {
    if (groups_of[i] < -1 || groups_of[i] > static_cast<int>(dtypes.size()))
      Invalid("a group's number is out of range");
    ResultColumn column;
    column.dtype = dtypes[i];
    column.group = groups_of[i];
    columns.push_back(std::move(column));
    n_groups = std::max(n_groups, groups_of[i] + 1);
  }
  groups.resize(static_cast<size_t>(n_groups));
  for (GrowingBuffer& group : groups) std::memset(group.Extend(8), 0, 8);
}

void Result::AppendLists(int group, const int32_t* offsets, int64_t n) {
  GrowingBuffer& buffer = groups[static_cast<size_t>(group)];
  int64_t* to = reinterpret_cast<int64_t*>(buffer.Extend(8 * static_cast<size_t>(n)));
  const int64_t shift = to[-1] - offsets[0];
  for (int64_t i = 0; i < n; ++i) to[i] = shift + offsets[i + 1];
}

void Result::AppendLists(int group, const int32_t* offsets, const int32_t* rows_kept, int64_t n) {
  GrowingBuffer& buffer = groups[static_cast<size_t>(group)];
  int64_t* to = reinterpret_cast<int64_t*>(buffer.Extend(8 * static_cast<size_t>(n)));
  int64_t at = to[-1];
  for (int64_t i = 0; i < n; ++i) {
    at += offsets[rows_kept[i] + 1] - offsets[rows_kept[i]];
    to[i] = at;
  }
}

void Result::AppendOffsets(int group, const uint8_t* offsets, int64_t n) {
  int64_t* to =
      reinterpret_cast<int64_t*>(groups[static_cast<size_t>(group)].Extend(8 * static_cast<size_t>(n)));
  const int64_t shift = to[-1];
  for (int64_t i = 0; i < n; ++i) to[i] = shift + Load<int64_t>(offsets + 8 * (i + 1));
}

void Result::Append(const Result& other) {
  if (&other == this) Invalid("a result cannot be joined to itself");
  if (other.columns.size() != columns.size() || other.groups.size() != groups.size() ||
      other.keep_rows != keep_rows || other.histograms.size() != histograms.size()) {
    Invalid("results with different columns cannot be joined");
  }
  const auto copy = [](GrowingBuffer& to, const GrowingBuffer& from) {
    if (from.size() > 0) std::memcpy(to.Extend(from.size()), from.data(), from.size());
  };
  for (size_t i = 0; i < columns.size(); ++i) {
    if (columns[i].dtype != other.columns[i].dtype || columns[i].group != other.columns[i].group) {
      Invalid("results with different columns cannot be joined");
    }
    copy(columns[i].values, other.columns[i].values);
    columns[i].AppendValid(other.columns[i].has_valid ? other.columns[i].valid.data() : nullptr,
                           other.columns[i].n());
  }
  for (size_t g = 0; histograms.empty() && g < groups.size(); ++g) {
    AppendOffsets(static_cast<int>(g), other.groups[g].data(), other.events);
  }
  for (size_t h = 0; h < histograms.size(); ++h) histograms[h].Add(other.histograms[h]);
  copy(rows, other.rows);
  events += other.events;
  report.Add(other.report);
}

void Result::FillHistograms(int64_t n) {
  std::vector<HistogramColumn> filled;
  for (ResultColumn& column : columns) {
    const int64_t* offsets =
        column.group < 0 ? nullptr
                         : reinterpret_cast<const int64_t*>(groups[static_cast<size_t>(column.group)].data());
    filled.push_back(
        {column.dtype, column.values.data(), column.has_valid ? column.valid.data() : nullptr, offsets});
  }
  for (Histogram& histogram : histograms) Fill(&histogram, filled, n);
  for (ResultColumn& column : columns) {
    column.values.Truncate(0);
    column.valid.Truncate(0);
    column.has_valid = false;
  }
  for (GrowingBuffer& group : groups) group.Truncate(8);
}

int64_t Result::nbytes() const {
  size_t total = rows.size();
  for (const ResultColumn& column : columns) total += column.values.size() + column.valid.size();
  for (const GrowingBuffer& group : groups) total += group.size();
  return static_cast<int64_t>(total);
}

}  // namespace skyhook
