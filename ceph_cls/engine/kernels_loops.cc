// Compiled once per instruction set, into the namespace that SKYHOOK_KERNELS names. Everything but
// Table() has internal linkage, so that no copy for a newer processor can stand in for an older one's.
#include <xxhash.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <type_traits>

#include "kernels.h"
#include "kernels_float64.h"
#include "kernels_sets.h"

namespace skyhook::SKYHOOK_KERNELS {
namespace {

template <typename T>
constexpr bool kFloat = std::is_floating_point_v<T>;
template <typename T>
constexpr bool kBool = std::is_same_v<T, bool>;
template <typename T>
constexpr bool kInteger = std::is_integral_v<T> && !kBool<T>;

// The unsigned twin of an integer: its arithmetic wraps, as NumPy's does.
template <typename T>
struct Wrapping {
  using type = T;
};
template <typename T>
  requires kInteger<T>
struct Wrapping<T> {
  // Not narrower than int, or the product of two would be promoted to (signed) int again.
  using type = std::conditional_t<(sizeof(T) < 4), unsigned, std::make_unsigned_t<T>>;
};
template <typename T>
using W = typename Wrapping<T>::type;

#include "vector_math.h"

// ---------------------------------------------------------------- element by element, one operand
template <typename T, typename R, typename F>
void Map(const void* x, int64_t n, void* out) {
  const T* from = static_cast<const T*>(x);
  R* to = static_cast<R*>(out);
  for (int64_t i = 0; i < n; ++i) to[i] = F::Do(from[i]);
}

#define SKYHOOK_UNARY(NAME, EXPRESSION) \
  struct NAME {                         \
    template <typename T>               \
    static auto Do(T x) {               \
      return EXPRESSION;                \
    }                                   \
  };
SKYHOOK_UNARY(Sqrt, std::sqrt(x))
SKYHOOK_UNARY(Exp, std::exp(x))
SKYHOOK_UNARY(Expm1, std::expm1(x))
SKYHOOK_UNARY(Log, std::log(x))
SKYHOOK_UNARY(Log2, std::log2(x))
SKYHOOK_UNARY(Log10, std::log10(x))
SKYHOOK_UNARY(Log1p, std::log1p(x))
SKYHOOK_UNARY(Sin, std::sin(x))
SKYHOOK_UNARY(Cos, std::cos(x))
SKYHOOK_UNARY(Tan, std::tan(x))
SKYHOOK_UNARY(Asin, std::asin(x))
SKYHOOK_UNARY(Acos, std::acos(x))
SKYHOOK_UNARY(Atan, std::atan(x))
SKYHOOK_UNARY(Sinh, std::sinh(x))
SKYHOOK_UNARY(Cosh, std::cosh(x))
SKYHOOK_UNARY(Tanh, std::tanh(x))
SKYHOOK_UNARY(Asinh, std::asinh(x))
SKYHOOK_UNARY(Acosh, std::acosh(x))
SKYHOOK_UNARY(Atanh, std::atanh(x))
SKYHOOK_UNARY(Floor, std::floor(x))
SKYHOOK_UNARY(Ceil, std::ceil(x))
SKYHOOK_UNARY(Rint, std::nearbyint(x))
SKYHOOK_UNARY(Trunc, std::trunc(x))
SKYHOOK_UNARY(FloatAbs, std::fabs(x))
SKYHOOK_UNARY(FloatNeg, -x)
SKYHOOK_UNARY(WrapNeg, static_cast<T>(W<T>{0} - static_cast<W<T>>(x)))
SKYHOOK_UNARY(WrapAbs, (x < 0 ? static_cast<T>(W<T>{0} - static_cast<W<T>>(x)) : x))
SKYHOOK_UNARY(SignedSqrt, std::copysign(std::sqrt(std::fabs(x)), x))
SKYHOOK_UNARY(Same, x)
SKYHOOK_UNARY(Invert, static_cast<T>(~x))
SKYHOOK_UNARY(Not, !x)
SKYHOOK_UNARY(True, (static_cast<void>(x), true))
SKYHOOK_UNARY(False, (static_cast<void>(x), false))
SKYHOOK_UNARY(IsFinite, (std::fabs(x) <= std::numeric_limits<T>::max()))
SKYHOOK_UNARY(IsNan, x != x)
SKYHOOK_UNARY(IsInf, std::fabs(x) > std::numeric_limits<T>::max())
SKYHOOK_UNARY(Sign, (x > 0 ? T{1} : x < 0 ? static_cast<T>(-1) : x == 0 ? T{0} : x))
SKYHOOK_UNARY(UnsignedSign, (x > 0 ? T{1} : T{0}))
#undef SKYHOOK_UNARY

template <typename T>
constexpr UnaryKernel UnaryFor(Op op) {
  if constexpr (kBool<T>) {
    switch (op) {
      case Op::kNot:
        return Map<T, T, Not>;
      case Op::kIsFinite:
        return Map<T, bool, True>;
      case Op::kIsNan:
      case Op::kIsInf:
        return Map<T, bool, False>;
      default:
        return nullptr;
    }
  } else if constexpr (kInteger<T>) {
    switch (op) {
      case Op::kNeg:
        return Map<T, T, WrapNeg>;
      case Op::kAbs:
        if constexpr (std::is_signed_v<T>) return Map<T, T, WrapAbs>;
        return Map<T, T, Same>;
      case Op::kSign:
        if constexpr (std::is_signed_v<T>) return Map<T, T, Sign>;
        return Map<T, T, UnsignedSign>;
      case Op::kInvert:
        return Map<T, T, Invert>;
      case Op::kIsFinite:
        return Map<T, bool, True>;
      case Op::kIsNan:
      case Op::kIsInf:
        return Map<T, bool, False>;
      default:
        return nullptr;
    }
  } else {
    if constexpr (std::is_same_v<T, float>) {
      switch (op) {
        case Op::kSin:
          return MapFast<FastSin>;
        case Op::kCos:
          return MapFast<FastCos>;
        case Op::kExp:
          return MapFast<FastExp>;
        case Op::kSinh:
          return MapFast<FastSinh>;
        case Op::kCosh:
          return MapFast<FastCosh>;
        default:
          break;
      }
    }
    switch (op) {
#define SKYHOOK_CASE(OP, F) \
  case Op::OP:              \
    return Map<T, T, F>;
      SKYHOOK_CASE(kNeg, FloatNeg)
      SKYHOOK_CASE(kAbs, FloatAbs)
      SKYHOOK_CASE(kSign, Sign)
      SKYHOOK_CASE(kSqrt, Sqrt)
      SKYHOOK_CASE(kExp, Exp)
      SKYHOOK_CASE(kExpm1, Expm1)
      SKYHOOK_CASE(kLog, Log)
      SKYHOOK_CASE(kLog2, Log2)
      SKYHOOK_CASE(kLog10, Log10)
      SKYHOOK_CASE(kLog1p, Log1p)
      SKYHOOK_CASE(kSin, Sin)
      SKYHOOK_CASE(kCos, Cos)
      SKYHOOK_CASE(kTan, Tan)
      SKYHOOK_CASE(kAsin, Asin)
      SKYHOOK_CASE(kAcos, Acos)
      SKYHOOK_CASE(kAtan, Atan)
      SKYHOOK_CASE(kSinh, Sinh)
      SKYHOOK_CASE(kCosh, Cosh)
      SKYHOOK_CASE(kTanh, Tanh)
      SKYHOOK_CASE(kAsinh, Asinh)
      SKYHOOK_CASE(kAcosh, Acosh)
      SKYHOOK_CASE(kAtanh, Atanh)
      SKYHOOK_CASE(kFloor, Floor)
      SKYHOOK_CASE(kCeil, Ceil)
      SKYHOOK_CASE(kRint, Rint)
      SKYHOOK_CASE(kTrunc, Trunc)
      SKYHOOK_CASE(kSignedSqrt, SignedSqrt)
#undef SKYHOOK_CASE
      case Op::kIsFinite:
        return Map<T, bool, IsFinite>;
      case Op::kIsNan:
        return Map<T, bool, IsNan>;
      case Op::kIsInf:
        return Map<T, bool, IsInf>;
      default:
        return nullptr;
    }
  }
}

// --------------------------------------------------------------- element by element, two operands
template <typename T, typename R, typename F>
void Zip(const void* a, bool a_const, const void* b, bool b_const, int64_t n, void* out) {
  const T* x = static_cast<const T*>(a);
  const T* y = static_cast<const T*>(b);
  R* to = static_cast<R*>(out);
  if (a_const && b_const) {
    for (int64_t i = 0; i < n; ++i) to[i] = F::Do(x[0], y[0]);
  } else if (a_const) {
    const T left = x[0];
    for (int64_t i = 0; i < n; ++i) to[i] = F::Do(left, y[i]);
  } else if (b_const) {
    const T right = y[0];
    for (int64_t i = 0; i < n; ++i) to[i] = F::Do(x[i], right);
  } else {
    for (int64_t i = 0; i < n; ++i) to[i] = F::Do(x[i], y[i]);
  }
}

#define SKYHOOK_BINARY(NAME, EXPRESSION) \
  struct NAME {                          \
    template <typename T>                \
    static auto Do(T a, T b) {           \
      return EXPRESSION;                 \
    }                                    \
  };
SKYHOOK_BINARY(Add, static_cast<T>(static_cast<W<T>>(a) + static_cast<W<T>>(b)))
SKYHOOK_BINARY(Sub, static_cast<T>(static_cast<W<T>>(a) - static_cast<W<T>>(b)))
SKYHOOK_BINARY(Mul, static_cast<T>(static_cast<W<T>>(a) * static_cast<W<T>>(b)))
SKYHOOK_BINARY(Div, a / b)
SKYHOOK_BINARY(Atan2, std::atan2(a, b))
SKYHOOK_BINARY(Hypot, std::hypot(a, b))
SKYHOOK_BINARY(Eq, a == b)
SKYHOOK_BINARY(Ne, a != b)
SKYHOOK_BINARY(Lt, a < b)
SKYHOOK_BINARY(Le, a <= b)
SKYHOOK_BINARY(Gt, a > b)
SKYHOOK_BINARY(Ge, a >= b)
SKYHOOK_BINARY(And, static_cast<T>(a& b))
SKYHOOK_BINARY(Or, static_cast<T>(a | b))
SKYHOOK_BINARY(Xor, static_cast<T>(a ^ b))
// NaN in either operand comes through, as in NumPy.
SKYHOOK_BINARY(Minimum, (a < b || a != a) ? a : b)
SKYHOOK_BINARY(Maximum, (a > b || a != a) ? a : b)
#undef SKYHOOK_BINARY

// As std::fmod, but for the sign of a zero. Angles are turned by less than two times round: then one
// subtraction gives the remainder, and it is exact.
template <typename T>
T Remainder(T a, T b) {
  if (b > 0) {
    if (std::fabs(a) < b) return a;
    if (std::fabs(a) < 2 * b) return a < 0 ? a + b : a - b;
  }
  return std::fmod(a, b);
}

// Python's remainder has the sign of the divisor. The steps are those of CPython's float_divmod,
// which NumPy follows too.
template <typename T>
T FloatDivMod(T a, T b, T* modulus) {
  T mod = Remainder(a, b);
  if (b == 0) {
    *modulus = mod;
    return a / b;
  }
  T div = (a - mod) / b;
  if (mod != 0) {
    if ((b < 0) != (mod < 0)) {
      mod += b;
      div -= 1;
    }
  } else {
    mod = std::copysign(T{0}, b);
  }
  *modulus = mod;
  if (div == 0) return std::copysign(T{0}, a / b);
  T whole = std::floor(div);
  if (div - whole > T{0.5}) whole += 1;
  return whole;
}

struct FloorDiv {
  template <typename T>
  static T Do(T a, T b) {
    if constexpr (kFloat<T>) {
      T mod;
      return FloatDivMod(a, b, &mod);
    } else {
      if (b == 0) return 0;
      if constexpr (std::is_signed_v<T>) {
        if (b == -1) return static_cast<T>(W<T>{0} - static_cast<W<T>>(a));
        const T quotient = static_cast<T>(a / b);
        return (a % b != 0 && (a < 0) != (b < 0)) ? static_cast<T>(quotient - 1) : quotient;
      }
      return static_cast<T>(a / b);
    }
  }
};

struct Mod {
  template <typename T>
  static T Do(T a, T b) {
    if constexpr (kFloat<T>) {
      const T mod = Remainder(a, b);
      if (b == 0) return mod;
      if (mod == 0) return std::copysign(T{0}, b);
      return (b < 0) != (mod < 0) ? mod + b : mod;
    } else {
      if (b == 0) return 0;
      if constexpr (std::is_signed_v<T>) {
        if (b == -1) return 0;
        const T rest = static_cast<T>(a % b);
        return (rest != 0 && (rest < 0) != (b < 0)) ? static_cast<T>(rest + b) : rest;
      }
      return static_cast<T>(a % b);
    }
  }
};

// Remainders by one positive number, branchless where no dividend is as far as two of it: these are the
// steps of Mod::Do.
template <typename T>
void FloatMod(const void* a, bool a_const, const void* b, bool b_const, int64_t n, void* out) {
  constexpr int64_t kBlock = 512;
  const T* x = static_cast<const T*>(a);
  T* __restrict to = static_cast<T*>(out);
  const T by = *static_cast<const T*>(b);
  if (a_const || !b_const || !(by > 0)) return Zip<T, T, Mod>(a, a_const, b, b_const, n, out);
  for (int64_t start = 0; start < n; start += kBlock) {
    const int64_t stop = start + kBlock < n ? start + kBlock : n;
    int far = 0;
    for (int64_t i = start; i < stop; ++i) far |= !(std::fabs(x[i]) < 2 * by);
    if (far != 0) {
      for (int64_t i = start; i < stop; ++i) to[i] = Mod::Do(x[i], by);
      continue;
    }
    for (int64_t i = start; i < stop; ++i) {
      const T turned = x[i] < 0 ? x[i] + by : x[i] - by;
      const T mod = std::fabs(x[i]) < by ? x[i] : turned;
      const T up = mod < 0 ? mod + by : mod;
      to[i] = mod == 0 ? T{0} : up;
    }
  }
}

struct Pow {
  template <typename T>
  static T Do(T a, T b) {
    if constexpr (kFloat<T>) {
      return std::pow(a, b);
    } else {
      if constexpr (std::is_signed_v<T>) {
        if (b < 0) return a == 1 ? T{1} : a == -1 ? static_cast<T>((b & 1) != 0 ? -1 : 1) : T{0};
      }
      W<T> base = static_cast<W<T>>(a), result = 1;
      for (W<T> e = static_cast<W<T>>(b); e != 0; e >>= 1, base *= base) {
        if ((e & 1) != 0) result *= base;
      }
      return static_cast<T>(result);
    }
  }
};

// A shift by the width or more leaves nothing (or the sign), as in NumPy.
struct Lshift {
  template <typename T>
  static T Do(T a, T b) {
    const auto by = static_cast<std::make_unsigned_t<T>>(b);
    return by < sizeof(T) * 8 ? static_cast<T>(static_cast<W<T>>(a) << by) : T{0};
  }
};
struct Rshift {
  template <typename T>
  static T Do(T a, T b) {
    const auto by = static_cast<std::make_unsigned_t<T>>(b);
    if (by < sizeof(T) * 8) return static_cast<T>(a >> by);
    return a < 0 ? static_cast<T>(-1) : T{0};
  }
};

template <typename T>
constexpr BinaryKernel BinaryFor(Op op) {
  switch (op) {
    case Op::kEq:
      return Zip<T, bool, Eq>;
    case Op::kNe:
      return Zip<T, bool, Ne>;
    case Op::kLt:
      return Zip<T, bool, Lt>;
    case Op::kLe:
      return Zip<T, bool, Le>;
    case Op::kGt:
      return Zip<T, bool, Gt>;
    case Op::kGe:
      return Zip<T, bool, Ge>;
    default:
      break;
  }
  if constexpr (kBool<T>) {
    switch (op) {
      case Op::kAnd:
        return Zip<T, T, And>;
      case Op::kOr:
        return Zip<T, T, Or>;
      case Op::kXor:
        return Zip<T, T, Xor>;
      default:
        return nullptr;
    }
  } else {
    switch (op) {
#define SKYHOOK_CASE(OP, F) \
  case Op::OP:              \
    return Zip<T, T, F>;
      SKYHOOK_CASE(kAdd, Add)
      SKYHOOK_CASE(kSub, Sub)
      SKYHOOK_CASE(kMul, Mul)
      SKYHOOK_CASE(kFloorDiv, FloorDiv)
      case Op::kMod:
        if constexpr (kFloat<T>) return FloatMod<T>;
        return Zip<T, T, Mod>;
        SKYHOOK_CASE(kPow, Pow)
        SKYHOOK_CASE(kMinimum, Minimum)
        SKYHOOK_CASE(kMaximum, Maximum)
      default:
        break;
    }
    if constexpr (kFloat<T>) {
      switch (op) {
        SKYHOOK_CASE(kDiv, Div)
        SKYHOOK_CASE(kAtan2, Atan2)
        SKYHOOK_CASE(kHypot, Hypot)
        default:
          return nullptr;
      }
    } else {
      switch (op) {
        SKYHOOK_CASE(kBitAnd, And)
        SKYHOOK_CASE(kBitOr, Or)
        SKYHOOK_CASE(kBitXor, Xor)
        SKYHOOK_CASE(kLshift, Lshift)
        SKYHOOK_CASE(kRshift, Rshift)
#undef SKYHOOK_CASE
        default:
          return nullptr;
      }
    }
  }
}

// ------------------------------------------------------------------------------------------ casts
template <typename From, typename To>
To CastOne(From x) {
  if constexpr (kBool<To>) {
    return x != From{0};
  } else if constexpr (kFloat<From> && std::is_integral_v<To>) {
    // Out of range (and NaN) gives the smallest number: the processor's answer, but a defined one.
    // One past the largest is a power of two, which is exact; the largest itself may not be.
    constexpr From kBelow = static_cast<From>(std::numeric_limits<To>::min()) - 1;
    constexpr From kPast = static_cast<From>(std::numeric_limits<To>::max()) + 1;
    return x > kBelow && x < kPast ? static_cast<To>(x) : std::numeric_limits<To>::min();
  } else {
    return static_cast<To>(x);
  }
}

template <typename From, typename To>
void Cast(const void* x, int64_t n, void* out) {
  const From* from = static_cast<const From*>(x);
  To* to = static_cast<To*>(out);
  for (int64_t i = 0; i < n; ++i) to[i] = CastOne<From, To>(from[i]);
}

// ------------------------------------------------------------------------------------- reductions
// Elements are taken in order, so that floating-point sums equal awkward's.
template <typename T, typename R, typename F>
void Fold(const void* x, const int32_t* offsets, int64_t n_lists, void* out, uint8_t* valid) {
  const T* from = static_cast<const T*>(x);
  R* to = static_cast<R*>(out);
  int32_t at = offsets[0];
  for (int64_t i = 0; i < n_lists; ++i) {
    const int32_t end = offsets[i + 1];
    R state = F::template Start<T>();
    for (int32_t j = at; j < end; ++j) state = F::Step(state, from[j]);
    to[i] = state;
    at = end;
  }
  if (valid != nullptr) {
    for (int64_t i = 0; i < n_lists; ++i) valid[i] = offsets[i + 1] > offsets[i];
  }
}

struct Any {
  template <typename T>
  static bool Start() {
    return false;
  }
  static bool Step(bool state, bool x) { return state | x; }
};
struct All {
  template <typename T>
  static bool Start() {
    return true;
  }
  static bool Step(bool state, bool x) { return state & x; }
};
struct CountTrue {
  template <typename T>
  static int64_t Start() {
    return 0;
  }
  static int64_t Step(int64_t state, bool x) { return state + x; }
};
struct SumOf {
  template <typename T>
  static T Start() {
    return 0;
  }
  template <typename T>
  static T Step(T state, T x) {
    return Add::Do(state, x);
  }
};
struct ProductOf {
  template <typename T>
  static T Start() {
    return 1;
  }
  template <typename T>
  static T Step(T state, T x) {
    return Mul::Do(state, x);
  }
};
// NaN never is the least nor the greatest; a list of nothing else gives the infinity, as in awkward.
template <typename T>
constexpr T Highest() {
  if constexpr (kFloat<T>) return std::numeric_limits<T>::infinity();
  return std::numeric_limits<T>::max();
}
template <typename T>
constexpr T Lowest() {
  if constexpr (kFloat<T>) return -std::numeric_limits<T>::infinity();
  return std::numeric_limits<T>::min();
}
struct Least {
  template <typename T>
  static T Start() {
    return Highest<T>();
  }
  template <typename T>
  static T Step(T state, T x) {
    return x < state ? x : state;
  }
};
struct Greatest {
  template <typename T>
  static T Start() {
    return Lowest<T>();
  }
  template <typename T>
  static T Step(T state, T x) {
    return x > state ? x : state;
  }
};

template <typename T, bool kLeast>
void ArgOf(const void* x, const int32_t* offsets, int64_t n_lists, void* out, uint8_t* valid) {
  const T* from = static_cast<const T*>(x);
  int64_t* to = static_cast<int64_t*>(out);
  for (int64_t i = 0; i < n_lists; ++i) {
    const int32_t begin = offsets[i], end = offsets[i + 1];
    int32_t best = begin;
    T most = end > begin ? from[begin] : T{};
    for (int32_t j = begin + 1; j < end; ++j) {
      // Chosen, not branched over: which element is the best cannot be predicted.
      const bool better = kLeast ? from[j] < most : from[j] > most;
      best = better ? j : best;
      most = better ? from[j] : most;
    }
    to[i] = best - begin;
    valid[i] = end > begin;
  }
}

template <typename T>
constexpr ReduceKernel ReduceFor(Op op) {
  if constexpr (kBool<T>) {
    if (op == Op::kAny) return Fold<T, bool, Any>;
    if (op == Op::kAll) return Fold<T, bool, All>;
    if (op == Op::kCountNonzero) return Fold<T, int64_t, CountTrue>;
  } else {
    if (op == Op::kSum) return Fold<T, T, SumOf>;
    if (op == Op::kProd) return Fold<T, T, ProductOf>;
  }
  if (op == Op::kMin) return Fold<T, T, Least>;
  if (op == Op::kMax) return Fold<T, T, Greatest>;
  if (op == Op::kArgmin) return ArgOf<T, true>;
  if (op == Op::kArgmax) return ArgOf<T, false>;
  return nullptr;
}

// --------------------------------------------------------------------------------- moving elements
uint64_t ChecksumOf(const uint8_t* data, size_t size) { return XXH3_64bits(data, size); }

void UnpackBits(const uint8_t* bits, int64_t n, uint8_t* out) {
  int64_t i = 0;
  for (; i + 8 <= n; i += 8) {
    // Each of the eight bytes gets one bit of the byte `bits[i / 8]`.
    const uint64_t spread = (bits[i / 8] * 0x0101010101010101ull) & 0x8040201008040201ull;
    const uint64_t ones = ((spread + 0x7F7F7F7F7F7F7F7Full) | spread) >> 7 & 0x0101010101010101ull;
    std::memcpy(out + i, &ones, 8);
  }
  for (; i < n; ++i) out[i] = (bits[i / 8] >> (i % 8)) & 1;
}

bool CheckOffsets(const int32_t* offsets, int64_t n_lists) {
  if (offsets[0] != 0) return false;
  int bad = 0;
  for (int64_t i = 0; i < n_lists; ++i) bad |= offsets[i + 1] < offsets[i];
  return bad == 0;
}

// For each byte, the numbers of its set bits in a row.
struct BitNumbers {
  uint8_t of[256][8];
};
constexpr BitNumbers MakeBitNumbers() {
  BitNumbers numbers{};
  for (int byte = 0; byte < 256; ++byte) {
    int k = 0;
    for (int bit = 0; bit < 8; ++bit) {
      if ((byte >> bit & 1) != 0) numbers.of[byte][k++] = static_cast<uint8_t>(bit);
    }
  }
  return numbers;
}
constexpr BitNumbers kBitNumbers = MakeBitNumbers();

int64_t Select(const uint8_t* mask, int64_t n, int32_t* out) {
  int64_t k = 0, i = 0;
  for (; i + 8 <= n; i += 8) {
    uint64_t eight;
    std::memcpy(&eight, mask + i, 8);
    if (eight == 0) continue;
    // The eight truths as the bits of one byte; eight numbers are written, those that count are kept.
    const unsigned bits = static_cast<unsigned>((eight * 0x0102040810204080ull) >> 56);
    const uint8_t* numbers = kBitNumbers.of[bits];
    for (int j = 0; j < 8; ++j) out[k + j] = static_cast<int32_t>(i) + numbers[j];
    k += __builtin_popcount(bits);
  }
  for (; i < n; ++i) {
    out[k] = static_cast<int32_t>(i);
    k += mask[i];
  }
  return k;
}

// Calls f with a null pointer of an unsigned type of `width` bytes.
template <typename F>
void ByWidth(size_t width, F f) {
  if (width == 1) {
    f(static_cast<uint8_t*>(nullptr));
  } else if (width == 2) {
    f(static_cast<uint16_t*>(nullptr));
  } else if (width == 4) {
    f(static_cast<uint32_t*>(nullptr));
  } else {
    f(static_cast<uint64_t*>(nullptr));
  }
}

void Gather(const void* x, const int32_t* index, int64_t n, size_t width, void* out) {
  ByWidth(width, [=]<typename T>(T*) {
    const T* from = static_cast<const T*>(x);
    T* to = static_cast<T*>(out);
    for (int64_t k = 0; k < n; ++k) to[k] = from[index[k]];
  });
}

void CopyLists(const void* x, const int32_t* offsets, const int32_t* rows, int64_t n_rows, size_t width,
               void* out) {
  ByWidth(width, [=]<typename T>(T*) {
    const T* from = static_cast<const T*>(x);
    T* to = static_cast<T*>(out);
    for (int64_t i = 0; i < n_rows; ++i) {
      for (int32_t j = offsets[rows[i]]; j < offsets[rows[i] + 1]; ++j) *to++ = from[j];
    }
  });
}

void Rank(const uint8_t* mask, int64_t n, int32_t* rank) {
  int32_t before = 0;
  int64_t i = 0;
  rank[0] = 0;
  for (; i + 8 <= n; i += 8) {
    uint64_t eight;
    std::memcpy(&eight, mask + i, 8);
    // Byte k of the product is the sum of bytes 0 to k.
    eight *= 0x0101010101010101ull;
    uint8_t sums[8];
    std::memcpy(sums, &eight, 8);
    for (int k = 0; k < 8; ++k) rank[i + 1 + k] = before + sums[k];
    before += sums[7];
  }
  for (; i < n; ++i) {
    before += mask[i];
    rank[i + 1] = before;
  }
}

// ------------------------------------------------------------------------------------- the table
template <typename T>
void FillCasts(KernelTable* table, int from) {
  CastKernel* row = table->cast[from];
  row[0] = Cast<T, bool>;
  row[1] = Cast<T, int8_t>;
  row[2] = Cast<T, uint8_t>;
  row[3] = Cast<T, int16_t>;
  row[4] = Cast<T, uint16_t>;
  row[5] = Cast<T, int32_t>;
  row[6] = Cast<T, uint32_t>;
  row[7] = Cast<T, int64_t>;
  row[8] = Cast<T, uint64_t>;
  row[9] = Cast<T, float>;
  row[10] = Cast<T, double>;
}

template <typename T>
void FillFor(KernelTable* table, DType dtype) {
  const int d = static_cast<int>(dtype);
  const auto fill = [d]<typename Row, typename F>(Row* rows, Op first, Op end, F choose) {
    for (int op = static_cast<int>(first); op < static_cast<int>(end); ++op) {
      rows[op - static_cast<int>(first)][d] = choose(static_cast<Op>(op));
    }
  };
  fill(table->unary, Op::kNeg, Op::kUnaryEnd, UnaryFor<T>);
  fill(table->binary, Op::kAdd, Op::kBinaryEnd, BinaryFor<T>);
  fill(table->reduce, Op::kAny, Op::kReduceEnd, ReduceFor<T>);
  FillCasts<T>(table, d);
}

KernelTable Make() {
  KernelTable table{};
#define SKYHOOK_STRING2(X) #X
#define SKYHOOK_STRING(X) SKYHOOK_STRING2(X)
  table.name = SKYHOOK_STRING(SKYHOOK_KERNELS);
  FillFor<bool>(&table, DType::kBool);
  FillFor<int8_t>(&table, DType::kInt8);
  FillFor<uint8_t>(&table, DType::kUInt8);
  FillFor<int16_t>(&table, DType::kInt16);
  FillFor<uint16_t>(&table, DType::kUInt16);
  FillFor<int32_t>(&table, DType::kInt32);
  FillFor<uint32_t>(&table, DType::kUInt32);
  FillFor<int64_t>(&table, DType::kInt64);
  FillFor<uint64_t>(&table, DType::kUInt64);
  FillFor<float>(&table, DType::kFloat32);
  FillFor<double>(&table, DType::kFloat64);
  table.checksum = ChecksumOf;
  table.unpack_bits = UnpackBits;
  table.check_offsets = CheckOffsets;
  table.select = Select;
  table.gather = Gather;
  table.copy_lists = CopyLists;
  table.rank = Rank;
  AddFloat64Kernels(&table);
  AddSetKernels(&table);
  return table;
}

}  // namespace

const KernelTable& Table() {
  static const KernelTable table = Make();
  return table;
}

}  // namespace skyhook::SKYHOOK_KERNELS
