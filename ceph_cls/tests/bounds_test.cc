#include "engine/bounds.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "drive.h"
#include "naive.h"
#include "random_program.h"

namespace skyhook::test {
namespace {

// The verdicts on a program's terms for one chunk, from the directory of an object.
class Judged {
 public:
  Judged(const Program& program, const Object& object) : program_(program) {
    const Bytes data = object.data;
    const auto slice = [&](ByteRange range) { return data.subspan(range.start, range.size()); };
    const uint64_t start = object.place.directory_start;
    const DirectoryHeader header = DecodeHeader(data.subspan(start), start, object.place.directory_bytes);
    const std::vector<uint32_t> events = DecodeChunkTable(slice(header.chunk_table()), header);
    const std::vector<uint64_t> keys = DecodeKeyTable(slice(header.key_table()), header);
    for (const StoredColumn& column : program.columns) {
      for (uint32_t i = 0; i < keys.size(); ++i) {
        if (keys[i] == column.name_hash) rows_.push_back(DecodeRow(slice(header.row(i)), header, i, events));
      }
    }
    for (const ColumnRow& row : rows_) pointers_.push_back(&row);
  }
  std::vector<Verdict> Chunk(uint32_t chunk) const { return JudgeTerms(program_, pointers_, chunk); }

 private:
  const Program& program_;
  std::vector<ColumnRow> rows_;
  std::vector<const ColumnRow*> pointers_;
};

TEST(Bounds, NeverAndAlwaysHoldForEveryEventOfRandomPrograms) {
  int64_t never = 0, always = 0;
  for (uint64_t seed = 0; seed < Seeds(4000); ++seed) {
    Random random(seed + (uint64_t{1} << 40));
    const Table table = RandomTable(&random, 2, 12, 3);
    const Object object = MakeObject(table, Codec::kNone);
    const Program program = MakeRandomProgram(&random, 6, 1, 2 + static_cast<int>(seed % 3)).Decode();
    const Judged judged(program, object);
    Naive naive(program, table);
    for (uint32_t chunk = 0; chunk < table.chunks.size(); ++chunk) {
      const std::vector<Verdict> verdicts = judged.Chunk(chunk);
      ASSERT_EQ(verdicts.size(), program.terms.size());
      for (uint32_t row = 0; row < table.chunks[chunk].events; ++row) {
        naive.Evaluate(chunk, row);
        for (size_t t = 0; t < verdicts.size(); ++t) {
          if (verdicts[t] == Verdict::kSometimes) continue;
          ASSERT_EQ(naive.Truth(program.terms[t]), verdicts[t] == Verdict::kAlways)
              << "seed " << seed << ", chunk " << chunk << ", row " << row << ", term " << t;
        }
      }
      for (const Verdict verdict : verdicts) {
        never += verdict == Verdict::kNever;
        always += verdict == Verdict::kAlways;
      }
    }
  }
  // The zone maps do say something.
  EXPECT_GT(never, 100);
  EXPECT_GT(always, 100);
}

template <typename T>
Table OneColumn(const std::vector<T>& values) {
  Table table;
  table.Event("x", DTypeFor<T>());
  table.chunks.push_back({static_cast<uint32_t>(values.size()), {AsBytes(values)}});
  return table;
}

// The verdict on a cut of one stored column.
template <typename T, typename F>
Verdict VerdictOn(const std::vector<T>& values, F cut) {
  ProgramMaker maker;
  maker.terms.push_back(cut(maker, maker.LoadOf("x", DTypeFor<T>())));
  const Program program = maker.Decode();
  return Judged(program, MakeObject(OneColumn(values), Codec::kNone)).Chunk(0)[0];
}

template <typename T>
Verdict Compare(const std::vector<T>& values, Op op, T with) {
  return VerdictOn(values, [&](ProgramMaker& m, int x) { return m.Binary(op, x, m.Const(with)); });
}

TEST(Bounds, AComparisonPastTheRangeIsDecided) {
  const std::vector<float> pt{10, 20, 30};
  EXPECT_EQ(Compare(pt, Op::kGt, 30.0f), Verdict::kNever);
  EXPECT_EQ(Compare(pt, Op::kGe, 30.0f), Verdict::kSometimes);
  EXPECT_EQ(Compare(pt, Op::kGe, 10.0f), Verdict::kAlways);
  EXPECT_EQ(Compare(pt, Op::kGt, 10.0f), Verdict::kSometimes);
  EXPECT_EQ(Compare(pt, Op::kLt, 10.0f), Verdict::kNever);
  EXPECT_EQ(Compare(pt, Op::kLe, 30.0f), Verdict::kAlways);
  EXPECT_EQ(Compare(pt, Op::kEq, 31.0f), Verdict::kNever);
  EXPECT_EQ(Compare(pt, Op::kNe, 31.0f), Verdict::kAlways);
  EXPECT_EQ(Compare(std::vector<int32_t>{2, 2}, Op::kGt, int32_t{2}), Verdict::kSometimes);
  EXPECT_EQ(Compare(std::vector<int32_t>{2, 2}, Op::kGt, int32_t{3}), Verdict::kNever);
}

TEST(Bounds, NanIsNeverTrueInAComparisonButUnequalToAll) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(Compare({5, nan}, Op::kGt, 1.0f), Verdict::kSometimes);
  EXPECT_EQ(Compare({nan, nan}, Op::kGt, 1.0f), Verdict::kNever);
  EXPECT_EQ(Compare({nan, nan}, Op::kNe, 1.0f), Verdict::kSometimes);
}

TEST(Bounds, TheLargestIntegersMayWrap) {
  const int64_t most = std::numeric_limits<int64_t>::max(), least = std::numeric_limits<int64_t>::min();
  EXPECT_EQ(VerdictOn(std::vector<int64_t>{least},
                      [](ProgramMaker& m, int x) {
                        return m.Binary(Op::kLt, m.Unary(Op::kAbs, x), m.Const(int64_t{0}));
                      }),
            Verdict::kSometimes);
  EXPECT_EQ(VerdictOn(std::vector<int64_t>{most / 2 + 1},
                      [](ProgramMaker& m, int x) {
                        return m.Binary(Op::kLt, m.Binary(Op::kAdd, x, x), m.Const(int64_t{0}));
                      }),
            Verdict::kSometimes);
  EXPECT_EQ(VerdictOn(std::vector<int8_t>{100, 127},
                      [](ProgramMaker& m, int x) {
                        return m.Binary(Op::kLt, m.Binary(Op::kAdd, x, m.Const(int8_t{1})), x);
                      }),
            Verdict::kSometimes);
}

TEST(Bounds, AChunkWithoutZoneMapsIsRead) {
  ProgramMaker maker;
  maker.terms.push_back(maker.Binary(Op::kGt, maker.LoadOf("x", DType::kFloat32), maker.Const(3.0f)));
  const Program program = maker.Decode();
  Object object = MakeObject(OneColumn<float>({5, 6}), Codec::kNone);
  ASSERT_EQ(Judged(program, object).Chunk(0)[0], Verdict::kAlways);
  const uint64_t flags = object.place.directory_start + 64 + 16 + 16 + 32 + 44;
  ASSERT_EQ(object.data[flags], 1);

  object.data[flags] = 0;
  Reseal(&object.data, object.place.directory_start);

  EXPECT_EQ(Judged(program, object).Chunk(0)[0], Verdict::kSometimes);
}

TEST(Bounds, LengthsOfListsPruneCounts) {
  Table table;
  table.List("A");
  table.chunks.push_back({2, {AsBytes(std::vector<int32_t>{0, 1, 2})}});
  ProgramMaker maker;
  const int axis = maker.List("A");
  maker.terms.push_back(maker.Binary(Op::kGe, maker.Count(axis), maker.Const(int64_t{2})));
  maker.terms.push_back(
      maker.Binary(Op::kGe, maker.Count(maker.Combinations(axis, 2)), maker.Const(int64_t{1})));
  maker.terms.push_back(maker.Binary(Op::kEq, maker.Count(maker.Empty()), maker.Const(int64_t{0})));
  const Program program = maker.Decode();

  const std::vector<Verdict> verdicts = Judged(program, MakeObject(table, Codec::kNone)).Chunk(0);

  EXPECT_EQ(verdicts, (std::vector<Verdict>{Verdict::kNever, Verdict::kNever, Verdict::kSometimes}));
}

}  // namespace
}  // namespace skyhook::test
