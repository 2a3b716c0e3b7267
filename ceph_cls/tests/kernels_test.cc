#include "engine/kernels.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>

#include "drive.h"
#include "naive.h"
#include "random_program.h"

namespace skyhook::test {
namespace {

constexpr int kUnaryOps = static_cast<int>(Op::kUnaryEnd) - static_cast<int>(Op::kNeg);
constexpr int kBinaryOps = static_cast<int>(Op::kBinaryEnd) - static_cast<int>(Op::kAdd);
constexpr int kReduceOps = static_cast<int>(Op::kReduceEnd) - static_cast<int>(Op::kAny);

// Values with room behind them, as kernels may expect it.
template <typename T>
Buffer Padded(const std::vector<T>& values) {
  const std::vector<uint8_t> bytes = AsBytes(values);
  Buffer buffer;
  buffer.Renew(bytes.size() + kSlackBytes);
  if (!bytes.empty()) std::memcpy(buffer.data(), bytes.data(), bytes.size());
  return buffer;
}

template <typename T, typename R = T>
std::vector<R> Apply(Op op, const std::vector<T>& a, const std::vector<T>& b) {
  const Buffer x = Padded(a), y = Padded(b), out = Padded(std::vector<R>(a.size()));
  Kernels().binary[static_cast<int>(op) - static_cast<int>(Op::kAdd)][static_cast<int>(DTypeFor<T>())](
      x.data(), false, y.data(), false, static_cast<int64_t>(a.size()), const_cast<uint8_t*>(out.data()));
  std::vector<R> result;
  for (size_t i = 0; i < a.size(); ++i) result.push_back(Load<R>(out.data() + i * sizeof(R)));
  return result;
}

template <typename T, typename R = T>
std::vector<R> Apply(Op op, const std::vector<T>& a) {
  const Buffer x = Padded(a), out = Padded(std::vector<R>(a.size()));
  Kernels().unary[static_cast<int>(op) - static_cast<int>(Op::kNeg)][static_cast<int>(DTypeFor<T>())](
      x.data(), static_cast<int64_t>(a.size()), const_cast<uint8_t*>(out.data()));
  std::vector<R> result;
  for (size_t i = 0; i < a.size(); ++i) result.push_back(Load<R>(out.data() + i * sizeof(R)));
  return result;
}

template <typename From, typename To>
std::vector<To> Cast(const std::vector<From>& a) {
  const Buffer x = Padded(a), out = Padded(std::vector<To>(a.size()));
  Kernels().cast[static_cast<int>(DTypeFor<From>())][static_cast<int>(DTypeFor<To>())](
      x.data(), static_cast<int64_t>(a.size()), const_cast<uint8_t*>(out.data()));
  std::vector<To> result;
  for (size_t i = 0; i < a.size(); ++i) result.push_back(Load<To>(out.data() + i * sizeof(To)));
  return result;
}

// Angles near quarter turns, where digits are lost, and of every size; what is no number.
std::vector<double> Angles() {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  std::vector<double> angles{0.0, -0.0, 1, 1e5, 117436, 1e22, 5e-324, 700, 701, 710.4, kInfinity, -kInfinity};
  for (int k = 1; k < 100000; k = k * 3 / 2 + 1) {
    const double turn = k * 1.57079632679489661923;
    for (const double off : {0.0, 1e-16, 1e-11, 1e-9, 1e-4, 0.3, 0.785398163397448}) {
      angles.insert(angles.end(), {turn + off, off - turn, std::nextafter(turn, 0.0)});
    }
  }
  for (double x = 1e-9; x < 1e3; x *= 1.07) angles.insert(angles.end(), {x, -x});
  return angles;
}

template <typename F>
void ExpectWithinTwoPlaces(Op op, F exact) {
  const std::vector<double> x = Angles(), got = Apply(op, x);
  for (size_t i = 0; i < x.size(); ++i) {
    const long double truth = exact(static_cast<long double>(x[i]));
    const double rounded = static_cast<double>(truth);
    if (!std::isfinite(rounded)) {
      EXPECT_TRUE(got[i] == rounded || (std::isnan(got[i]) && std::isnan(rounded))) << x[i];
      continue;
    }
    const double place = std::nextafter(std::fabs(rounded), HUGE_VAL) - std::fabs(rounded);
    EXPECT_LE(std::fabs(static_cast<double>(got[i] - truth)), 2 * place) << x[i];
    EXPECT_EQ(std::signbit(got[i]), std::signbit(rounded)) << x[i];
  }
}

TEST(Float64Kernels, SineCosineAndHyperbolicSineAreWithinTwoPlacesOfTheTruth) {
  ExpectWithinTwoPlaces(Op::kSin, [](long double x) { return std::sin(x); });
  ExpectWithinTwoPlaces(Op::kCos, [](long double x) { return std::cos(x); });
  ExpectWithinTwoPlaces(Op::kSinh, [](long double x) { return std::sinh(x); });
}

TEST(Float64Kernels, SineAndCosineAtOnceAreThoseOfEach) {
  const std::vector<double> x = Angles();
  const Buffer from = Padded(x), sin = Padded(x), cos = Padded(x);
  Kernels().sin_cos(from.data(), static_cast<int64_t>(x.size()), const_cast<uint8_t*>(sin.data()),
                    const_cast<uint8_t*>(cos.data()));
  const std::vector<uint8_t> sines = AsBytes(Apply(Op::kSin, x)), cosines = AsBytes(Apply(Op::kCos, x));
  EXPECT_EQ(std::memcmp(sin.data(), sines.data(), sines.size()), 0);
  EXPECT_EQ(std::memcmp(cos.data(), cosines.data(), cosines.size()), 0);
}

// ------------------------------------------------------------------------- NumPy's edge cases
template <typename T>
class SignedKernels : public testing::Test {};
using SignedTypes = testing::Types<int8_t, int16_t, int32_t, int64_t>;
TYPED_TEST_SUITE(SignedKernels, SignedTypes);

TYPED_TEST(SignedKernels, DivideTowardsMinusInfinity) {
  using T = TypeParam;
  const T least = std::numeric_limits<T>::min();
  const std::vector<T> a{7, -7, 7, -7, 6, 0, 5, -5, least, least};
  const std::vector<T> b{2, 2, -2, -2, -3, 4, 0, 0, -1, 1};
  EXPECT_EQ(Apply(Op::kFloorDiv, a, b), (std::vector<T>{3, -4, -4, 3, -2, 0, 0, 0, least, least}));
  EXPECT_EQ(Apply(Op::kMod, a, b), (std::vector<T>{1, 1, -1, -1, 0, 0, 0, 0, 0, 0}));
}

TYPED_TEST(SignedKernels, WrapAround) {
  using T = TypeParam;
  const T least = std::numeric_limits<T>::min(), most = std::numeric_limits<T>::max();
  EXPECT_EQ(Apply(Op::kAdd, std::vector<T>{most, most}, {1, most}), (std::vector<T>{least, -2}));
  EXPECT_EQ(Apply(Op::kSub, std::vector<T>{least}, {1}), (std::vector<T>{most}));
  EXPECT_EQ(Apply(Op::kMul, std::vector<T>{least, most}, {-1, most}), (std::vector<T>{least, 1}));
  EXPECT_EQ(Apply(Op::kNeg, std::vector<T>{least, 3}), (std::vector<T>{least, -3}));
  EXPECT_EQ(Apply(Op::kAbs, std::vector<T>{least, -3}), (std::vector<T>{least, 3}));
  EXPECT_EQ(Apply(Op::kSign, std::vector<T>{least, 0, most}), (std::vector<T>{-1, 0, 1}));
}

TYPED_TEST(SignedKernels, ShiftPastTheWidthLeavesTheSign) {
  using T = TypeParam;
  const T width = sizeof(T) * 8;
  const std::vector<T> a{1, 1, -1, 5, 1}, by{static_cast<T>(width - 1), width, width, -1, 2};
  EXPECT_EQ(Apply(Op::kLshift, a, by), (std::vector<T>{std::numeric_limits<T>::min(), 0, 0, 0, 4}));
  EXPECT_EQ(Apply(Op::kRshift, a, by), (std::vector<T>{0, 0, -1, 0, 0}));
  EXPECT_EQ(Apply(Op::kRshift, std::vector<T>{-8, -8}, {1, 100}), (std::vector<T>{-4, -1}));
}

TYPED_TEST(SignedKernels, RaiseToPowers) {
  using T = TypeParam;
  EXPECT_EQ(Apply(Op::kPow, std::vector<T>{3, -2, 0, -1, 1, 2}, {4, 3, 0, -3, -5, -1}),
            (std::vector<T>{81, -8, 1, -1, 1, 0}));
}

template <typename T>
class UnsignedKernels : public testing::Test {};
using UnsignedTypes = testing::Types<uint8_t, uint16_t, uint32_t, uint64_t>;
TYPED_TEST_SUITE(UnsignedKernels, UnsignedTypes);

TYPED_TEST(UnsignedKernels, WrapShiftAndDivide) {
  using T = TypeParam;
  const T most = std::numeric_limits<T>::max(), width = sizeof(T) * 8;
  EXPECT_EQ(Apply(Op::kAdd, std::vector<T>{most}, {2}), (std::vector<T>{1}));
  EXPECT_EQ(Apply(Op::kSub, std::vector<T>{0}, {1}), (std::vector<T>{most}));
  EXPECT_EQ(Apply(Op::kMul, std::vector<T>{most}, {most}), (std::vector<T>{1}));
  EXPECT_EQ(Apply(Op::kFloorDiv, std::vector<T>{7, 7}, {2, 0}), (std::vector<T>{3, 0}));
  EXPECT_EQ(Apply(Op::kMod, std::vector<T>{7, 7}, {2, 0}), (std::vector<T>{1, 0}));
  EXPECT_EQ(Apply(Op::kLshift, std::vector<T>{1, 1}, {width, 3}), (std::vector<T>{0, 8}));
  EXPECT_EQ(Apply(Op::kRshift, std::vector<T>{most, most}, {width, 1}),
            (std::vector<T>{0, static_cast<T>(most / 2)}));
  EXPECT_EQ(Apply(Op::kNeg, std::vector<T>{1}), (std::vector<T>{most}));
  EXPECT_EQ(Apply(Op::kSign, std::vector<T>{0, most}), (std::vector<T>{0, 1}));
}

template <typename T>
class FloatKernels : public testing::Test {};
using FloatTypes = testing::Types<float, double>;
TYPED_TEST_SUITE(FloatKernels, FloatTypes);

// fmod, then the steps of CPython: also next to whole multiples of the divisor, and of tiny and huge numbers.
TYPED_TEST(FloatKernels, TakeTheSameRemainderHoweverFarRound) {
  using T = TypeParam;
  const T inf = std::numeric_limits<T>::infinity();
  std::vector<T> a, b;
  for (T divisor : {T(6.2831853), T(1), T(0.1), T(3e-39), T(2e38), std::numeric_limits<T>::denorm_min(),
                    std::numeric_limits<T>::max(), inf}) {
    for (int times = -5; times <= 5; ++times) {
      const T at = static_cast<T>(times) / 2 * divisor;
      for (T x : {std::nextafter(at, -inf), at, -at, std::nextafter(at, inf)}) {
        a.insert(a.end(), {x, x});
        b.insert(b.end(), {divisor, -divisor});
      }
    }
  }
  const std::vector<T> rest = Apply(Op::kMod, a, b);
  for (size_t i = 0; i < a.size(); ++i) {
    T expected = std::fmod(a[i], b[i]);
    if (expected == 0) {
      expected = std::copysign(T{0}, b[i]);
    } else if ((b[i] < 0) != (expected < 0)) {
      expected += b[i];
    }
    EXPECT_TRUE(std::isnan(expected) ? std::isnan(rest[i])
                                     : rest[i] == expected && std::signbit(rest[i]) == std::signbit(expected))
        << a[i] << " % " << b[i] << " is " << rest[i] << ", not " << expected;
  }
}

TYPED_TEST(FloatKernels, DivideAndTakeRemaindersAsPythonDoes) {
  using T = TypeParam;
  const T inf = std::numeric_limits<T>::infinity();
  const std::vector<T> a{7, -7, 7, -7, 0, 1, -6, 5, 6}, b{2, 2, -2, -2, -3, inf, 3, -inf, T(0.1)};
  const std::vector<T> quotient = Apply(Op::kFloorDiv, a, b), rest = Apply(Op::kMod, a, b);
  EXPECT_EQ(quotient, (std::vector<T>{3, -4, -4, 3, 0, 0, -2, -1, std::is_same_v<T, float> ? T(59) : T(59)}));
  for (size_t i = 0; i < 5; ++i) EXPECT_EQ(rest[i], (std::vector<T>{1, 1, -1, -1, 0})[i]);
  EXPECT_TRUE(std::signbit(rest[4]));
  EXPECT_EQ(rest[5], 1);
  EXPECT_FALSE(std::signbit(rest[6]));
  EXPECT_EQ(rest[7], -inf);
  EXPECT_NEAR(rest[8], 0.1, 1e-6);
  EXPECT_TRUE(std::isinf(Apply(Op::kFloorDiv, std::vector<T>{1}, {0})[0]));
  EXPECT_TRUE(std::isnan(Apply(Op::kMod, std::vector<T>{1}, {0})[0]));
  EXPECT_TRUE(std::isnan(Apply(Op::kFloorDiv, std::vector<T>{inf}, {1})[0]));
}

TYPED_TEST(FloatKernels, MinimumAndMaximumPassNanOn) {
  using T = TypeParam;
  const T nan = std::numeric_limits<T>::quiet_NaN();
  for (Op op : {Op::kMinimum, Op::kMaximum}) {
    const std::vector<T> result = Apply(op, std::vector<T>{nan, 1, nan, 1}, {1, nan, nan, 2});
    EXPECT_TRUE(std::isnan(result[0]) && std::isnan(result[1]) && std::isnan(result[2]));
    EXPECT_EQ(result[3], op == Op::kMinimum ? 1 : 2);
  }
}

TYPED_TEST(FloatKernels, SignKeepsNanAndDropsTheSignOfZero) {
  using T = TypeParam;
  const std::vector<T> result = Apply(Op::kSign, std::vector<T>{-3, T(-0.0), 0, 9, std::nan("")});
  EXPECT_EQ(std::vector<T>(result.begin(), result.begin() + 4), (std::vector<T>{-1, 0, 0, 1}));
  EXPECT_TRUE(std::isnan(result[4]));
}

TYPED_TEST(FloatKernels, RoundHalvesToEven) {
  using T = TypeParam;
  EXPECT_EQ(Apply(Op::kRint, std::vector<T>{0.5, 1.5, 2.5, -0.5, -1.5}), (std::vector<T>{0, 2, 2, 0, -2}));
}

TYPED_TEST(FloatKernels, CastToIntegersCutOffWhatIsBehindThePoint) {
  using T = TypeParam;
  EXPECT_EQ((Cast<T, int32_t>({T(2.9), T(-2.9), T(-0.5)})), (std::vector<int32_t>{2, -2, 0}));
  EXPECT_EQ((Cast<T, uint8_t>({T(255.5), T(-0.5), T(3)})), (std::vector<uint8_t>{255, 0, 3}));
  EXPECT_EQ((Cast<T, int8_t>({T(127.5), T(-128.5), T(128), T(-129)})),
            (std::vector<int8_t>{127, -128, -128, -128}));
  EXPECT_EQ((Cast<T, int64_t>({T(9.3e18), T(-9.3e18), std::numeric_limits<T>::quiet_NaN()})),
            (std::vector<int64_t>(3, std::numeric_limits<int64_t>::min())));
  EXPECT_EQ((Cast<double, int32_t>({2147483647.5, 2147483648.0, -2147483648.5})),
            (std::vector<int32_t>{2147483647, std::numeric_limits<int32_t>::min(),
                                  std::numeric_limits<int32_t>::min()}));
  EXPECT_EQ((Cast<T, bool>({T(0), T(-0.0), T(0.25), std::numeric_limits<T>::quiet_NaN()})),
            (std::vector<bool>{false, false, true, true}));
}

TYPED_TEST(FloatKernels, MinAndMaxOfAListPassNanOver) {
  using T = TypeParam;
  const T nan = std::numeric_limits<T>::quiet_NaN(), inf = std::numeric_limits<T>::infinity();
  const Buffer x = Padded(std::vector<T>{nan, 2, 1, nan, nan});
  const std::vector<int32_t> offsets{0, 3, 5, 5};
  T out[3];
  uint8_t valid[3];
  const auto reduce = [&](Op op) {
    Kernels().reduce[static_cast<int>(op) - static_cast<int>(Op::kAny)][static_cast<int>(DTypeFor<T>())](
        x.data(), offsets.data(), 3, out, valid);
  };
  reduce(Op::kMin);
  EXPECT_EQ(out[0], 1);
  EXPECT_EQ(out[1], inf);
  EXPECT_EQ((std::vector<int>{valid[0], valid[1], valid[2]}), (std::vector<int>{1, 1, 0}));
  reduce(Op::kMax);
  EXPECT_EQ(out[0], 2);
  EXPECT_EQ(out[1], -inf);
}

TEST(Kernels, BitsBecomeBytesInOrder) {
  for (int64_t n = 0; n < 40; ++n) {
    std::vector<uint8_t> bools;
    for (int64_t i = 0; i < n; ++i) bools.push_back(i % 3 == 0 || i % 7 == 1);
    const std::vector<uint8_t> bits = PackBits(bools);
    std::vector<uint8_t> out(static_cast<size_t>(n));
    Kernels().unpack_bits(bits.data(), n, out.data());
    EXPECT_EQ(out, bools);
  }
}

TEST(Kernels, OffsetsMustRiseFromZero) {
  const auto fine = [](std::vector<int32_t> offsets) {
    return Kernels().check_offsets(Padded(offsets).data() == nullptr ? nullptr : offsets.data(),
                                   static_cast<int64_t>(offsets.size()) - 1);
  };
  EXPECT_TRUE(fine({0}));
  EXPECT_TRUE(fine({0, 0, 3}));
  EXPECT_FALSE(fine({1, 2}));
  EXPECT_FALSE(fine({0, 3, 2, 3}));
  EXPECT_FALSE(fine({0, -1}));
}

#ifdef SKYHOOK_HAVE_V3
// ---------------------------------------------------- the same bits on every processor
// Random values of any dtype: numbers near each other, extremes, and random bits.
std::vector<uint8_t> RandomBytes(Random* random, DType dtype, size_t n) {
  std::vector<uint8_t> bytes(n * SizeOf(dtype) + kSlackBytes);
  const int mode = static_cast<int>((*random)() % 3);
  Dispatch(dtype, [&]<typename T>(T*) {
    for (size_t i = 0; i < n; ++i) {
      T value = static_cast<T>(static_cast<int>((*random)() % 23) - 11);
      if constexpr (std::is_floating_point_v<T>) value += static_cast<T>((*random)() % 64) / 64;
      if (mode == 1 && (*random)() % 2 == 0) {
        const T extremes[] = {std::numeric_limits<T>::max(), std::numeric_limits<T>::lowest(),
                              std::numeric_limits<T>::min(), std::numeric_limits<T>::infinity(),
                              std::numeric_limits<T>::quiet_NaN()};
        value = extremes[(*random)() % 5];
      }
      if constexpr (!std::is_same_v<T, bool>) {
        const uint64_t bits = (*random)();
        if (mode == 2) std::memcpy(&value, &bits, sizeof(T));
      }
      std::memcpy(bytes.data() + i * sizeof(T), &value, sizeof(T));
    }
  });
  return bytes;
}

// Equal bits, or both NaN.
::testing::AssertionResult SameBits(const Buffer& a, const Buffer& b, DType dtype, size_t n) {
  return Dispatch(dtype, [&]<typename T>(T*) -> ::testing::AssertionResult {
    using Readable = std::conditional_t<std::is_same_v<T, bool>, uint8_t, T>;
    for (size_t i = 0; i < n; ++i) {
      const auto x = Load<Readable>(a.data() + i * sizeof(T)), y = Load<Readable>(b.data() + i * sizeof(T));
      if (std::memcmp(&x, &y, sizeof(T)) != 0 && (x == x || y == y)) {
        return ::testing::AssertionFailure() << "element " << i << " is " << +x << " and " << +y;
      }
    }
    return ::testing::AssertionSuccess();
  });
}

class BothTables : public testing::Test {
 protected:
  void SetUp() override {
    if (std::string(Kernels().name) != "v3") GTEST_SKIP() << "this processor lacks AVX2";
  }

  // Calls f with each table and an output; the outputs must be equal.
  template <typename F>
  void Compare(DType result, size_t n, F f) {
    Buffer outs[2];
    for (Buffer& out : outs) {
      out.Renew(n * SizeOf(result) + kSlackBytes);
      std::memset(out.data(), 0, out.size());
    }
    f(base::Table(), outs[0].data());
    f(v3::Table(), outs[1].data());
    EXPECT_TRUE(SameBits(outs[0], outs[1], result, n));
  }

  Random random_{7};
};

TEST_F(BothTables, GiveTheSameBitsForEveryUnaryOperation) {
  for (int op = 0; op < kUnaryOps; ++op) {
    for (int d = 0; d < kDTypes; ++d) {
      ASSERT_EQ(base::Table().unary[op][d] == nullptr, v3::Table().unary[op][d] == nullptr);
      if (base::Table().unary[op][d] == nullptr) continue;
      SCOPED_TRACE("op " + std::to_string(op + 64) + ", " + kDTypeNames[d]);
      const DType result =
          ProgramMaker::Boolean(static_cast<Op>(op + 64)) ? DType::kBool : static_cast<DType>(d);
      for (size_t n : {1, 7, 16, 33, 500}) {
        const std::vector<uint8_t> x = RandomBytes(&random_, static_cast<DType>(d), n);
        Compare(result, n, [&](const KernelTable& table, void* out) {
          table.unary[op][d](x.data(), static_cast<int64_t>(n), out);
        });
      }
    }
  }
}

TEST_F(BothTables, GiveTheSameBitsForEveryBinaryOperation) {
  for (int op = 0; op < kBinaryOps; ++op) {
    for (int d = 0; d < kDTypes; ++d) {
      ASSERT_EQ(base::Table().binary[op][d] == nullptr, v3::Table().binary[op][d] == nullptr);
      if (base::Table().binary[op][d] == nullptr) continue;
      SCOPED_TRACE("op " + std::to_string(op + 128) + ", " + kDTypeNames[d]);
      const DType result =
          ProgramMaker::Boolean(static_cast<Op>(op + 128)) ? DType::kBool : static_cast<DType>(d);
      for (size_t n : {1, 7, 16, 33, 500}) {
        const std::vector<uint8_t> a = RandomBytes(&random_, static_cast<DType>(d), n),
                                   b = RandomBytes(&random_, static_cast<DType>(d), n);
        for (int constant = 0; constant < 4; ++constant) {
          Compare(result, n, [&](const KernelTable& table, void* out) {
            table.binary[op][d](a.data(), (constant & 1) != 0, b.data(), (constant & 2) != 0,
                                static_cast<int64_t>(n), out);
          });
        }
      }
    }
  }
}

TEST_F(BothTables, GiveTheSameBitsForEveryCast) {
  for (int from = 0; from < kDTypes; ++from) {
    for (int to = 0; to < kDTypes; ++to) {
      SCOPED_TRACE(std::string(kDTypeNames[from]) + " to " + kDTypeNames[to]);
      for (size_t n : {1, 7, 33, 500}) {
        const std::vector<uint8_t> x = RandomBytes(&random_, static_cast<DType>(from), n);
        Compare(static_cast<DType>(to), n, [&](const KernelTable& table, void* out) {
          table.cast[from][to](x.data(), static_cast<int64_t>(n), out);
        });
      }
    }
  }
}

std::vector<int32_t> RandomOffsets(Random* random, size_t n_lists, int most) {
  std::vector<int32_t> offsets{0};
  for (size_t i = 0; i < n_lists; ++i) {
    offsets.push_back(offsets.back() + static_cast<int32_t>((*random)() % static_cast<uint64_t>(most + 1)));
  }
  return offsets;
}

TEST_F(BothTables, GiveTheSameBitsForEveryReduction) {
  for (int op = 0; op < kReduceOps; ++op) {
    const bool index = op + 192 >= static_cast<int>(Op::kCountNonzero);
    for (int d = 0; d < kDTypes; ++d) {
      ASSERT_EQ(base::Table().reduce[op][d] == nullptr, v3::Table().reduce[op][d] == nullptr);
      if (base::Table().reduce[op][d] == nullptr) continue;
      SCOPED_TRACE("op " + std::to_string(op + 192) + ", " + kDTypeNames[d]);
      for (int most : {0, 1, 3, 40}) {
        const std::vector<int32_t> offsets = RandomOffsets(&random_, 60, most);
        const std::vector<uint8_t> x =
            RandomBytes(&random_, static_cast<DType>(d), static_cast<size_t>(offsets.back()));
        uint8_t valid[2][60];
        int which = 0;
        Compare(index ? DType::kInt64 : static_cast<DType>(d), 60, [&](const KernelTable& table, void* out) {
          table.reduce[op][d](x.data(), offsets.data(), 60, out, valid[which++]);
        });
        EXPECT_EQ(std::memcmp(valid[0], valid[1], 60), 0);
      }
    }
  }
}

TEST_F(BothTables, MoveElementsAlike) {
  for (int round = 0; round < 40; ++round) {
    const std::vector<int32_t> offsets = RandomOffsets(&random_, 30, round % 7);
    const size_t n = static_cast<size_t>(offsets.back());
    std::vector<uint8_t> mask = RandomBytes(&random_, DType::kBool, n);
    const std::vector<uint8_t> x = RandomBytes(&random_, DType::kInt64, n + 30);
    Compare(DType::kInt32, n, [&](const KernelTable& table, uint8_t* out) {
      const int64_t kept =
          table.select(mask.data(), static_cast<int64_t>(n), reinterpret_cast<int32_t*>(out));
      std::memset(out + 4 * kept, 0, 4 * (n - static_cast<size_t>(kept)));
    });
    Compare(DType::kInt32, n + 1, [&](const KernelTable& table, uint8_t* out) {
      table.rank(mask.data(), static_cast<int64_t>(n), reinterpret_cast<int32_t*>(out));
    });
    std::vector<int32_t> index;
    for (size_t i = 0; i < n; ++i) index.push_back(static_cast<int32_t>(random_() % n));
    const std::vector<int32_t> rows{1, 2, 5, 11, 12, 13, 29};
    size_t of_rows = 0;
    for (int32_t row : rows) of_rows += static_cast<size_t>(offsets[row + 1] - offsets[row]);
    for (const auto& [width, dtype] : {std::pair{size_t{1}, DType::kUInt8},
                                       {size_t{2}, DType::kUInt16},
                                       {size_t{4}, DType::kUInt32},
                                       {size_t{8}, DType::kUInt64}}) {
      Compare(dtype, n, [&](const KernelTable& table, void* out) {
        table.gather(x.data(), index.data(), static_cast<int64_t>(n), width, out);
      });
      Compare(dtype, n, [&](const KernelTable& table, void* out) {
        table.spread(x.data(), offsets.data(), 30, width, out);
      });
      Compare(dtype, of_rows, [&](const KernelTable& table, void* out) {
        table.copy_lists(x.data(), offsets.data(), rows.data(), static_cast<int64_t>(rows.size()), width,
                         out);
      });
    }
    Compare(DType::kUInt8, n, [&](const KernelTable& table, uint8_t* out) {
      table.unpack_bits(x.data(), static_cast<int64_t>(n), out);
    });
    EXPECT_EQ(base::Table().checksum(x.data(), n), v3::Table().checksum(x.data(), n));
    for (int sets : {2, 3}) {
      size_t total = 0;
      for (size_t i = 0; i < 30; ++i) {
        const size_t m = static_cast<size_t>(offsets[i + 1] - offsets[i]);
        total += sets == 2 ? m * (m - 1) / 2 : m < 3 ? 0 : m * (m - 1) * (m - 2) / 6;
      }
      for (int slot = 0; slot < sets; ++slot) {
        Compare(DType::kInt32, total, [&](const KernelTable& table, uint8_t* out) {
          Buffer all[3];
          int32_t* slots[3];
          for (int s = 0; s < 3; ++s) {
            slots[s] = reinterpret_cast<int32_t*>(all[s].Renew(4 * total + kSlackBytes));
          }
          table.slots(offsets.data(), 30, sets, slots);
          if (total > 0) std::memcpy(out, slots[slot], 4 * total);
        });
      }
      for (DType dtype : {DType::kFloat32, DType::kFloat64}) {
        Compare(dtype, total, [&](const KernelTable& table, void* out) {
          table.component_sum(x.data(), offsets.data(), 30, sets, dtype, out);
        });
      }
    }
  }
}
#endif

}  // namespace
}  // namespace skyhook::test
