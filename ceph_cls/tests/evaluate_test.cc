// Operations that move elements, by examples; scan_random_test.cc has them at random.
#include "engine/evaluate.h"

#include <gtest/gtest.h>

#include "drive.h"
#include "program_maker.h"

namespace skyhook::test {
namespace {

// Three events with 4, 0 and 2 elements in A, 1, 2 and 0 in B.
class EvaluateTest : public testing::Test {
 protected:
  EvaluateTest() {
    const int a_list = table_.List("A"), b_list = table_.List("B");
    table_.Element("A_x", DType::kInt32, a_list);
    table_.Element("A_keep", DType::kBool, a_list);
    table_.Element("B_y", DType::kFloat64, b_list);
    table_.Event("e", DType::kInt32);
    table_.Event("idx", DType::kInt32);
    table_.chunks.push_back(
        {3,
         {AsBytes(std::vector<int32_t>{0, 4, 4, 6}), AsBytes(std::vector<int32_t>{0, 1, 3, 3}),
          AsBytes(std::vector<int32_t>{1, 2, 3, 4, 50, 60}), std::vector<uint8_t>{0, 1, 0, 1, 1, 0},
          AsBytes(std::vector<double>{0.5, 1.5, 2.5}), AsBytes(std::vector<int32_t>{10, 20, 30}),
          AsBytes(std::vector<int32_t>{3, 0, 1})}});
    a_ = m_.List("A");
    b_ = m_.List("B");
    x_ = m_.LoadOf("A_x", DType::kInt32, a_);
    keep_ = m_.LoadOf("A_keep", DType::kBool, a_);
    y_ = m_.LoadOf("B_y", DType::kFloat64, b_);
    e_ = m_.LoadOf("e", DType::kInt32);
  }

  Result Run(std::vector<int32_t> outputs) {
    m_.outputs = std::move(outputs);
    return ScanAll(m_.Decode(), MakeObject(table_, Codec::kLz4Frame));
  }

  Table table_;
  ProgramMaker m_;
  int a_, b_, x_, keep_, y_, e_;
};

using Ints = std::vector<int32_t>;
using Longs = std::vector<int64_t>;

TEST_F(EvaluateTest, CombinationsAreInLexicographicOrder) {
  const int pairs = m_.Combinations(a_, 2);
  const Result result =
      Run({m_.Same(Op::kComponent, x_, pairs, -1, 0), m_.Same(Op::kComponent, x_, pairs, -1, 1)});
  EXPECT_EQ(ValuesOf<int32_t>(result, 0), (Ints{1, 1, 1, 2, 2, 3, 50}));
  EXPECT_EQ(ValuesOf<int32_t>(result, 1), (Ints{2, 3, 4, 3, 4, 4, 60}));
  EXPECT_EQ(OffsetsOf(result, 0), (Longs{0, 6, 6, 7}));
}

TEST_F(EvaluateTest, CombinationsOfMoreAreInLexicographicOrderToo) {
  const int threes = m_.Combinations(a_, 3), fours = m_.Combinations(a_, 4);
  const Result result = Run({m_.Same(Op::kComponent, x_, threes, -1, 1),
                             m_.Same(Op::kComponent, x_, fours, -1, 3), m_.Count(m_.Combinations(a_, 5))});
  EXPECT_EQ(ValuesOf<int32_t>(result, 0), (Ints{2, 2, 3, 3}));
  EXPECT_EQ(ValuesOf<int32_t>(result, 1), (Ints{4}));
  EXPECT_EQ(ValuesOf<int64_t>(result, 2), (Longs{0, 0, 0}));
}

// The mass of sums is computed at once; the same of parts that are added one by one is not.
TEST_F(EvaluateTest, TheMassOfSumsHasTheBitsOfItsSteps) {
  const int wide = m_.Add(Op::kCast, DType::kFloat64, x_);
  std::vector<int> parts;
  for (const double scale : {0.3, 0.7, 1.1, 1.3}) {
    const int factor = m_.Const(scale);
    parts.push_back(m_.Binary(Op::kMul, m_.Unary(Op::kSin, m_.Binary(Op::kMul, wide, factor)), wide));
  }
  const auto mass = [&](std::vector<int> sums) {
    for (int& sum : sums) sum = m_.Binary(Op::kMul, sum, sum);
    const int pt2 = m_.Binary(Op::kAdd, sums[0], sums[1]);
    const int p2 = m_.Binary(Op::kAdd, pt2, sums[2]);
    return m_.Unary(Op::kSignedSqrt, m_.Binary(Op::kSub, sums[3], p2));
  };
  std::vector<int> outputs;
  for (const int n : {2, 3}) {
    const int sets = m_.Combinations(a_, n);
    std::vector<int> at_once, one_by_one;
    for (const int part : parts) {
      at_once.push_back(m_.Same(Op::kComponentSum, part, sets));
      int sum = m_.Same(Op::kComponent, part, sets, -1, 0);
      for (int slot = 1; slot < n; ++slot) {
        sum = m_.Binary(Op::kAdd, sum, m_.Same(Op::kComponent, part, sets, -1, static_cast<uint64_t>(slot)));
      }
      one_by_one.push_back(sum);
    }
    outputs.push_back(mass(at_once));
    outputs.push_back(mass(one_by_one));
  }
  const Result result = Run(outputs);
  EXPECT_EQ(result.columns[0].n(), 7);
  EXPECT_EQ(result.columns[2].n(), 4);
  EXPECT_EQ(ValuesOf<uint64_t>(result, 0), ValuesOf<uint64_t>(result, 1));
  EXPECT_EQ(ValuesOf<uint64_t>(result, 2), ValuesOf<uint64_t>(result, 3));
}

TEST_F(EvaluateTest, SineAndCosineOfOneAngleAreThoseOfEach) {
  const int angle = m_.Add(Op::kCast, DType::kFloat64, x_);
  const int both[] = {m_.Unary(Op::kCos, angle), m_.Unary(Op::kSin, angle)};
  const Result together = Run({both[0], both[1]});
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(ValuesOf<double>(Run({both[i]}), 0), ValuesOf<double>(together, i));
  }
}

TEST_F(EvaluateTest, TheRightSideOfACrossRunsFastest) {
  const int cross = m_.Cross(b_, a_);
  const Result result =
      Run({m_.Same(Op::kComponent, y_, cross, -1, 0), m_.Same(Op::kComponent, x_, cross, -1, 1)});
  EXPECT_EQ(ValuesOf<double>(result, 0), (std::vector<double>{0.5, 0.5, 0.5, 0.5}));
  EXPECT_EQ(ValuesOf<int32_t>(result, 1), (Ints{1, 2, 3, 4}));
  EXPECT_EQ(OffsetsOf(result, 0), (Longs{0, 4, 4, 4}));
}

TEST_F(EvaluateTest, AFilterKeepsElementsAndEvents) {
  const int kept = m_.Filter(a_, keep_);
  const Result result =
      Run({m_.Same(Op::kTake, x_, kept), m_.Count(kept), m_.Add(Op::kLocalIndex, DType::kInt64, kept)});
  EXPECT_EQ(ValuesOf<int32_t>(result, 0), (Ints{2, 4, 50}));
  EXPECT_EQ(ValuesOf<int64_t>(result, 1), (Longs{2, 0, 1}));
  EXPECT_EQ(ValuesOf<int64_t>(result, 2), (Longs{0, 1, 0}));
}

TEST_F(EvaluateTest, IndicesIntoAFilteredListAreMoved) {
  const int kept = m_.Filter(a_, keep_), idx = m_.LoadOf("idx", DType::kInt32);
  const int minus = m_.Unary(Op::kNeg, idx), far = m_.Binary(Op::kAdd, idx, m_.Const(100));
  const Result result =
      Run({m_.Same(Op::kRemap, idx, kept), m_.Same(Op::kRemap, minus, kept), m_.Same(Op::kRemap, far, kept)});
  EXPECT_EQ(ValuesOf<int32_t>(result, 0), (Ints{1, -1, -1}));
  EXPECT_EQ(ValuesOf<int32_t>(result, 1), (Ints{-1, -1, -1}));
  EXPECT_EQ(ValuesOf<int32_t>(result, 2), (Ints{-1, -1, -1}));
}

TEST_F(EvaluateTest, AnIndexCountsFromTheEndIfNegativeAndMayMiss) {
  const Result result =
      Run({m_.Same(Op::kIndex, x_, m_.Const(int64_t{1})), m_.Same(Op::kIndex, x_, m_.Const(int64_t{-1})),
           m_.Same(Op::kIndex, x_, m_.Const(int64_t{3})), m_.Same(Op::kIndex, x_, m_.Const(INT64_MIN)),
           m_.Same(Op::kIndex, x_, m_.Const(INT64_MAX))});
  const auto valid = [&](size_t i) { return ValidOf(result, i); };
  EXPECT_EQ(ValuesOf<int32_t>(result, 0), (Ints{2, 0, 60}));
  EXPECT_EQ(valid(0), (std::vector<uint8_t>{1, 0, 1}));
  EXPECT_EQ(ValuesOf<int32_t>(result, 1), (Ints{4, 0, 60}));
  EXPECT_EQ(valid(2), (std::vector<uint8_t>{1, 0, 0}));
  EXPECT_EQ(valid(3), (std::vector<uint8_t>{0, 0, 0}));
  EXPECT_EQ(valid(4), (std::vector<uint8_t>{0, 0, 0}));
}

TEST_F(EvaluateTest, MissingValuesMakeComparisonsFalseAndArithmeticMissing) {
  const int most = m_.Reduce(Op::kMax, x_);
  const int high = m_.Binary(Op::kLt, most, m_.Const(1000)), sum = m_.Binary(Op::kAdd, most, e_);
  const Result result =
      Run({high, sum, m_.Same(Op::kFill, sum, m_.Const(-5)), m_.Add(Op::kPresent, DType::kBool, sum),
           m_.Unary(Op::kNot, m_.Cast(sum, DType::kBool)),
           m_.Where(m_.Cast(sum, DType::kBool), e_, m_.Const(7))});
  EXPECT_EQ(ValuesOf<uint8_t>(result, 0), (std::vector<uint8_t>{1, 0, 1}));
  EXPECT_FALSE(result.columns[0].has_valid);
  EXPECT_EQ(ValidOf(result, 1), (std::vector<uint8_t>{1, 0, 1}));
  EXPECT_EQ(ValuesOf<int32_t>(result, 2), (Ints{14, -5, 90}));
  EXPECT_EQ(ValuesOf<uint8_t>(result, 3), (std::vector<uint8_t>{1, 0, 1}));
  EXPECT_EQ(ValuesOf<uint8_t>(result, 4), (std::vector<uint8_t>{0, 1, 0}));
  EXPECT_EQ(ValuesOf<int32_t>(result, 5), (Ints{10, 7, 30}));
}

TEST_F(EvaluateTest, ReductionsPassMissingElementsOver) {
  // The elements of A beside which B has no second element are missing.
  const int second = m_.Same(Op::kIndex, y_, m_.Const(int64_t{1})), on_a = m_.Same(Op::kSpread, second, a_);
  const Result result = Run({m_.Reduce(Op::kSum, on_a), m_.Reduce(Op::kArgmax, on_a),
                             m_.Reduce(Op::kCountNonzero, m_.Binary(Op::kGt, on_a, m_.Const(0.0)))});
  EXPECT_EQ(ValuesOf<double>(result, 0), (std::vector<double>{0, 0, 0}));
  EXPECT_EQ(ValidOf(result, 1), (std::vector<uint8_t>{0, 0, 0}));
  EXPECT_EQ(ValuesOf<int64_t>(result, 2), (Longs{0, 0, 0}));
}

TEST_F(EvaluateTest, ListsThatShouldHaveButHaveNotEqualLengthsAreRefused) {
  const int twice = m_.Same(Op::kAlign, x_, b_);
  EXPECT_KIND(kInvalidRequest, Run({twice}));
}

TEST_F(EvaluateTest, ConstantsAreDeliveredOncePerEvent) {
  const Result result =
      Run({m_.Const(2.5), m_.Const(true), m_.Where(m_.Const(true), m_.Const(1), m_.Const(2)),
           m_.Same(Op::kFill, m_.Const(int8_t{4}), m_.Const(int8_t{9})),
           m_.Add(Op::kPresent, DType::kBool, m_.Const(0.0f))});
  EXPECT_EQ(ValuesOf<double>(result, 0), (std::vector<double>{2.5, 2.5, 2.5}));
  EXPECT_EQ(ValuesOf<uint8_t>(result, 1), (std::vector<uint8_t>{1, 1, 1}));
  EXPECT_EQ(ValuesOf<int32_t>(result, 2), (Ints{1, 1, 1}));
  EXPECT_EQ(ValuesOf<int8_t>(result, 3), (std::vector<int8_t>{4, 4, 4}));
  EXPECT_EQ(ValuesOf<uint8_t>(result, 4), (std::vector<uint8_t>{1, 1, 1}));
}

// One event with `length` elements in A, and more events around it.
Table LongList(int32_t length, uint32_t others = 0) {
  Table table;
  table.List("A");
  std::vector<int32_t> offsets{0};
  for (uint32_t i = 0; i < others; ++i) offsets.push_back(0);
  offsets.push_back(length);
  for (uint32_t i = 0; i < others; ++i) offsets.push_back(length);
  table.chunks.push_back({2 * others + 1, {AsBytes(offsets)}});
  return table;
}

TEST(EvaluateLimits, OneEventMayHaveSoManyElementsAndNoMore) {
  // 4096 times 4096 elements are kEventElementsMax.
  ProgramMaker m;
  const int list = m.List("A"), cross = m.Cross(list, list);
  m.outputs.push_back(m.Count(cross));
  const Program program = m.Decode();
  static_assert(kEventElementsMax == 4096 * 4096);

  const Result result = ScanAll(program, MakeObject(LongList(4096, 100), Codec::kNone));
  EXPECT_EQ(ValuesOf<int64_t>(result, 0)[100], kEventElementsMax);

  EXPECT_KIND(kResourceExhausted, ScanAll(program, MakeObject(LongList(4097, 100), Codec::kNone)));
}

TEST(EvaluateLimits, CombinationsOfALongListAreRefusedEvenIfTheirNumberIsHuge) {
  for (int n = 2; n <= kCombinationsMax; ++n) {
    ProgramMaker m;
    m.outputs.push_back(m.Count(m.Combinations(m.List("A"), n)));
    const Program program = m.Decode();
    EXPECT_KIND(kResourceExhausted, ScanAll(program, MakeObject(LongList(60000000, 1), Codec::kNone)));
  }
}

TEST(EvaluateLimits, ABlockMayTakeSoMuchMemoryAndNoMore) {
  // Each local_index of 2^24 elements takes 128 MiB; 1 GiB is allowed.
  const auto run = [](int values) {
    ProgramMaker m;
    const int list = m.List("A"), cross = m.Cross(list, list);
    int sum = m.Add(Op::kLocalIndex, DType::kInt64, cross);
    for (int i = 1; i < values; ++i) sum = m.Unary(Op::kNeg, sum);
    m.outputs.push_back(m.Reduce(Op::kMax, sum));
    ScanAll(m.Decode(), MakeObject(LongList(4096), Codec::kNone));
  };
  run(2);
  EXPECT_KIND(kResourceExhausted, run(9));
}

TEST(Evaluator, GivesUpWhenItIsTold) {
  ProgramMaker m;
  m.outputs = {m.Binary(Op::kAdd, m.LoadOf("e", DType::kInt32), m.Const(int32_t{1}))};
  const Program program = m.Decode();
  Evaluator evaluator(program);
  const std::vector<int32_t> numbers(64, 1);
  const std::vector<ColumnValues> columns = {{reinterpret_cast<const uint8_t*>(numbers.data()), 64}};
  const std::vector<int> order = evaluator.Order(program.outputs);
  const auto now = std::chrono::steady_clock::now();
  evaluator.GiveUpAt(now + std::chrono::hours(1));
  EXPECT_TRUE(evaluator.Run(order, columns, {nullptr, 0, 64}));
  evaluator.GiveUpAt(now);
  EXPECT_KIND(kStore, evaluator.Run(order, columns, {nullptr, 0, 64}));
}

}  // namespace
}  // namespace skyhook::test
