#include "engine/program.h"

#include <gtest/gtest.h>

#include "drive.h"
#include "program_maker.h"
#include "random_program.h"

namespace skyhook::test {
namespace {

// A program with one node of most kinds, for tests that spoil it.
struct Sample {
  ProgramMaker m;
  int list = m.List("A"), pt = m.LoadOf("A_pt", DType::kFloat32, list),
      met = m.LoadOf("met", DType::kFloat32);
  int mask = m.Binary(Op::kGt, pt, m.Const(20.0f)), kept = m.Filter(list, mask),
      pairs = m.Combinations(kept, 2);
  int one = m.Const(int64_t{1}), number = m.LoadOf("idx", DType::kInt32),
      flag = m.LoadOf("flag", DType::kBool);

  void ExpectRefused(const char* why) {
    std::string message;
    EXPECT_EQ(KindOf([&] { m.Decode(); }, &message), Kind::kInvalidRequest);
    EXPECT_NE(message.find(why), std::string::npos) << message;
  }
};

#define EXPECT_REFUSED(why, ...) \
  do {                           \
    Sample s;                    \
    __VA_ARGS__;                 \
    s.ExpectRefused(why);        \
  } while (false)

TEST(Program, DerivesAxesAndWhatMayBeMissing) {
  Sample s;
  const int taken = s.m.Same(Op::kTake, s.pt, s.kept), most = s.m.Reduce(Op::kMax, taken),
            first = s.m.Same(Op::kIndex, s.pt, s.one), high = s.m.Binary(Op::kGt, most, first);
  s.m.terms.push_back(high);
  s.m.outputs.push_back(taken);
  const Program program = s.m.Decode();
  const auto node = [&](int i) { return program.nodes[static_cast<size_t>(i)]; };
  EXPECT_EQ(node(s.kept).axis, s.kept);
  EXPECT_EQ(node(s.pt).axis, s.list);
  EXPECT_EQ(node(taken).axis, s.kept);
  EXPECT_EQ(node(most).axis, kEventAxis);
  EXPECT_EQ(node(s.one).axis, kConstAxis);
  EXPECT_TRUE(node(most).optional && node(first).optional);
  EXPECT_FALSE(node(high).optional);
  EXPECT_EQ(program.ColumnsOf({high}), (std::vector<int>{0, 1}));
  EXPECT_EQ(program.ColumnsOf({s.met}), (std::vector<int>{2}));
}

TEST(Program, OperandsMustStandBeforeTheirUsers) {
  EXPECT_REFUSED("stand before", s.m.Add(Op::kNeg, DType::kFloat32, 1000));
  EXPECT_REFUSED("stand before", s.m.Add(Op::kNeg, DType::kFloat32, static_cast<int>(s.m.nodes.size())));
  EXPECT_REFUSED("stand before", s.m.Add(Op::kNeg, DType::kFloat32, -7));
  EXPECT_REFUSED("stand before", s.m.Add(Op::kAdd, DType::kFloat32, s.met, INT32_MAX));
  EXPECT_REFUSED("stand before", s.m.Add(Op::kWhere, DType::kFloat32, s.flag, s.met, INT32_MIN));
}

TEST(Program, OperandsThatAnOperationDoesNotHaveAreRefused) {
  EXPECT_REFUSED("does not have", s.m.Add(Op::kConst, DType::kInt32, 1 << 30));
  EXPECT_REFUSED("does not have", s.m.Add(Op::kEmpty, DType::kNone, 0));
  EXPECT_REFUSED("does not have", s.m.Add(Op::kNeg, DType::kFloat32, s.met, 1 << 30));
  EXPECT_REFUSED("does not have", s.m.Add(Op::kAdd, DType::kFloat32, s.met, s.met, 1 << 30));
  EXPECT_REFUSED("does not have", s.m.Add(Op::kCombinations, DType::kNone, s.list, 1 << 30, -1, 2));
  EXPECT_REFUSED("does not have", s.m.Add(Op::kLoad, DType::kFloat32, 1, s.list, 1 << 30));
  EXPECT_REFUSED("does not have", s.m.Add(Op::kList, DType::kNone, 0, 1 << 30));
}

TEST(Program, DtypesMustFit) {
  EXPECT_REFUSED("differ in dtype", s.m.Binary(Op::kAdd, s.met, s.one));
  EXPECT_REFUSED("do not fit", s.m.Add(Op::kAdd, DType::kFloat64, s.met, s.met));
  EXPECT_REFUSED("do not fit", s.m.Add(Op::kLt, DType::kFloat32, s.met, s.met));
  EXPECT_REFUSED("float", s.m.Binary(Op::kDiv, s.one, s.one));
  EXPECT_REFUSED("float", s.m.Unary(Op::kSqrt, s.one));
  EXPECT_REFUSED("bool", s.m.Binary(Op::kAdd, s.flag, s.flag));
  EXPECT_REFUSED("integers", s.m.Binary(Op::kBitAnd, s.met, s.met));
  EXPECT_REFUSED("integers", s.m.Binary(Op::kLshift, s.flag, s.flag));
  EXPECT_REFUSED("integers", s.m.Unary(Op::kInvert, s.flag));
  EXPECT_REFUSED("logic", s.m.Binary(Op::kAnd, s.met, s.met));
  EXPECT_REFUSED("not takes", s.m.Unary(Op::kNot, s.met));
  EXPECT_REFUSED("do not fit", s.m.Unary(Op::kNeg, s.flag));
  EXPECT_REFUSED("int64", s.m.Add(Op::kCount, DType::kInt32, s.list));
  EXPECT_REFUSED("int64", s.m.Add(Op::kArgmin, DType::kInt32, s.pt));
  EXPECT_REFUSED("any and all", s.m.Reduce(Op::kAny, s.pt));
  EXPECT_REFUSED("do not fit", s.m.Reduce(Op::kSum, s.mask));
  EXPECT_REFUSED("count_nonzero", s.m.Reduce(Op::kCountNonzero, s.pt));
  EXPECT_REFUSED("index does not fit", s.m.Same(Op::kIndex, s.pt, s.number));
  EXPECT_REFUSED("fill does not fit", s.m.Same(Op::kFill, s.met, s.one));
  EXPECT_REFUSED("where", s.m.Where(s.met, s.met, s.met));
  EXPECT_REFUSED("indices", s.m.Same(Op::kRemap, s.met, s.kept));
  EXPECT_REFUSED("needs a dtype", s.m.Add(Op::kConst, DType::kNone));
  EXPECT_REFUSED("no dtype", s.m.Add(Op::kEmpty, DType::kFloat32));
  EXPECT_REFUSED("unknown dtype", s.m.Add(Op::kConst, static_cast<DType>(kDTypes)));
}

TEST(Program, AxesMustFit) {
  EXPECT_REFUSED("different axes", s.m.Binary(Op::kAdd, s.pt, s.met));
  EXPECT_REFUSED("is an axis", s.m.Unary(Op::kNeg, s.list));
  EXPECT_REFUSED("is no axis", s.m.Count(s.met));
  EXPECT_REFUSED("takes a list", s.m.Reduce(Op::kSum, s.met));
  EXPECT_REFUSED("mask", s.m.Filter(s.list, s.flag));
  EXPECT_REFUSED("mask", s.m.Filter(s.list, s.pt));
  EXPECT_REFUSED("take", s.m.Same(Op::kTake, s.pt, s.list));
  EXPECT_REFUSED("take", s.m.Same(Op::kTake, s.met, s.kept));
  EXPECT_REFUSED("component", s.m.Same(Op::kComponent, s.pt, s.pairs));
  EXPECT_REFUSED("component", s.m.Same(Op::kComponent, s.m.Same(Op::kTake, s.pt, s.kept), s.pairs, -1, 2));
  EXPECT_REFUSED("sum of components", s.m.Same(Op::kComponentSum, s.pt, s.m.Cross(s.list, s.list)));
  EXPECT_REFUSED("spread", s.m.Same(Op::kSpread, s.pt, s.list));
  EXPECT_REFUSED("spread", s.m.Same(Op::kSpread, s.met, -2));
  EXPECT_REFUSED("aligned", s.m.Same(Op::kAlign, s.met, s.list));
  EXPECT_REFUSED("stored list", s.m.LoadOf("A_eta", DType::kFloat32, s.kept));
  EXPECT_REFUSED("no axis", s.m.LoadOf("A_eta", DType::kFloat32, -2));
  EXPECT_REFUSED("index does not fit", s.m.Same(Op::kIndex, s.met, s.one));
}

TEST(Program, CombinationsAreOfTwoToSix) {
  for (int n : {2, kCombinationsMax}) {
    Sample s;
    s.m.Combinations(s.list, n);
    s.m.Decode();
  }
  EXPECT_REFUSED("too few or too many", s.m.Combinations(s.list, 1));
  EXPECT_REFUSED("too few or too many", s.m.Combinations(s.list, kCombinationsMax + 1));
  EXPECT_REFUSED("too few or too many", s.m.Combinations(s.list, -1));
}

TEST(Program, OnlyACrossIsReducedToItsFirstPart) {
  Sample s;
  const int other = s.m.List("B"), cross = s.m.Cross(s.list, other),
            near = s.m.Reduce(Op::kMax, s.m.Same(Op::kComponent, s.pt, cross, -1, 0), s.list);
  s.m.outputs.push_back(near);
  const Program program = s.m.Decode();
  EXPECT_EQ(program.nodes[static_cast<size_t>(near)].axis, s.list);
  EXPECT_REFUSED("first part", s.m.Reduce(Op::kSum, s.pt, s.list));
  EXPECT_REFUSED(
      "first part",
      s.m.Reduce(Op::kSum, s.m.Same(Op::kComponent, s.m.Same(Op::kTake, s.pt, s.kept), s.pairs, -1, 0),
                 s.kept));
  EXPECT_REFUSED("first part", {
    const int b = s.m.List("B");
    s.m.Reduce(Op::kSum, s.m.Same(Op::kComponent, s.pt, s.m.Cross(s.list, b), -1, 0), b);
  });
  EXPECT_REFUSED("first part", s.m.Reduce(Op::kSum, s.pt, -2));
}

TEST(Program, TablesRiseAndAreInRange) {
  const auto inside = [](Sample* s, std::vector<int64_t> ends) {
    return s->m.Inside(s->m.Cast(s->number, DType::kInt64), ends);
  };
  Sample s;
  s.m.terms.push_back(inside(&s, {-3, 0, 7}));
  s.m.terms.push_back(inside(&s, {5}));
  const Program program = s.m.Decode();
  const Node& node = program.nodes[static_cast<size_t>(s.m.terms[0])];
  for (int64_t x : {-3, -1, 7, 9}) EXPECT_TRUE(program.Inside(node, x));
  for (int64_t x : {-4, 0, 6}) EXPECT_FALSE(program.Inside(node, x));
  EXPECT_REFUSED("does not rise", inside(&s, {1, 1}));
  EXPECT_REFUSED("out of range", inside(&s, {}));
  EXPECT_REFUSED("out of range", {
    inside(&s, {1, 2});
    s.m.table.pop_back();
  });
  EXPECT_REFUSED("used twice", {
    const int one = inside(&s, {1, 2});
    s.m.nodes.push_back(s.m.nodes[static_cast<size_t>(one)]);
  });
  EXPECT_REFUSED("inside takes int64", s.m.Inside(s.number, {1}));
}

TEST(Program, ATableHasAMostLength) {
  const auto ends = [](size_t n) {
    std::vector<int64_t> rising(n);
    for (size_t i = 0; i < n; ++i) rising[i] = static_cast<int64_t>(i);
    ProgramMaker m;
    m.Inside(m.LoadOf("x", DType::kInt64), rising);
    m.Decode();
  };
  ends(kTableMax);
  EXPECT_KIND(kInvalidRequest, ends(kTableMax + 1));
}

TEST(Program, ColumnsMustFitTheirUse) {
  EXPECT_REFUSED("offsets", s.m.Add(Op::kList, DType::kNone, 1));
  EXPECT_REFUSED("no such column", s.m.Add(Op::kList, DType::kNone, 99));
  EXPECT_REFUSED("no such column", s.m.Add(Op::kLoad, DType::kFloat32, -1));
  EXPECT_REFUSED("does not fit", s.m.Add(Op::kLoad, DType::kInt32, 0));
  EXPECT_REFUSED("does not fit", s.m.Add(Op::kLoad, DType::kFloat64, 2));
  EXPECT_REFUSED("int32", s.m.Column("B#", DType::kInt64, true));
  EXPECT_REFUSED("named twice", s.m.columns.push_back(s.m.columns[1]));
  EXPECT_REFUSED("hash", ++s.m.columns[1].name_hash);
  EXPECT_REFUSED("unknown dtype", s.m.Column("odd", static_cast<DType>(77)));
}

TEST(Program, TermsAreTruthsPerEvent) {
  EXPECT_REFUSED("no truth", s.m.terms.push_back(s.met));
  EXPECT_REFUSED("no truth", s.m.terms.push_back(s.mask));
  EXPECT_REFUSED("axis cannot", s.m.outputs.push_back(s.list));
  EXPECT_REFUSED("no such node", s.m.outputs.push_back(-1));
  EXPECT_REFUSED("no such node", s.m.terms.push_back(99));
}

TEST(Program, UnknownOperationsAreRefused) {
  for (int op : {0, 6, 15, 33, 63, static_cast<int>(Op::kUnaryEnd), static_cast<int>(Op::kBinaryEnd),
                 static_cast<int>(Op::kReduceEnd), 0xFFFF}) {
    Sample s;
    s.m.Add(static_cast<Op>(op), DType::kFloat32, s.met, s.met);
    SCOPED_TRACE(op);
    EXPECT_KIND(kInvalidRequest, s.m.Decode());
  }
}

TEST(Program, LimitsHoldExactly) {
  const auto nodes = [](uint32_t n) {
    ProgramMaker m;
    for (uint32_t i = 0; i < n; ++i) m.Const(int32_t{1});
    m.Decode();
  };
  nodes(kNodesMax);
  EXPECT_KIND(kInvalidRequest, nodes(kNodesMax + 1));
  const auto columns = [](uint32_t n) {
    ProgramMaker m;
    for (uint32_t i = 0; i < n; ++i)
      m.columns.push_back(
          {std::to_string(i), ProgramMaker::HashOf(std::to_string(i)), kNoHint, DType::kBool, false});
    m.Decode();
  };
  columns(kColumnsMax);
  EXPECT_KIND(kInvalidRequest, columns(kColumnsMax + 1));
  const auto roots = [](size_t n_terms, size_t n_outputs) {
    ProgramMaker m;
    const int yes = m.Const(true);
    m.terms.assign(n_terms, yes);
    m.outputs.assign(n_outputs, yes);
    m.Decode();
  };
  roots(kNodesMax, kColumnsMax);
  EXPECT_KIND(kInvalidRequest, roots(kNodesMax + 1, 0));
  EXPECT_KIND(kInvalidRequest, roots(0, kColumnsMax + 1));
}

TEST(Program, EveryTruncationAndEveryLongerProgramIsRefused) {
  Sample s;
  s.m.outputs.push_back(s.pt);
  s.m.outputs.push_back(s.m.Inside(s.one, {1, 2}));
  std::vector<uint8_t> bytes = s.m.Encode();
  DecodeProgram(bytes);
  for (size_t size = 0; size < bytes.size(); ++size) {
    SCOPED_TRACE(size);
    EXPECT_KIND(kInvalidRequest, DecodeProgram(Bytes(bytes).first(size)));
  }
  bytes.push_back(0);
  EXPECT_KIND(kInvalidRequest, DecodeProgram(bytes));
}

TEST(Program, EveryChangedByteIsRefusedOrMakesAnotherProgram) {
  Random random(3);
  for (int round = 0; round < 20; ++round) {
    std::vector<uint8_t> bytes = MakeRandomProgram(&random).Encode();
    for (size_t at = 0; at < bytes.size(); ++at) {
      for (uint8_t value : {uint8_t{0}, uint8_t{1}, uint8_t{0x7F}, uint8_t{0x80}, uint8_t{0xFF}}) {
        const uint8_t before = bytes[at];
        bytes[at] = value;
        try {
          DecodeProgram(bytes);
        } catch (const Error& error) {
          EXPECT_EQ(error.kind(), Kind::kInvalidRequest);
        }
        bytes[at] = before;
      }
    }
  }
}

}  // namespace
}  // namespace skyhook::test
