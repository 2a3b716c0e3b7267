// Scans of random programs over random objects beside the naive evaluator.
#include "drive.h"
#include "naive.h"
#include "random_program.h"

namespace skyhook::test {
namespace {

constexpr Codec kCodecs[] = {Codec::kNone, Codec::kLz4Frame, Codec::kZstd};

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
    expected.report = result.report;
    ExpectSame(result, expected);
    EXPECT_EQ(result.report.events_out, result.events);
    if (HasFailure()) return;
  }
}

}  // namespace
}  // namespace skyhook::test
