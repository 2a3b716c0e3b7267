// Functions of float32 that a compiler can turn into vector code: no tables, no branches.
//
// Each is computed in double precision, so that the rounded result is within 0.51 units in the last
// place. They hold for arguments with Fits(x); the caller takes the C library's function for the rest.
// Range reduction as in FreeBSD's msun (e_rem_pio2f.c); Taylor polynomials.
//
// To be included by kernels_loops.cc alone, inside its namespace without linkage.

struct Reduced {
  double rest;
  uint64_t quadrant;  // in the low bits
};

// Adding 1.5 * 2^52 rounds to an integer and leaves it in the low bits of the mantissa.
constexpr double kRound = 0x1.8p52;

inline Reduced ByHalfPi(double x) {
  const double shifted = x * 6.36619772367581382433e-01 + kRound;
  const double k = shifted - kRound;
  // pi/2 in two parts: k times the first, of 33 bits, is exact.
  const double rest = (x - k * 1.57079631090164184570e+00) - k * 1.58932547735281966916e-08;
  return {rest, __builtin_bit_cast(uint64_t, shifted)};
}

inline double SinNearZero(double r) {
  const double s = r * r;
  return r +
         r * s * (-1.0 / 6 + s * (1.0 / 120 + s * (-1.0 / 5040 + s * (1.0 / 362880 - s * (1.0 / 39916800)))));
}
inline double CosNearZero(double r) {
  const double s = r * r;
  return 1 + s * (-0.5 + s * (1.0 / 24 +
                              s * (-1.0 / 720 + s * (1.0 / 40320 + s * (-1.0 / 3628800 + s / 479001600)))));
}

// sin(rest + quadrant * pi / 2)
inline double SinOf(Reduced x) {
  const double value = (x.quadrant & 1) != 0 ? CosNearZero(x.rest) : SinNearZero(x.rest);
  return __builtin_bit_cast(double, __builtin_bit_cast(uint64_t, value) ^ ((x.quadrant & 2) << 62));
}

inline double ExpOf(double x) {
  const double shifted = x * 1.44269504088896338700e+00 + kRound;
  const double r = x - (shifted - kRound) * 6.93147180559945286227e-01;
  const double power =
      1 +
      r * (1 +
           r * (0.5 + r * (1.0 / 6 +
                           r * (1.0 / 24 +
                                r * (1.0 / 120 +
                                     r * (1.0 / 720 + r * (1.0 / 5040 + r * (1.0 / 40320 + r / 362880))))))));
  const uint64_t exponent = __builtin_bit_cast(uint64_t, shifted) << 52;
  return __builtin_bit_cast(double, __builtin_bit_cast(uint64_t, power) + exponent);
}

constexpr float kAngleMax = 1e5f;   // the range reduction is exact to here
constexpr float kExponentMax = 80;  // no overflow, no subnormal result

struct FastSin {
  static bool Fits(float x) { return std::fabs(x) <= kAngleMax; }
  static double Do(double x) { return SinOf(ByHalfPi(x)); }
  static float Else(float x) { return std::sin(x); }
};
struct FastCos {
  static bool Fits(float x) { return std::fabs(x) <= kAngleMax; }
  static double Do(double x) {
    Reduced reduced = ByHalfPi(x);
    ++reduced.quadrant;
    return SinOf(reduced);
  }
  static float Else(float x) { return std::cos(x); }
};
struct FastExp {
  static bool Fits(float x) { return std::fabs(x) <= kExponentMax; }
  static double Do(double x) { return ExpOf(x); }
  static float Else(float x) { return std::exp(x); }
};
struct FastCosh {
  static bool Fits(float x) { return std::fabs(x) <= kExponentMax; }
  static double Do(double x) {
    const double e = ExpOf(x);
    return 0.5 * e + 0.5 / e;
  }
  static float Else(float x) { return std::cosh(x); }
};
struct FastSinh {
  static bool Fits(float x) { return std::fabs(x) <= kExponentMax; }
  static double Do(double x) {
    const double e = ExpOf(x);
    // Near zero the difference of the exponentials has lost its digits.
    return std::fabs(x) < 0.01 ? x + x * x * x * (1.0 / 6 + x * x * (1.0 / 120)) : 0.5 * e - 0.5 / e;
  }
  static float Else(float x) { return std::sinh(x); }
};

template <typename F>
void MapFast(const void* x, int64_t n, void* out) {
  constexpr int64_t kBlock = 512;
  const float* from = static_cast<const float*>(x);
  float* to = static_cast<float*>(out);
  for (int64_t start = 0; start < n; start += kBlock) {
    const int64_t stop = start + kBlock < n ? start + kBlock : n;
    int outside = 0;
    for (int64_t i = start; i < stop; ++i) outside |= !F::Fits(from[i]);
    if (outside != 0) {
      for (int64_t i = start; i < stop; ++i)
        to[i] = F::Fits(from[i]) ? static_cast<float>(F::Do(from[i])) : F::Else(from[i]);
    } else {
      for (int64_t i = start; i < stop; ++i) to[i] = static_cast<float>(F::Do(from[i]));
    }
  }
}
