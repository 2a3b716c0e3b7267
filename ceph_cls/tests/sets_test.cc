// What is computed of combinations at once, compared with the steps that it stands for.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

#include "drive.h"
#include "engine/evaluate.h"
#include "engine/kernels.h"
#include "program_maker.h"

namespace skyhook::test {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
const char* const kParts[] = {"A_px", "A_py", "A_pz", "A_e"};

enum class Values { kAny, kFewDifferent, kOftenNoNumbers, kHugeOrTiny };

double OneOf(Values values, std::mt19937_64& random) {
  constexpr double kExtreme[] = {
      std::numeric_limits<double>::quiet_NaN(), kInfinity, -kInfinity, 1e200, 1, 2};
  switch (values) {
    case Values::kAny:
      return std::uniform_real_distribution<double>(-100, 100)(random);
    case Values::kFewDifferent:
      return static_cast<double>(random() % 4);
    case Values::kOftenNoNumbers:
      return kExtreme[random() % 6];
    default:
      return std::ldexp(1.0 + static_cast<double>(random() % 4) / 4, static_cast<int>(random() % 400) - 300);
  }
}

// Lists of all lengths to 40, and one that is long.
Table ListsOf(Values values) {
  Table table;
  const int list = table.List("A");
  for (const char* part : kParts) table.Element(part, DType::kFloat64, list);
  table.Element("A_keep", DType::kBool, list);
  std::mt19937_64 random(7);
  std::vector<int32_t> offsets{0};
  for (int length = 0; length < 400; ++length)
    offsets.push_back(offsets.back() + length % 41 / (length % 3 + 1));
  offsets.push_back(offsets.back() + 130);
  std::vector<std::vector<uint8_t>> columns{AsBytes(offsets)};
  for (int part = 0; part < 4; ++part) {
    std::vector<double> of_part(static_cast<size_t>(offsets.back()));
    for (double& x : of_part) x = OneOf(values, random) * (part == 3 ? 3 : 1);
    columns.push_back(AsBytes(of_part));
  }
  std::vector<uint8_t> keep(static_cast<size_t>(offsets.back()));
  for (uint8_t& k : keep) k = random() % 2;
  columns.push_back(keep);
  table.chunks.push_back({static_cast<uint32_t>(offsets.size() - 1), columns});
  return table;
}

class SetsTest : public testing::TestWithParam<Values> {
 protected:
  SetsTest() : table_(ListsOf(GetParam())), list_(m_.List("A")) {
    for (const char* part : kParts) parts_.push_back(m_.LoadOf(part, DType::kFloat64, list_));
  }
  int Mass(std::vector<int> sums) {
    for (int& sum : sums) sum = m_.Binary(Op::kMul, sum, sum);
    const int p2 = m_.Binary(Op::kAdd, m_.Binary(Op::kAdd, sums[0], sums[1]), sums[2]);
    return m_.Unary(Op::kSignedSqrt, m_.Binary(Op::kSub, sums[3], p2));
  }
  std::vector<int> Sums(int sets) {
    std::vector<int> sums;
    for (const int part : parts_) sums.push_back(m_.Same(Op::kComponentSum, part, sets));
    return sums;
  }
  Result Run(std::vector<int32_t> outputs) {
    m_.outputs = std::move(outputs);
    return ScanAll(m_.Decode(), MakeObject(table_, Codec::kLz4Frame));
  }

  Table table_;
  ProgramMaker m_;
  int list_;
  std::vector<int> parts_;
};

TEST_P(SetsTest, TheNearestMassIsThatOfTheStepsOneByOne) {
  for (const int n : {2, 3}) {
    const int mass = Mass(Sums(m_.Combinations(list_, n)));
    for (const double target : {0.0, 1.0, 172.5, -3.0, 1e60, 1e-60, 1e-170, 1e170, kInfinity}) {
      for (const bool swapped : {false, true}) {
        const int to = m_.Const(target);
        const int distance =
            m_.Unary(Op::kAbs, m_.Binary(Op::kSub, swapped ? to : mass, swapped ? mass : to));
        const int place = m_.Reduce(Op::kArgmin, distance), least = m_.Reduce(Op::kMin, distance);
        const Result at_once = Run({place, least}), alone = Run({least}),
                     steps = Run({place, least, distance});
        EXPECT_EQ(ValuesOf<int64_t>(at_once, 0), ValuesOf<int64_t>(steps, 0)) << n << " " << target;
        EXPECT_EQ(ValuesOf<uint64_t>(at_once, 1), ValuesOf<uint64_t>(steps, 1)) << n << " " << target;
        EXPECT_EQ(ValuesOf<uint64_t>(alone, 0), ValuesOf<uint64_t>(steps, 1)) << n << " " << target;
        for (size_t i = 0; i < 2; ++i) EXPECT_EQ(ValidOf(at_once, i), ValidOf(steps, i));
      }
    }
  }
}

TEST_P(SetsTest, TheMassOfThoseTakenIsWhatIsTakenOfTheMass) {
  for (const int n : {2, 3}) {
    const int sets = m_.Combinations(list_, n);
    const int keep = m_.Same(Op::kComponent, m_.LoadOf("A_keep", DType::kBool, list_), sets, -1, 1);
    const int kept = m_.Filter(sets, keep);
    std::vector<int> sums = Sums(sets);
    const int all = m_.Same(Op::kTake, Mass(sums), kept);
    for (int& sum : sums) sum = m_.Same(Op::kTake, sum, kept);
    const Result result = Run({Mass(sums), all});
    EXPECT_GT(result.columns[0].n(), 1000);
    EXPECT_EQ(ValuesOf<uint64_t>(result, 0), ValuesOf<uint64_t>(result, 1));
  }
}

// Of a set's parts the first and the last of those kept: by way of the lists, and element by element.
TEST_P(SetsTest, AnElementOfWhatIsTakenIsFoundWithoutTheOthers) {
  const int sets = m_.Combinations(list_, 3), pairs = m_.Cross(list_, list_);
  for (const int axis : {sets, pairs}) {
    const int mask = m_.Same(Op::kComponent, m_.LoadOf("A_keep", DType::kBool, list_), axis, -1, 1);
    const int part = m_.Same(Op::kComponent, parts_[0], axis, -1, 1);
    const int taken = m_.Same(Op::kTake, part, m_.Filter(axis, mask));
    const int same = m_.Binary(Op::kMul, taken, m_.Const(1.0));
    for (const int64_t number : {0, -1, 3}) {
      const int at = m_.Const(number);
      const Result result = Run({m_.Same(Op::kIndex, taken, at), m_.Same(Op::kIndex, same, at)});
      EXPECT_EQ(ValidOf(result, 0), ValidOf(result, 1));
      const std::vector<double> found = ValuesOf<double>(result, 0), wanted = ValuesOf<double>(result, 1);
      for (size_t i = 0; i < found.size(); ++i) {
        EXPECT_TRUE(found[i] == wanted[i] || (std::isnan(found[i]) && std::isnan(wanted[i]))) << i;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Values, SetsTest,
                         testing::Values(Values::kAny, Values::kFewDifferent, Values::kOftenNoNumbers,
                                         Values::kHugeOrTiny));

// Sets of which no value is written down may be more than those of which one is, and no more than the limit.
TEST(Sets, OfOneEventMayBeSoManyAndNoMoreThoughNoneIsWrittenDown) {
  for (const int32_t length : {5793, 5794}) {
    Table table;
    const int list = table.List("A");
    for (const char* part : kParts) table.Element(part, DType::kFloat64, list);
    const std::vector<double> ones(static_cast<size_t>(length), 1.0);
    table.chunks.push_back({1,
                            {AsBytes(std::vector<int32_t>{0, length}), AsBytes(ones), AsBytes(ones),
                             AsBytes(ones), AsBytes(ones)}});
    ProgramMaker m;
    const int axis = m.List("A"), sets = m.Combinations(axis, 2);
    std::vector<int> squares;
    for (const char* part : kParts) {
      const int sum = m.Same(Op::kComponentSum, m.LoadOf(part, DType::kFloat64, axis), sets);
      squares.push_back(m.Binary(Op::kMul, sum, sum));
    }
    const int p2 = m.Binary(Op::kAdd, m.Binary(Op::kAdd, squares[0], squares[1]), squares[2]);
    const int mass = m.Unary(Op::kSignedSqrt, m.Binary(Op::kSub, squares[3], p2));
    const int distance = m.Unary(Op::kAbs, m.Binary(Op::kSub, mass, m.Const(0.0)));
    m.outputs = {m.Reduce(Op::kArgmin, distance), m.Reduce(Op::kMin, distance)};
    const auto scan = [&] { return ScanAll(m.Decode(), MakeObject(table, Codec::kLz4Frame)); };
    if (length == 5793) {
      const Result result = scan();
      EXPECT_EQ(ValuesOf<int64_t>(result, 0), std::vector<int64_t>{0});
      EXPECT_EQ(ValuesOf<double>(result, 1), std::vector<double>{std::sqrt(8.0)});
    } else {
      EXPECT_KIND(kResourceExhausted, scan());
    }
  }
}

}  // namespace
}  // namespace skyhook::test
