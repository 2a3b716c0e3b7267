// Loops over flat arrays: the only code here that is compiled for several instruction sets.
//
// No kernel allocates, throws or looks at anything but its arguments. Floating point follows IEEE 754
// without contraction, so that results equal NumPy's bit by bit.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>

#include "dtype.h"
#include "program.h"

namespace skyhook {

using UnaryKernel = void (*)(const void* x, int64_t n, void* out);
// A constant operand has one element, read for every result.
using BinaryKernel = void (*)(const void* a, bool a_const, const void* b, bool b_const, int64_t n, void* out);
using CastKernel = void (*)(const void* x, int64_t n, void* out);
// One result per list; `offsets` has n_lists + 1 entries. `valid` (min, max, arg…): 0 for an empty list.
using ReduceKernel = void (*)(const void* x, const int32_t* offsets, int64_t n_lists, void* out,
                              uint8_t* valid);

// Bins of equal width, a bin for what lies below before them and one for what lies above behind.
struct RegularBins {
  double low, width;  // of all bins together
  double count;
  bool closed;  // the last bin holds its upper end too
  int32_t stride;
};
// out[i] += stride * the bin of x[i]
using BinsKernel = void (*)(const void* x, int64_t n, const RegularBins& bins, int32_t* out);

struct KernelTable {
  const char* name;
  UnaryKernel unary[static_cast<int>(Op::kUnaryEnd) - static_cast<int>(Op::kNeg)][kDTypes];
  BinaryKernel binary[static_cast<int>(Op::kBinaryEnd) - static_cast<int>(Op::kAdd)][kDTypes];
  ReduceKernel reduce[static_cast<int>(Op::kReduceEnd) - static_cast<int>(Op::kAny)][kDTypes];
  CastKernel cast[kDTypes][kDTypes];  // [from][to]

  uint64_t (*checksum)(const uint8_t* data, size_t size);
  void (*unpack_bits)(const uint8_t* bits, int64_t n, uint8_t* out);
  // Whether offsets start at 0 and never fall; *longest and the last offset come out.
  bool (*check_offsets)(const int32_t* offsets, int64_t n_lists);
  // Writes the numbers of the true elements to out, returns how many. `out` has room for n + 8.
  int64_t (*select)(const uint8_t* mask, int64_t n, int32_t* out);
  // out[k] = x[index[k]], `width` bytes each (1, 2, 4 or 8).
  void (*gather)(const void* x, const int32_t* index, int64_t n, size_t width, void* out);
  // Copies the elements of lists number rows[0..n_rows), one list behind the other.
  void (*copy_lists)(const void* x, const int32_t* offsets, const int32_t* rows, int64_t n_rows, size_t width,
                     void* out);
  // rank[i] = how many of the first i elements are true, for i = 0 .. n.
  void (*rank)(const uint8_t* mask, int64_t n, int32_t* rank);
  // kSin and kCos of the same float64 at once.
  void (*sin_cos)(const void* x, int64_t n, void* sin, void* cos);
  BinsKernel add_bins[kDTypes];

  // Kernels of lists and sets may read and write kSlackBytes past the ends of their arrays.
  //
  // Of lists number rows[0..n_rows) the elements' numbers, one list behind the other, and their offsets.
  void (*list_rows)(const int32_t* stored, const int32_t* rows, int64_t n_rows, int32_t* offsets,
                    int32_t* index);
  // 0, 1, 2 … in each list.
  void (*local_index)(const int32_t* offsets, int64_t n_lists, int64_t* out);
  // Repeats x[i] for each element of list i.
  void (*spread)(const void* x, const int32_t* offsets, int64_t n_lists, size_t width, void* out);
  // Writes down the elements (numbers in the whole array) of all pairs (n = 2) or triples (n = 3)
  // inside each list, in lexicographic order.
  void (*slots)(const int32_t* offsets, int64_t n_lists, int n, int32_t* const* slots);
  // The same of all pairs of an element of the left list and one of the right, which runs fastest.
  void (*cross_slots)(const int32_t* left, const int32_t* right, int64_t n_lists, int32_t* first,
                      int32_t* second);
  // Where the pairs begin that have the same element of the left list: one more than there are of these.
  void (*cross_runs)(const int32_t* left, const int32_t* right, int64_t n_lists, int32_t* offsets);
  // Sums over the slots of all pairs or triples, float32 or float64.
  void (*component_sum)(const void* x, const int32_t* offsets, int64_t n_lists, int n, DType dtype,
                        void* out);
  // kSignedSqrt of e * e - ((px * px + py * py) + pz * pz), where each is the component_sum of one of
  // `parts` (px, py, pz, e; float64).
  void (*mass_of_sums)(const double* const* parts, const int32_t* offsets, int64_t n_lists, int n,
                       double* out);
  // Of each list kArgmin and kMin of kAbs of these masses less a target (see CanBeNearest), but for lists
  // without any: 0 and infinity. `lists` is the order to take them in: best by length, so that the loops run
  // as often as those before. `scratch` has room for NearestScratch(the longest list).
  void (*nearest_mass)(const double* const* parts, const int32_t* offsets, const int32_t* lists,
                       int64_t n_lists, int n, double target, double* scratch, int64_t* place,
                       double* distance);
};

// Whether nearest_mass may look for it: its square must have a root that is the target again.
inline bool CanBeNearest(double target) {
  return target == 0 || (std::fabs(target) >= 1e-100 && std::fabs(target) <= 1e100);
}
// Values that nearest_mass writes down for a list of m: its sets, and the sums of its pairs.
inline int64_t NearestScratch(int64_t m, int64_t sets) { return sets + 16 + 4 * (m * (m - 1) / 2 + 4); }

// The fastest table that this processor can run.
const KernelTable& Kernels();

}  // namespace skyhook
