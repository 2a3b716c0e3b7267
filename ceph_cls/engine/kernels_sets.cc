// Kernels of lists, combinations and crosses. Compiled once per instruction set, as kernels_loops.cc is.
//
// Lists are short: a loop over the elements of each is mostly mispredicted branches. So one vector is written
// for each list without asking how long it is, and what is too much the next list overwrites.
#include "kernels_sets.h"

#include <cfloat>
#include <cmath>
#include <limits>

namespace skyhook::SKYHOOK_KERNELS {
namespace {

// A vector of 32 bytes; in memory with no demands on alignment. (Of a type that a template makes Clang
// forgets an alignment of 1, but not that of a struct.)
template <typename T>
struct Vector {
  typedef T type __attribute__((vector_size(32)));
  struct __attribute__((packed, may_alias)) InMemory {
    type v;
  };
  static constexpr int32_t kLanes = 32 / sizeof(T);
};
using Wide = Vector<double>::type;
using Truths = Vector<int64_t>::type;
constexpr int kWide = Vector<double>::kLanes;

template <typename T>
inline typename Vector<T>::InMemory& At(T* to) {
  return *reinterpret_cast<typename Vector<T>::InMemory*>(to);
}
template <typename T>
inline const typename Vector<T>::InMemory& At(const T* from) {
  return *reinterpret_cast<const typename Vector<T>::InMemory*>(from);
}

// Writes from .. from + n - 1, and up to a vector more.
inline void CountUp(int32_t from, int32_t n, int32_t* to) {
  const Vector<int32_t>::type steps = {0, 1, 2, 3, 4, 5, 6, 7};
  At(to).v = steps + from;
  for (int32_t i = 8; i < n; i += 8) At(to + i).v = steps + (from + i);
}
template <typename T>
inline void Repeat(T value, int32_t n, T* to) {
  using V = Vector<T>;
  const typename V::type all = typename V::type{} + value;
  At(to).v = all;
  for (int32_t i = V::kLanes; i < n; i += V::kLanes) At(to + i).v = all;
}

// ------------------------------------------------------------------------------------------ lists
void ListRows(const int32_t* stored, const int32_t* rows, int64_t n_rows, int32_t* offsets, int32_t* index) {
  int32_t at = 0;
  offsets[0] = 0;
  for (int64_t i = 0; i < n_rows; ++i) {
    const int32_t begin = stored[rows[i]], n = stored[rows[i] + 1] - begin;
    CountUp(begin, n, index + at);
    at += n;
    offsets[i + 1] = at;
  }
}

void LocalIndex(const int32_t* offsets, int64_t n_lists, int64_t* out) {
  const Vector<int64_t>::type steps = {0, 1, 2, 3};
  for (int64_t i = 0; i < n_lists; ++i) {
    int64_t* to = out + offsets[i];
    const int32_t n = offsets[i + 1] - offsets[i];
    At(to).v = steps;
    for (int32_t j = 4; j < n; j += 4) At(to + j).v = steps + j;
  }
}

template <typename T>
void SpreadOf(const void* x, const int32_t* offsets, int64_t n_lists, void* out) {
  const T* from = static_cast<const T*>(x);
  T* to = static_cast<T*>(out);
  for (int64_t i = 0; i < n_lists; ++i) Repeat(from[i], offsets[i + 1] - offsets[i], to + offsets[i]);
}

void Spread(const void* x, const int32_t* offsets, int64_t n_lists, size_t width, void* out) {
  const auto spread = width == 1   ? SpreadOf<uint8_t>
                      : width == 2 ? SpreadOf<uint16_t>
                      : width == 4 ? SpreadOf<uint32_t>
                                   : SpreadOf<uint64_t>;
  spread(x, offsets, n_lists, out);
}

// ------------------------------------------------------------------------------------------- sets
void Slots(const int32_t* offsets, int64_t n_lists, int n, int32_t* const* slots) {
  int32_t *first = slots[0], *second = slots[1], *third = n == 3 ? slots[2] : nullptr;
  for (int64_t l = 0; l < n_lists; ++l) {
    const int32_t begin = offsets[l], end = offsets[l + 1];
    if (n == 2) {
      for (int32_t i = begin; i + 1 < end; ++i) {
        const int32_t run = end - i - 1;
        Repeat(i, run, first);
        CountUp(i + 1, run, second);
        first += run;
        second += run;
      }
      continue;
    }
    for (int32_t i = begin; i + 2 < end; ++i) {
      for (int32_t j = i + 1; j + 1 < end; ++j) {
        const int32_t run = end - j - 1;
        Repeat(i, run, first);
        Repeat(j, run, second);
        CountUp(j + 1, run, third);
        first += run;
        second += run;
        third += run;
      }
    }
  }
}

void CrossSlots(const int32_t* left, const int32_t* right, int64_t n_lists, int32_t* first, int32_t* second) {
  for (int64_t l = 0; l < n_lists; ++l) {
    const int32_t begin = right[l], n = right[l + 1] - begin, n_left = left[l + 1] - left[l];
    if (n == 1) {
      CountUp(left[l], n_left, first);
      Repeat(begin, n_left, second);
      first += n_left;
      second += n_left;
      continue;
    }
    for (int32_t i = left[l]; n > 0 && i < left[l + 1]; ++i) {
      Repeat(i, n, first);
      CountUp(begin, n, second);
      first += n;
      second += n;
    }
  }
}

void CrossRuns(const int32_t* left, const int32_t* right, int64_t n_lists, int32_t* offsets) {
  const Vector<int32_t>::type steps = {1, 2, 3, 4, 5, 6, 7, 8};
  int32_t before = 0;
  offsets[0] = 0;
  for (int64_t l = 0; l < n_lists; ++l) {
    const int32_t n = right[l + 1] - right[l], n_left = left[l + 1] - left[l];
    int32_t* to = offsets + 1 + left[l];
    At(to).v = steps * n + before;
    for (int32_t i = 8; i < n_left; i += 8) At(to + i).v = (steps + i) * n + before;
    before += n * n_left;
  }
}

// Writes value + x[0 .. n), and up to a vector more.
template <typename T>
inline void AddRun(T value, const T* x, int32_t n, T* to) {
  using V = Vector<T>;
  for (int32_t i = 0; i < n; i += V::kLanes) {
    At(to + i).v = At(x + i).v + value;
  }
}

template <typename T>
void SumComponents(const T* from, const int32_t* offsets, int64_t n_lists, int n, T* to) {
  for (int64_t l = 0; l < n_lists; ++l) {
    const T* x = from + offsets[l];
    const int32_t m = offsets[l + 1] - offsets[l];
    for (int32_t i = 0; i + n - 1 < m; ++i) {
      if (n == 2) {
        AddRun(x[i], x + i + 1, m - i - 1, to);
        to += m - i - 1;
        continue;
      }
      for (int32_t j = i + 1; j + 1 < m; ++j) {
        AddRun(x[i] + x[j], x + j + 1, m - j - 1, to);
        to += m - j - 1;
      }
    }
  }
}

void ComponentSum(const void* x, const int32_t* offsets, int64_t n_lists, int n, DType dtype, void* out) {
  if (dtype == DType::kFloat32) {
    SumComponents(static_cast<const float*>(x), offsets, n_lists, n, static_cast<float*>(out));
  } else {
    SumComponents(static_cast<const double*>(x), offsets, n_lists, n, static_cast<double*>(out));
  }
}

// -------------------------------------------------------------------------------- masses of sums
inline double Mass(double m2) { return std::copysign(std::sqrt(std::fabs(m2)), m2); }

// Writes m2 of the sums of a four-vector and n more that stand from `from` on, and up to a vector more.
// The operations are those of the nodes that this stands for, in their order: the bits are the same.
inline void Squares(const double* const* from, const double* sum, int32_t n, double* to) {
  for (int32_t i = 0; i < n; i += kWide) {
    const Wide x = At(from[0] + i).v + sum[0], y = At(from[1] + i).v + sum[1], z = At(from[2] + i).v + sum[2],
               e = At(from[3] + i).v + sum[3];
    At(to + i).v = e * e - ((x * x + y * y) + z * z);
  }
}

void MassOfSums(const double* const* parts, const int32_t* offsets, int64_t n_lists, int n, double* out) {
  double* to = out;
  for (int64_t l = 0; l < n_lists; ++l) {
    const int32_t end = offsets[l + 1];
    for (int32_t i = offsets[l]; i + n - 1 < end; ++i) {
      for (int32_t j = i + 1; j < (n == 2 ? i + 2 : end - 1); ++j) {
        double sum[4];
        const double* from[4];
        const int32_t next = n == 2 ? j : j + 1;
        for (int p = 0; p < 4; ++p) {
          sum[p] = n == 2 ? parts[p][i] : parts[p][i] + parts[p][j];
          from[p] = parts[p] + next;
        }
        Squares(from, sum, end - next, to);
        to += end - next;
      }
    }
  }
  const int64_t count = to - out;
  for (int64_t k = 0; k < count; ++k) out[k] = Mass(out[k]);
}

// ---------------------------------------------------------------------- the mass nearest to another
inline int64_t Pairs(int64_t m) { return m * (m - 1) / 2; }
inline int64_t Triples(int64_t m) { return m * (m - 1) * (m - 2) / 6; }

// The sets of one list and its places in the scratch memory: see NearestScratch.
struct Sets {
  int32_t begin, m;
  int64_t n;
  double *m2, *sums;
};

// Writes the sums of the pairs of all elements but the last, ordered by their second element.
void SumPairs(const double* const* parts, const Sets& sets) {
  const int64_t stride = Pairs(sets.m) + 4;
  const double* x[4];
  for (int p = 0; p < 4; ++p) x[p] = parts[p] + sets.begin;
  double* sum = sets.sums;
  for (int32_t j = 1; j + 1 < sets.m; sum += j++) {
    const double second[4] = {x[0][j], x[1][j], x[2][j], x[3][j]};
    for (int32_t i = 0; i < j; i += kWide) {
      for (int p = 0; p < 4; ++p) At(sum + p * stride + i).v = At(x[p] + i).v + second[p];
    }
  }
}

// Writes m2 of all sets of n elements, ordered by their last element, then the last but one …: so the sets
// that end with one element are a long run of others' sums plus that element.
void SquaresByLast(const double* const* parts, int n, const Sets& sets) {
  const double *x[4], *from[4];
  for (int p = 0; p < 4; ++p) {
    x[p] = parts[p] + sets.begin;
    from[p] = n == 2 ? x[p] : sets.sums + p * (Pairs(sets.m) + 4);
  }
  double* to = sets.m2;
  for (int32_t k = n - 1; k < sets.m; ++k) {
    const double last[4] = {x[0][k], x[1][k], x[2][k], x[3][k]};
    const int32_t before = n == 2 ? k : static_cast<int32_t>(Pairs(k));
    Squares(from, last, before, to);
    to += before;
  }
  for (int u = 0; u < 16; u += kWide) At(to + u).v = Wide{} + std::numeric_limits<double>::quiet_NaN();
}

// The place among the sets of n of m in lexicographic order, of the one that SquaresByLast has at `at`.
int64_t PlaceOf(int64_t at, int64_t m, int n) {
  // Before element k come Pairs(k) sets that end with it, and before pair j of these j pairs.
  int64_t k = 2, pairs = 1, j = 1;
  for (; n == 3 && at >= pairs; pairs += k++) at -= pairs;
  for (; at >= j; ++j) at -= j;
  const int64_t i = at;
  if (n == 2) return Pairs(m) - Pairs(m - i) + j - i - 1;
  return Triples(m) - Triples(m - i) + Pairs(m - i - 1) - Pairs(m - j) + k - j - 1;
}

inline double Square(double x) { return std::copysign(x * x, x); }

// |mass - target| falls with m2 up to the square of the target, and rises from there on; rounding keeps that.
// So its least value belongs to the greatest m2 below or the least above, and one root is taken of each.
struct Nearest {
  double below, above;  // of m2; infinite if there is none
};

// Looks at m2[0 .. n), with NaNs to the next multiple of 8.
Nearest NearestSquares(const double* m2, int64_t n, double square) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  Wide below[2], above[2];
  for (int u = 0; u < 2; ++u) {
    below[u] = Wide{} - kInfinity;
    above[u] = Wide{} + kInfinity;
  }
  const Wide middle = Wide{} + square;
  for (int64_t i = 0; i < n; i += 2 * kWide) {
    for (int u = 0; u < 2; ++u) {
      const Wide x = At(m2 + i + kWide * u).v;
      // All ones are a NaN, which no comparison chooses.
      const Wide low = reinterpret_cast<Wide>(reinterpret_cast<Truths>(x) | (x > middle));
      const Wide high = reinterpret_cast<Wide>(reinterpret_cast<Truths>(x) | (x <= middle));
      below[u] = low > below[u] ? low : below[u];
      above[u] = high < above[u] ? high : above[u];
    }
  }
  const Wide low = below[0] > below[1] ? below[0] : below[1],
             high = above[0] < above[1] ? above[0] : above[1];
  double lows[kWide], highs[kWide];
  At(lows).v = low;
  At(highs).v = high;
  for (int half = kWide / 2; half > 0; half /= 2) {
    for (int i = 0; i < half; ++i) {
      lows[i] = lows[i] > lows[i + half] ? lows[i] : lows[i + half];
      highs[i] = highs[i] < highs[i + half] ? highs[i] : highs[i + half];
    }
  }
  return {lows[0], highs[0]};
}

// The first set in lexicographic order whose distance is `least`, which is finite.
int64_t FirstNearest(const Sets& sets, int n, double target, const Nearest& nearest, double least) {
  const double* m2 = sets.m2;
  // Every m2 with that distance is in this range: masses within a few roundings of the one known.
  double low = nearest.above, high = nearest.below;
  const auto reach = [target](double mass) {
    return 8 * DBL_EPSILON * (std::fabs(mass) + std::fabs(target));
  };
  const auto slack = [](double x) { return 8 * DBL_EPSILON * std::fabs(x) + DBL_MIN; };
  if (const double mass = Mass(nearest.below); std::fabs(mass - target) == least) {
    low = Square(mass - reach(mass));
    low -= slack(low);
  }
  if (const double mass = Mass(nearest.above); std::fabs(mass - target) == least) {
    high = Square(mass + reach(mass));
    high += slack(high);
  }
  int64_t first = std::numeric_limits<int64_t>::max();
  for (int64_t i = 0; i < sets.n; i += 16) {
    Truths hit{};
    for (int u = 0; u < 16; u += kWide) hit |= (At(m2 + i + u).v >= low) & (At(m2 + i + u).v <= high);
    int64_t any = 0;
    for (int lane = 0; lane < kWide; ++lane) any |= hit[lane];
    if (any == 0) continue;
    uint32_t hits = 0;
    for (int u = 0; u < 16; ++u) {
      hits |= (static_cast<uint32_t>(m2[i + u] >= low) & static_cast<uint32_t>(m2[i + u] <= high)) << u;
    }
    for (; hits != 0; hits &= hits - 1) {
      const int64_t at = i + __builtin_ctz(hits);
      if (std::fabs(Mass(m2[at]) - target) != least) continue;
      const int64_t place = PlaceOf(at, sets.m, n);
      first = place < first ? place : first;
    }
  }
  return first;
}

void NearestMass(const double* const* parts, const int32_t* offsets, const int32_t* lists, int64_t n_lists,
                 int n, double target, double* scratch, int64_t* place, double* distance) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  const double square = Square(target);
  for (int64_t i = 0; i < n_lists; ++i) {
    const int32_t l = lists[i], begin = offsets[l], m = offsets[l + 1] - begin;
    place[l] = 0;
    distance[l] = kInfinity;
    if (m < n) continue;
    const int64_t count = n == 2 ? Pairs(m) : Triples(m);
    const Sets sets = {begin, m, count, scratch, scratch + count + 16};
    if (n == 3) SumPairs(parts, sets);
    SquaresByLast(parts, n, sets);
    const Nearest nearest = NearestSquares(sets.m2, count, square);
    const double low = std::fabs(Mass(nearest.below) - target);
    const double high = std::fabs(Mass(nearest.above) - target);
    distance[l] = low < high ? low : high;
    // A NaN in front stays the best, as it does for kArgmin.
    if (count == 1 || sets.m2[0] != sets.m2[0] || distance[l] == kInfinity) continue;
    place[l] = FirstNearest(sets, n, target, nearest, distance[l]);
  }
}

}  // namespace

void AddSetKernels(KernelTable* table) {
  table->list_rows = ListRows;
  table->local_index = LocalIndex;
  table->spread = Spread;
  table->slots = Slots;
  table->cross_slots = CrossSlots;
  table->cross_runs = CrossRuns;
  table->component_sum = ComponentSum;
  table->mass_of_sums = MassOfSums;
  table->nearest_mass = NearestMass;
}

}  // namespace skyhook::SKYHOOK_KERNELS
