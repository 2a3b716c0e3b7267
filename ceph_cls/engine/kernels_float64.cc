// Kernels of four-vectors and histograms. Compiled once per instruction set, as kernels_loops.cc is.
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

// -------------------------------------------------------------------------------- masses of sums
// A vector of 32 bytes, with no demands on alignment.
typedef double Four __attribute__((vector_size(32), aligned(1), may_alias));

#define SKYHOOK_AT(P) (*reinterpret_cast<const Four*>(parts[P] + begin + i) + sum[P])
// Writes m2 of the sums of (px, py, pz, e) and element begin + 0 .. n, and up to a vector more.
inline double* Squares(const double* const* parts, const double* sum, int32_t begin, int32_t n, double* to) {
  for (int32_t i = 0; i < n; i += 4) {
    const Four x = SKYHOOK_AT(0), y = SKYHOOK_AT(1), z = SKYHOOK_AT(2), e = SKYHOOK_AT(3);
    *reinterpret_cast<Four*>(to + i) = e * e - ((x * x + y * y) + z * z);
  }
  return to + n;
}
#undef SKYHOOK_AT

// The operations are those of the nodes that this stands for, in their order: the bits are the same.
void MassOfSums(const double* const* parts, const int32_t* offsets, int64_t n_lists, int n, double* out) {
  double* to = out;
  for (int64_t l = 0; l < n_lists; ++l) {
    const int32_t end = offsets[l + 1];
    for (int32_t i = offsets[l]; i + n - 1 < end; ++i) {
      double sum[4];
      if (n == 2) {
        for (int p = 0; p < 4; ++p) sum[p] = parts[p][i];
        to = Squares(parts, sum, i + 1, end - i - 1, to);
        continue;
      }
      for (int32_t j = i + 1; j + 1 < end; ++j) {
        for (int p = 0; p < 4; ++p) sum[p] = parts[p][i] + parts[p][j];
        to = Squares(parts, sum, j + 1, end - j - 1, to);
      }
    }
  }
  const int64_t count = to - out;
  for (int64_t k = 0; k < count; ++k) out[k] = std::copysign(std::sqrt(std::fabs(out[k])), out[k]);
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
  table->mass_of_sums = MassOfSums;
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
