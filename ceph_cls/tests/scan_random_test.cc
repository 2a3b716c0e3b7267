// Scans of random programs over random objects beside the naive evaluator.
#include "drive.h"
#include "naive.h"
#include "random_program.h"

namespace skyhook::test {
namespace {

constexpr Codec kCodecs[] = {Codec::kNone, Codec::kLz4Frame, Codec::kZstd};

// What a report tells of the terms is so, or it says that it is not all.
void ExpectHonest(const ScanReport& report, const std::vector<int64_t>& passed) {
  ASSERT_EQ(report.passed.size(), passed.size());
  for (size_t term = 0; term < passed.size(); ++term) {
    if (report.IsPartial(term)) {
      EXPECT_LE(report.passed[term], passed[term]);
      EXPECT_GT(report.chunks_pruned, 0);
      EXPECT_LT(term + 1, passed.size()) << "the last term is always counted";
    } else {
      EXPECT_EQ(report.passed[term], passed[term]) << "term " << term;
    }
  }
}

TEST(RandomScan, DeliversWhatPlainLoopsDeliver) {
  for (uint64_t seed = 0; seed < Seeds(1500); ++seed) {
    Random random(seed);
    const Table table = RandomTable(&random, 1 + static_cast<int>(seed % 3), 20, 5);
    const Object object = MakeObject(table, kCodecs[seed % 3]);
    const ProgramMaker maker = MakeRandomProgram(&random);
    SCOPED_TRACE(seed);
    const Program program = maker.Decode();
    const Result result = ScanAll(program, object);
    Result expected = Naive(program, table).Scan(ResultFor(program));
    ExpectHonest(result.report, expected.report.passed);
    expected.report = result.report;
    ExpectSame(result, expected);
    EXPECT_EQ(result.report.events_out, result.events);
    if (HasFailure()) return;
  }
}

TEST(RandomScan, LimitsAndLookingAheadChangeNothing) {
  for (uint64_t seed = 0; seed < Seeds(300); ++seed) {
    Random random(seed + (uint64_t{2} << 40));
    const Table table = RandomTable(&random, 1 + static_cast<int>(seed % 5), seed % 10 == 0 ? 3000 : 10, 4);
    const Object object = MakeObject(table, kCodecs[seed % 3]);
    const Program program = MakeRandomProgram(&random).Decode();
    SCOPED_TRACE(seed);
    const Result whole = ScanAll(program, object);
    const int64_t events = 1 + static_cast<int64_t>(random() % 5) * (seed % 10 == 0 ? 500 : 1);
    const int64_t bytes = static_cast<int64_t>(random() % 300) * (seed % 10 == 0 ? 100 : 1);
    ExpectSame(ScanAll(program, object, {0, events, -1, 0}), whole);
    ExpectSame(ScanAll(program, object, {0, -1, bytes, 0}), whole);
    ExpectSame(ScanAll(program, object, {0, events, bytes, random() % 2000}), whole);
    ExpectSame(ScanAll(program, object, {0, -1, -1, random() % 2000}), whole);
    const auto slack = static_cast<int64_t>(random() % 300), piece = 1 + static_cast<int64_t>(random() % 7);
    ExpectSame(ScanAll(program, object, {0, -1, bytes, 0, 1000, slack, piece}), whole);
    ExpectSame(ScanAll(program, object, {0, events, bytes, 0, 1, slack, piece}), whole);
    if (HasFailure()) return;
  }
}

TEST(RandomScan, BlocksOfManyRowsGiveWhatPlainLoopsGive) {
  for (uint64_t seed = 0; seed < Seeds(15); ++seed) {
    Random random(seed + (uint64_t{3} << 40));
    const Table table = RandomTable(&random, 2, 6000, 5);
    const Object object = MakeObject(table, kCodecs[seed % 3]);
    const Program program = MakeRandomProgram(&random).Decode();
    SCOPED_TRACE(seed);
    const Result result = ScanAll(program, object);
    Result expected = Naive(program, table).Scan(ResultFor(program));
    ExpectHonest(result.report, expected.report.passed);
    expected.report = result.report;
    ExpectSame(result, expected);
    if (HasFailure()) return;
  }
}

}  // namespace
}  // namespace skyhook::test
