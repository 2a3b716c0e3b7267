// Kernels of angles and histograms. Compiled once per instruction set, as kernels_loops.cc is.
#include "kernels_float64.h"

#include <cmath>
#include <cstring>
#include <limits>

#include "kernels.h"

namespace skyhook::SKYHOOK_KERNELS {
namespace {

#include "vector_math64.h"

constexpr int64_t kBlock = 512;

// Calls f(first, last) for blocks; f returns whether any argument was outside, then `each` is called for all.
template <typename F, typename G>
void InBlocks(int64_t n, F f, G each) {
  for (int64_t start = 0; start < n; start += kBlock) {
    const int64_t stop = start + kBlock < n ? start + kBlock : n;
    if (!f(start, stop)) continue;
    for (int64_t i = start; i < stop; ++i) each(i);
  }
}

void SinCos(const void* x, int64_t n, void* sin, void* cos) {
  const double* from = static_cast<const double*>(x);
  double* __restrict s = static_cast<double*>(sin), * __restrict c = static_cast<double*>(cos);
  InBlocks(
      n,
      [&](int64_t start, int64_t stop) {
        int outside = 0;
        for (int64_t i = start; i < stop; ++i) SinCosOf(from[i], s + i, c + i, &outside);
        return outside != 0;
      },
      [&](int64_t i) {
        if (!ByHalfPi(from[i]).outside) return;
        s[i] = std::sin(from[i]);
        c[i] = std::cos(from[i]);
      });
}

template <bool kSine>
void SinOrCos(const void* x, int64_t n, void* out) {
  const double* from = static_cast<const double*>(x);
  double* __restrict to = static_cast<double*>(out);
  InBlocks(
      n,
      [&](int64_t start, int64_t stop) {
        int outside = 0;
        for (int64_t i = start; i < stop; ++i) {
          double s, c;
          SinCosOf(from[i], &s, &c, &outside);
          to[i] = kSine ? s : c;
        }
        return outside != 0;
      },
      [&](int64_t i) {
        if (ByHalfPi(from[i]).outside) to[i] = kSine ? std::sin(from[i]) : std::cos(from[i]);
      });
}

void Sinh(const void* x, int64_t n, void* out) {
  const double* from = static_cast<const double*>(x);
  double* __restrict to = static_cast<double*>(out);
  InBlocks(
      n,
      [&](int64_t start, int64_t stop) {
        int outside = 0;
        for (int64_t i = start; i < stop; ++i) to[i] = SinhOf(from[i], &outside);
        return outside != 0;
      },
      [&](int64_t i) {
        if (!(std::fabs(from[i]) <= kExponentMax)) to[i] = std::sinh(from[i]);
      });
}

// ------------------------------------------------------------------------------------- histograms
template <typename T>
void AddBins(const void* values, int64_t n, const RegularBins& bins, int32_t* out) {
  const T* from = static_cast<const T*>(values);
  const double low = bins.low, width = bins.width, count = bins.count;
  const double last = bins.closed ? 1 : std::numeric_limits<double>::quiet_NaN();
  const double above = count + 1;
  const int32_t stride = bins.stride;
  for (int64_t i = 0; i < n; ++i) {
    const double z = (static_cast<double>(from[i]) - low) / width;
    // Written so that it takes no branches, and choices are between numbers of one type: NaN fails all.
    const double inside = z >= 0 ? z * count + 1 : 0.0;
    const double beyond = z == last ? count : above;
    out[i] += stride * static_cast<int32_t>(z < 1 ? inside : beyond);
  }
}

}  // namespace

void AddFloat64Kernels(KernelTable* table) {
  const auto unary = [&](Op op) -> UnaryKernel& {
    return table->unary[static_cast<int>(op) - static_cast<int>(Op::kNeg)][static_cast<int>(DType::kFloat64)];
  };
  unary(Op::kSin) = SinOrCos<true>;
  unary(Op::kCos) = SinOrCos<false>;
  unary(Op::kSinh) = Sinh;
  table->sin_cos = SinCos;
  BinsKernel* bins = table->add_bins;
  bins[0] = AddBins<bool>;
  bins[1] = AddBins<int8_t>;
  bins[2] = AddBins<uint8_t>;
  bins[3] = AddBins<int16_t>;
  bins[4] = AddBins<uint16_t>;
  bins[5] = AddBins<int32_t>;
  bins[6] = AddBins<uint32_t>;
  bins[7] = AddBins<int64_t>;
  bins[8] = AddBins<uint64_t>;
  bins[9] = AddBins<float>;
  bins[10] = AddBins<double>;
}

}  // namespace skyhook::SKYHOOK_KERNELS
