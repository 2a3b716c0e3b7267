// Histograms filled while scanning: kilobytes leave instead of values.
#pragma once

#include <cstdint>
#include <vector>

#include "bytes.h"
#include "dtype.h"

namespace skyhook {

inline constexpr size_t kHistogramsMax = 256;
inline constexpr size_t kHistogramAxesMax = 8;
inline constexpr size_t kHistogramBinsMax = 1 << 20;  // of all axes together, flow bins included
inline constexpr size_t kEdgesMax = 1 << 16;

// Bins of one axis, an underflow and an overflow bin beside them; NaN counts as overflow. A value's
// bin is computed as boost-histogram does, so that counts are equal to the last one.
struct HistogramAxis {
  int output = 0;       // which output of the program is binned
  uint32_t bins = 0;    // without the flow bins
  bool regular = true;  // `edges` holds low and high; else bins + 1 rising edges
  bool closed = false;  // the last bin holds its upper end too
  std::vector<double> edges;

  // 0 for underflow, bins + 1 for overflow.
  size_t BinOf(double value) const;
};

struct Histogram {
  std::vector<HistogramAxis> axes;
  int weight = -1;  // output, or -1 to count
  // Sums of weights (or counts) and of squared weights, the last axis fastest. Unweighted: no squares.
  std::vector<double> sums;
  std::vector<double> squares;

  // Adds the bins of another filling of the same histogram.
  void Add(const Histogram& other);
};

// Decodes descriptions of histograms (see doc/wire.md) and makes them empty.
// Throws Error(kInvalidRequest) if they pass a limit or name an output of `n_outputs` that is not there.
std::vector<Histogram> DecodeHistograms(Bytes data, size_t n_outputs);

// Values of one output for some events: flat, with the offsets of their lists if there are any.
struct HistogramColumn {
  DType dtype;
  const uint8_t* values;
  const uint8_t* valid;    // null: all are there
  const int64_t* offsets;  // null: one value per event; need not begin at 0
};

// Fills in `events` events. Outputs with one value per event count once for each element of the
// others' lists; entries with a missing value or weight are left out. All jagged outputs of one
// histogram lie on one list.
void Fill(Histogram* histogram, const std::vector<HistogramColumn>& columns, int64_t events);

}  // namespace skyhook
