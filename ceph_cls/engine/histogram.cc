#include "histogram.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "kernels.h"

namespace skyhook {
namespace {

// Entries that are filled together; their bin numbers stay in the cache.
constexpr int64_t kEntries = 4096;

// With so many bins, entries are counted in several tables in turn, as integers: adding to one and the same
// bin again has to wait for the time before.
constexpr size_t kCountedBinsMax = 1024;
constexpr size_t kTables = 4;

void AddBins(const HistogramColumn& column, int64_t first, int64_t n, const HistogramAxis& axis,
             size_t stride, int32_t* bins) {
  const uint8_t* values = column.values + static_cast<size_t>(first) * SizeOf(column.dtype);
  const int32_t step = static_cast<int32_t>(stride);
  if (axis.regular) {
    const double low = axis.edges.front(), width = axis.edges.back() - low;
    const RegularBins regular{low, width, static_cast<double>(axis.bins), axis.closed, step};
    return Kernels().add_bins[static_cast<int>(column.dtype)](values, n, regular, bins);
  }
  Dispatch(column.dtype, [&]<typename T>(T*) {
    const T* from = reinterpret_cast<const T*>(values);
    for (int64_t i = 0; i < n; ++i) {
      bins[i] += step * static_cast<int32_t>(axis.BinOf(static_cast<double>(from[i])));
    }
  });
}

void WidenTo(double* to, const HistogramColumn& column, int64_t first, int64_t n) {
  Dispatch(column.dtype, [&]<typename T>(T*) {
    const T* from = reinterpret_cast<const T*>(column.values) + first;
    for (int64_t i = 0; i < n; ++i) to[i] = static_cast<double>(from[i]);
  });
}

// Fills entries [first, first + n). `events` gives the event of each entry where values per event
// and lists are mixed, else it is null.
class Filler {
 public:
  Filler(Histogram* histogram, const std::vector<HistogramColumn>& columns)
      : histogram_(*histogram), columns_(columns) {
    if (histogram_.weight < 0 && histogram_.sums.size() <= kCountedBinsMax) {
      counts_.assign(kTables * histogram_.sums.size(), 0);
    }
  }

  void Run(int64_t first, int64_t n, const int32_t* events) {
    int32_t bins[kEntries];
    std::fill_n(bins, n, 0);
    uint8_t there[kEntries];
    all_there_ = true;
    size_t stride = 1;
    for (size_t a = histogram_.axes.size(); a-- > 0;) {
      const HistogramAxis& axis = histogram_.axes[a];
      const HistogramColumn& column = columns_[static_cast<size_t>(axis.output)];
      if (events == nullptr || column.offsets != nullptr) {
        AddBins(column, first, n, axis, stride, bins);
      } else {
        Dispatch(column.dtype, [&]<typename T>(T*) {
          const T* values = reinterpret_cast<const T*>(column.values);
          for (int64_t i = 0; i < n; ++i) {
            bins[i] += static_cast<int32_t>(stride * axis.BinOf(static_cast<double>(values[events[i]])));
          }
        });
      }
      KeepValid(column, first, n, events, there);
      stride *= axis.bins + 2;
    }
    if (histogram_.weight < 0) return Count(bins, all_there_ ? nullptr : there, n);
    const HistogramColumn& column = columns_[static_cast<size_t>(histogram_.weight)];
    KeepValid(column, first, n, events, there);
    double weights[kEntries];
    Weights(column, first, n, events, weights);
    for (int64_t i = 0; i < n; ++i) {
      if (!all_there_ && !there[i]) continue;
      const size_t bin = static_cast<size_t>(bins[i]);
      histogram_.sums[bin] += weights[i];
      histogram_.squares[bin] += weights[i] * weights[i];
    }
  }

  // Adds what was counted; to be called once, at the end.
  void End() {
    const size_t n = histogram_.sums.size();
    for (size_t i = 0; i < counts_.size(); ++i) histogram_.sums[i % n] += counts_[i];
  }

 private:
  void Count(const int32_t* bins, const uint8_t* there, int64_t n) {
    if (counts_.empty()) {
      for (int64_t i = 0; i < n; ++i) {
        histogram_.sums[static_cast<size_t>(bins[i])] += there == nullptr ? 1 : there[i];
      }
      return;
    }
    const size_t size = histogram_.sums.size();
    uint32_t* counts = counts_.data();
    if (there != nullptr) {
      for (int64_t i = 0; i < n; ++i) counts[static_cast<size_t>(bins[i])] += there[i];
      return;
    }
    int64_t i = 0;
    for (; i + static_cast<int64_t>(kTables) <= n; i += kTables) {
      for (size_t t = 0; t < kTables; ++t)
        ++counts[t * size + static_cast<size_t>(bins[i + static_cast<int64_t>(t)])];
    }
    for (; i < n; ++i) ++counts[static_cast<size_t>(bins[i])];
  }

  void KeepValid(const HistogramColumn& column, int64_t first, int64_t n, const int32_t* events,
                 uint8_t* there) {
    if (column.valid == nullptr) return;
    if (all_there_) std::fill_n(there, n, uint8_t{1});
    all_there_ = false;
    const bool by_event = events != nullptr && column.offsets == nullptr;
    for (int64_t i = 0; i < n; ++i) there[i] &= column.valid[by_event ? events[i] : first + i];
  }

  static void Weights(const HistogramColumn& column, int64_t first, int64_t n, const int32_t* events,
                      double* weights) {
    if (events == nullptr || column.offsets != nullptr) return WidenTo(weights, column, first, n);
    Dispatch(column.dtype, [&]<typename T>(T*) {
      const T* values = reinterpret_cast<const T*>(column.values);
      for (int64_t i = 0; i < n; ++i) weights[i] = static_cast<double>(values[events[i]]);
    });
  }

  Histogram& histogram_;
  const std::vector<HistogramColumn>& columns_;
  bool all_there_ = true;
  std::vector<uint32_t> counts_;  // kTables after each other; empty if they are too long
};

HistogramAxis DecodeAxis(Bytes* data, size_t n_outputs) {
  if (data->size() < 16) Invalid("the description of a histogram is cut short");
  HistogramAxis axis;
  axis.output = Load<int32_t>(data->data());
  axis.bins = Load<uint32_t>(data->data() + 4);
  axis.regular = Load<uint32_t>(data->data() + 8) == 0;
  const uint32_t closed = Load<uint32_t>(data->data() + 12);
  axis.closed = closed == 1;
  const size_t n_edges = axis.regular ? 2 : size_t{axis.bins} + 1;
  if (axis.output < 0 || static_cast<size_t>(axis.output) >= n_outputs || axis.bins == 0 || closed > 1 ||
      n_edges > kEdgesMax || axis.bins > kHistogramBinsMax || data->size() - 16 < 8 * n_edges) {
    Invalid("an axis of a histogram is out of range");
  }
  for (size_t i = 0; i < n_edges; ++i) {
    axis.edges.push_back(Load<double>(data->data() + 16 + 8 * i));
    if (!std::isfinite(axis.edges[i]) || (i > 0 && !(axis.edges[i] > axis.edges[i - 1]))) {
      Invalid("the edges of a histogram do not rise");
    }
  }
  if (!std::isfinite(axis.edges.back() - axis.edges.front())) Invalid("the range of a histogram is too wide");
  *data = data->subspan(16 + 8 * n_edges);
  return axis;
}

}  // namespace

size_t HistogramAxis::BinOf(double value) const {
  if (regular) {
    const double z = (value - edges[0]) / (edges[1] - edges[0]);
    if (!(z < 1)) return closed && z == 1 ? bins : bins + 1;
    return z >= 0 ? static_cast<size_t>(z * bins) + 1 : 0;
  }
  if (std::isnan(value)) return bins + 1;
  if (closed && value == edges.back()) return bins;
  return static_cast<size_t>(std::upper_bound(edges.begin(), edges.end(), value) - edges.begin());
}

void Histogram::Add(const Histogram& other) {
  if (other.sums.size() != sums.size() || other.squares.size() != squares.size()) {
    Invalid("histograms with different bins cannot be added");
  }
  for (size_t i = 0; i < sums.size(); ++i) sums[i] += other.sums[i];
  for (size_t i = 0; i < squares.size(); ++i) squares[i] += other.squares[i];
}

std::vector<Histogram> DecodeHistograms(Bytes data, size_t n_outputs) {
  std::vector<Histogram> histograms;
  size_t bins_in_all = 0;
  while (!data.empty()) {
    if (histograms.size() == kHistogramsMax) Invalid("more than 256 histograms are asked for");
    if (data.size() < 8) Invalid("the description of a histogram is cut short");
    Histogram histogram;
    histogram.weight = Load<int32_t>(data.data());
    const uint32_t n_axes = Load<uint32_t>(data.data() + 4);
    if (n_axes == 0 || n_axes > kHistogramAxesMax || histogram.weight < -1 ||
        histogram.weight >= static_cast<int64_t>(n_outputs)) {
      Invalid("a histogram needs 1 to 8 axes and a weight that is there");
    }
    data = data.subspan(8);
    size_t bins = 1;
    for (uint32_t a = 0; a < n_axes; ++a) {
      histogram.axes.push_back(DecodeAxis(&data, n_outputs));
      bins *= size_t{histogram.axes.back().bins} + 2;
      if (bins > kHistogramBinsMax) break;
    }
    bins_in_all += bins;
    if (bins_in_all > kHistogramBinsMax) {
      throw Error(Kind::kResourceExhausted, "the histograms have more than 2^20 bins in all");
    }
    histogram.sums.assign(bins, 0.0);
    if (histogram.weight >= 0) histogram.squares.assign(bins, 0.0);
    histograms.push_back(std::move(histogram));
  }
  return histograms;
}

void Fill(Histogram* histogram, const std::vector<HistogramColumn>& columns, int64_t events) {
  const int64_t* offsets = nullptr;
  bool mixed = false;
  const auto look = [&](int output) {
    const HistogramColumn& column = columns[static_cast<size_t>(output)];
    if (column.offsets == nullptr) {
      mixed = true;
    } else if (offsets != nullptr && offsets != column.offsets) {
      Invalid("the axes of a histogram lie on different lists");
    } else {
      offsets = column.offsets;
    }
  };
  for (const HistogramAxis& axis : histogram->axes) look(axis.output);
  if (histogram->weight >= 0) look(histogram->weight);

  Filler filler(histogram, columns);
  if (offsets == nullptr || !mixed) {
    const int64_t entries = offsets == nullptr ? events : offsets[events] - offsets[0];
    for (int64_t first = 0; first < entries; first += kEntries) {
      filler.Run(first, std::min(kEntries, entries - first), nullptr);
    }
    return filler.End();
  }
  // Each element needs the number of its event.
  int32_t numbers[kEntries];
  int64_t first = 0, n = 0;
  for (int64_t event = 0; event < events; ++event) {
    for (int64_t j = offsets[event]; j < offsets[event + 1]; ++j) {
      numbers[n++] = static_cast<int32_t>(event);
      if (n < kEntries) continue;
      filler.Run(first, n, numbers);
      first += n;
      n = 0;
    }
  }
  if (n > 0) filler.Run(first, n, numbers);
  filler.End();
}

}  // namespace skyhook
