// sin, cos and sinh of float64 that a compiler can turn into vector code: no tables, no branches.
//
// Within one unit in the last place. They hold for arguments that are not marked as outside; the caller
// takes the C library's function for the rest. Polynomials and constants as in FreeBSD's msun (k_sin.c,
// k_cos.c, e_rem_pio2.c, e_exp.c).
//
// To be included by kernels_float64.cc alone, inside its namespace without linkage.

// Adding 1.5 * 2^52 rounds to an integer and leaves it in the low bits of the mantissa.
constexpr double kRound = 0x1.8p52;
constexpr double kAngleMax = 1e5;     // products of so many quarter turns and 33 bits are exact
constexpr double kExponentMax = 700;  // no overflow, no subnormal exponential

struct Angle {
  double rest, tail;  // their sum is what is left of the angle
  uint64_t quadrant;  // in the low bits
  int outside;        // 1: it is
};

inline Angle ByHalfPi(double x) {
  const double shifted = x * 6.36619772367581382433e-01 + kRound;
  const double k = shifted - kRound;
  // pi/2 in three parts, the first two of 33 bits: k times each of these is exact, as is `near`.
  const double near = x - k * 1.57079632673412561417e+00;
  const double second = k * 6.07710050630396597660e-11;
  const double high = near - second;
  const double back = high - near;
  const double low = ((near - (high - back)) - (second + back)) - k * 2.02226624879595063154e-21;
  const double rest = high + low;
  // So near to a multiple of pi/2 too few digits are left. Zero is its own rest, with its sign.
  const bool whole = k == 0;
  const int outside =
      (std::fabs(x) <= kAngleMax ? 0 : 1) | ((whole ? 0 : 1) & (std::fabs(rest) < 0x1p-30 ? 1 : 0));
  return {whole ? x : rest, whole ? 0.0 : (high - rest) + low, __builtin_bit_cast(uint64_t, shifted),
          outside};
}

inline double SinNearZero(double x, double tail) {
  const double z = x * x, v = z * x;
  const double r = 8.33333333332248946124e-03 +
                   z * (-1.98412698298579493134e-04 +
                        z * (2.75573137070700676789e-06 +
                             z * (-2.50507602534068634195e-08 + z * 1.58969099521155010221e-10)));
  return x - ((z * (0.5 * tail - v * r) - tail) - v * -1.66666666666666324348e-01);
}

inline double CosNearZero(double x, double tail) {
  const double z = x * x;
  const double r = z * (4.16666666666666019037e-02 +
                        z * (-1.38888888888741095749e-03 +
                             z * (2.48015872894767294178e-05 +
                                  z * (-2.75573143513906633035e-07 +
                                       z * (2.08757232129817482790e-09 + z * -1.13596475577881948265e-11)))));
  const double half = 0.5 * z, w = 1 - half;
  return w + (((1 - w) - half) + (z * r - x * tail));
}

inline double Turned(double value, uint64_t quadrant) {
  return __builtin_bit_cast(double, __builtin_bit_cast(uint64_t, value) ^ ((quadrant & 2) << 62));
}

inline void SinCosOf(double x, double* sin, double* cos, int* outside) {
  const Angle angle = ByHalfPi(x);
  const double s = SinNearZero(angle.rest, angle.tail), c = CosNearZero(angle.rest, angle.tail);
  const bool swap = (angle.quadrant & 1) != 0;
  *sin = Turned(swap ? c : s, angle.quadrant);
  *cos = Turned(swap ? s : c, angle.quadrant + 1);
  *outside |= angle.outside;
}

inline double SinhOf(double x, int* outside) {
  const double a = std::fabs(x);
  *outside |= !(a <= kExponentMax);
  // exp(a) = 2^k exp(r), with the bits of exp(r) that its rounding drops.
  const double shifted = a * 1.44269504088896338700e+00 + kRound;
  const double k = shifted - kRound;
  const double high = a - k * 6.93147180369123816490e-01, low = k * 1.90821492927058770002e-10;
  const double r = high - low, t = r * r;
  const double c = r - t * (1.66666666666666019037e-01 +
                            t * (-2.77777777770155933842e-03 +
                                 t * (6.61375632143793436117e-05 +
                                      t * (-1.65339022054652515390e-06 + t * 4.13813679705723846039e-08))));
  const double above = high - (low - r * c / (2 - c));
  const double power = 1 + above, dropped = above - (power - 1);
  const uint64_t exponent = (__builtin_bit_cast(uint64_t, shifted) + 1022) << 52;
  const double scale = __builtin_bit_cast(double, exponent);  // 2^(k - 1)
  const double half = power * scale;
  const double large = (half - 0.25 / half) + dropped * scale;
  // Below 1 the difference of the exponentials has lost digits.
  const double s = a * a;
  const double small =
      a + a * s *
              (1.0 / 6 +
               s * (1.0 / 120 +
                    s * (1.0 / 5040 +
                         s * (1.0 / 362880 +
                              s * (1.0 / 39916800 + s * (1.0 / 6227020800 + s * (1.0 / 1307674368000 +
                                                                                 s / 355687428096000)))))));
  return std::copysign(a < 1 ? small : large, x);
}
