#include "engine/scan.h"

#include <gtest/gtest.h>

#include <set>

#include "drive.h"
#include "program_maker.h"
#include "random_program.h"

namespace skyhook::test {
namespace {

// Ten chunks of four events: "number" counts from 0, list A has number % 3 elements of that value.
Table Counting(int n_chunks = 10, int32_t events = 4) {
  Table table;
  table.Event("number", DType::kInt32);
  const int list = table.List("A");
  table.Element("A_x", DType::kInt32, list);
  table.Event("other", DType::kFloat64);
  int32_t number = 0;
  for (int c = 0; c < n_chunks; ++c) {
    std::vector<int32_t> numbers, offsets{0}, elements;
    for (int32_t i = 0; i < events; ++i, ++number) {
      numbers.push_back(number);
      offsets.push_back(offsets.back() + number % 3);
      elements.insert(elements.end(), static_cast<size_t>(number % 3), number);
    }
    table.chunks.push_back({static_cast<uint32_t>(events),
                            {AsBytes(numbers), AsBytes(offsets), AsBytes(elements),
                             AsBytes(std::vector<double>(static_cast<size_t>(events), c))}});
  }
  return table;
}

std::string Numbered(const std::string& name, uint64_t number) {
  return std::string(name).append(std::to_string(number));
}

// number >= low and number < high, delivering number, A_x and the sums of A_x.
Program Between(int32_t low, int32_t high) {
  ProgramMaker m;
  const int number = m.LoadOf("number", DType::kInt32), x = m.LoadOf("A_x", DType::kInt32, m.List("A"));
  m.terms = {m.Binary(Op::kGe, number, m.Const(low)), m.Binary(Op::kLt, number, m.Const(high))};
  m.outputs = {number, x, m.Reduce(Op::kSum, x)};
  return m.Decode();
}

TEST(Scan, DeliversTheEventsOfTheCutWithTheirNumbers) {
  Object object = MakeObject(Counting(), Codec::kLz4Frame);
  object.place.first_event = 1000;
  const Result result = ScanAll(Between(6, 9), object);
  EXPECT_EQ(ValuesOf<int32_t>(result, 0), (std::vector<int32_t>{6, 7, 8}));
  EXPECT_EQ(ValuesOf<int32_t>(result, 1), (std::vector<int32_t>{7, 8, 8}));
  EXPECT_EQ(OffsetsOf(result, 0), (std::vector<int64_t>{0, 0, 1, 3}));
  EXPECT_EQ(ValuesOf<int32_t>(result, 2), (std::vector<int32_t>{0, 7, 16}));
  EXPECT_EQ(RowsOf(result), (std::vector<int64_t>{1006, 1007, 1008}));
}

TEST(Scan, ReportsWhatItRead) {
  const Object object = MakeObject(Counting(), Codec::kNone);
  const ScanReport report = ScanAll(Between(6, 9), object).report;
  EXPECT_EQ(report.events_in, 40);
  EXPECT_EQ(report.events_out, 3);
  EXPECT_EQ(report.chunks, 10);
  EXPECT_EQ(report.chunks_pruned, 8);
  EXPECT_EQ(report.passed, (std::vector<int64_t>{34, 3}));
  EXPECT_TRUE(report.partial.empty());
  // Three columns of two chunks: 4 numbers, 5 offsets and 4 or 5 elements.
  EXPECT_EQ(report.bytes_read, 2 * 4 * 4 + 2 * 5 * 4 + 4 * (4 + 5));
  EXPECT_GT(report.bytes_total, report.bytes_read);
}

// number >= 2, then other < 1, which zone maps decide: in `other` a chunk has its own number.
Program EarlyOfTheFirstChunk() {
  ProgramMaker m;
  const int number = m.LoadOf("number", DType::kInt32), other = m.LoadOf("other", DType::kFloat64);
  const int even = m.Binary(Op::kEq, m.Binary(Op::kMod, number, m.Const(int32_t{2})), m.Const(int32_t{0}));
  m.terms = {m.Binary(Op::kGe, number, m.Const(int32_t{2})), even, m.Binary(Op::kLt, other, m.Const(1.0))};
  m.outputs = {number};
  return m.Decode();
}

TEST(Scan, SaysWhichTermsItDidNotCountEverywhere) {
  const Object object = MakeObject(Counting(), Codec::kNone);
  const ScanReport report = ScanAll(EarlyOfTheFirstChunk(), object).report;
  EXPECT_EQ(report.chunks_pruned, 9);
  EXPECT_EQ(report.passed, (std::vector<int64_t>{38, 1, 1}));
  EXPECT_EQ(report.partial, (std::vector<bool>{false, true})) << "zone maps tell the first and the last";
  EXPECT_EQ(report.bytes_read, 4 * 4) << "one column of the one chunk that is not ruled out";
}

TEST(Scan, CountsWhatIsSelectedOfPrunedChunks) {
  const Object object = MakeObject(Counting(), Codec::kNone);
  for (const bool whole : {false, true}) {
    const std::vector<int64_t> events =
        whole ? std::vector<int64_t>{2, 3} : std::vector<int64_t>{2, 3, 5, 6, 7};
    const std::vector<uint8_t> encoded = Selection::Encode(events.data(), events.size());
    const Selection selection(encoded);
    ScanLimits limits;
    limits.selection = &selection;
    const ScanReport report = ScanAll(EarlyOfTheFirstChunk(), object, limits).report;
    EXPECT_EQ(report.passed, (std::vector<int64_t>{static_cast<int64_t>(events.size()), 1, 1}));
    EXPECT_EQ(report.partial.empty(), whole) << "no event is selected of the chunk that is ruled out";
  }
}

TEST(Scan, ReadsNothingOfPrunedChunks) {
  const Table table = Counting();
  Object object = MakeObject(table, Codec::kNone);
  // The bytes of all chunks but the second are destroyed; nobody looks at them.
  const uint64_t first = 64, second = first + 4 * 4 + (5 * 4 + 4) + 4 * 4 + 4 * 8;
  for (uint64_t at = first; at < second; ++at) object.data[at] ^= 0xFF;
  EXPECT_EQ(ScanAll(Between(4, 8), object).events, 4);
  EXPECT_KIND(kCorruptObject, ScanAll(Between(3, 8), object));
}

TEST(Scan, ConditionsThatAlwaysHoldReadNothing) {
  const Object object = MakeObject(Counting(), Codec::kNone);
  ProgramMaker m;
  m.terms = {m.Binary(Op::kGe, m.LoadOf("number", DType::kInt32), m.Const(int32_t{-5}))};
  const Result result = ScanAll(m.Decode(), object);
  EXPECT_EQ(result.events, 40);
  EXPECT_EQ(result.report.bytes_read, 0);
}

TEST(Scan, EveryLimitGivesTheSameResultInMoreScans) {
  const Program program = Between(2, 33);
  for (const Codec codec : {Codec::kNone, Codec::kLz4Frame, Codec::kZstd}) {
    const Object object = MakeObject(Counting(), codec);
    const Result whole = ScanAll(program, object);
    for (int64_t limit : {1, 2, 3, 4, 5, 7, 31, 32, 1000}) {
      SCOPED_TRACE(limit);
      ExpectSame(ScanAll(program, object, {0, limit, -1, 0}), whole);
      ExpectSame(ScanAll(program, object, {0, -1, limit, 0}), whole);
      ExpectSame(ScanAll(program, object, {0, limit, 2 * limit, 64}), whole);
    }
    ExpectSame(ScanAll(program, object, {0, -1, 0, 0}), whole);
  }
}

TEST(Scan, EventLimitsAreExact) {
  const Object object = MakeObject(Counting(), Codec::kNone);
  const Program program = Between(0, 40);
  for (int64_t limit = 1; limit <= 41; ++limit) {
    Result result = ResultFor(program);
    const int64_t cursor = ScanOnce(program, object, {0, limit, -1, 0}, &result);
    EXPECT_EQ(result.events, std::min<int64_t>(limit, 40));
    EXPECT_EQ(cursor < 0, limit >= 40);
    EXPECT_EQ(result.report.events_in, std::min<int64_t>(limit, 40));
  }
}

TEST(Scan, ALimitOfNoEventsDeliversAndCountsNothing) {
  const Object object = MakeObject(Counting(), Codec::kNone);
  const Program program = Between(0, 40);
  Result result = ResultFor(program);
  const int64_t cursor = ScanOnce(program, object, {0, 0, -1, 0}, &result);
  EXPECT_EQ(cursor, 0);
  EXPECT_EQ(result.events, 0);
  EXPECT_EQ(result.report.events_in, 0);
  EXPECT_EQ(result.report.chunks, 0);
}

TEST(Scan, LimitsHoldInsideLongChunksToo) {
  const Object object = MakeObject(Counting(2, 5000), Codec::kLz4Frame);
  const Program program = Between(10, 9000);
  const Result whole = ScanAll(program, object);
  EXPECT_EQ(whole.events, 8990);
  for (int64_t limit : {1023, 1024, 1025, 2048, 3000}) {
    SCOPED_TRACE(limit);
    ExpectSame(ScanAll(program, object, {0, limit, -1, 0}), whole);
    ExpectSame(ScanAll(program, object, {0, -1, limit, 0}), whole);
  }
  Result result = ResultFor(program);
  EXPECT_GE(ScanOnce(program, object, {0, -1, 10000, 0}, &result), 0);
  EXPECT_GE(result.nbytes(), 10000);
  EXPECT_LT(result.nbytes(), 10000 + 1024 * (4 + 8 + 8 + 8 + 4));
}

TEST(Scan, LooksAheadOverChunksThatAreLeft) {
  const Object object = MakeObject(Counting(), Codec::kNone);
  const Program program = Between(0, 40);
  const auto rounds = [&](uint64_t lookahead) {
    Result result = ResultFor(program);
    Scan scan(program, object.place, {0, -1, -1, lookahead}, &result);
    int needs = 0;
    while (scan.Advance() == Scan::Step::kNeed) {
      ++needs;
      for (size_t i = 0; i < scan.needs().size(); ++i) {
        std::memcpy(scan.Place(i), object.data.data() + scan.needs()[i].start, scan.needs()[i].size());
      }
    }
    EXPECT_EQ(result.events, 40);
    return needs;
  };
  EXPECT_GT(rounds(0), 10);
  EXPECT_LE(rounds(1 << 20), 5);
}

TEST(Scan, NeverAsksForARangeTwice) {
  const Object object = MakeObject(Counting(), Codec::kNone);
  const Program program = Between(3, 29);
  for (uint64_t lookahead : {0, 1, 100, 10000}) {
    Result result = ResultFor(program);
    Scan scan(program, object.place, {0, -1, -1, lookahead}, &result);
    std::set<uint64_t> asked;
    while (scan.Advance() == Scan::Step::kNeed) {
      for (size_t i = 0; i < scan.needs().size(); ++i) {
        EXPECT_TRUE(asked.insert(scan.needs()[i].start).second);
        EXPECT_GT(scan.needs()[i].size(), 0u);
        std::memcpy(scan.Place(i), object.data.data() + scan.needs()[i].start, scan.needs()[i].size());
      }
    }
  }
}

TEST(Scan, FindsColumnsByHintOrByName) {
  const Object object = MakeObject(Counting(), Codec::kNone);
  ProgramMaker m;
  const int number = m.LoadOf("number", DType::kInt32);
  m.outputs = {number};
  const auto run = [&](uint32_t hint) {
    m.columns[0].hint = hint;
    return ScanAll(m.Decode(), object).events;
  };
  EXPECT_EQ(run(kNoHint), 40);
  EXPECT_EQ(run(0), 40);
  EXPECT_EQ(run(4), 40);  // behind the last: looked up by name
  EXPECT_KIND(kCorruptObject, run(1));
}

TEST(Scan, ColumnsMustBeWhatTheProgramTakesThemFor) {
  const Object object = MakeObject(Counting(), Codec::kNone);
  const auto load = [&](const char* name, DType dtype, bool jagged) {
    ProgramMaker m;
    m.outputs = {m.LoadOf(name, dtype, jagged ? m.List("A") : kEventAxis)};
    ScanAll(m.Decode(), object);
  };
  load("number", DType::kInt32, false);
  load("A_x", DType::kInt32, true);
  EXPECT_KIND(kInvalidRequest, load("nothing", DType::kInt32, false));
  EXPECT_KIND(kCorruptObject, load("number", DType::kInt64, false));
  EXPECT_KIND(kCorruptObject, load("number", DType::kInt32, true));
  EXPECT_KIND(kCorruptObject, load("A_x", DType::kInt32, false));
  EXPECT_KIND(kCorruptObject, load("A#", DType::kInt32, false));
}

TEST(Scan, OffsetsThatContradictTheirElementsAreCorrupt) {
  const auto scan = [](std::vector<int32_t> offsets, bool computed) {
    Table table;
    const int list = table.List("A");
    table.Element("A_x", DType::kInt32, list);
    table.chunks.push_back({2, {AsBytes(offsets), AsBytes(std::vector<int32_t>{1, 2, 3})}});
    ProgramMaker m;
    const int x = m.LoadOf("A_x", DType::kInt32, m.List("A"));
    m.outputs = {computed ? m.Unary(Op::kNeg, x) : x};
    ScanAll(m.Decode(), MakeObject(table, Codec::kNone));
  };
  for (bool computed : {false, true}) {
    scan({0, 1, 3}, computed);
    EXPECT_KIND(kCorruptObject, scan({0, 1, 2}, computed));
    EXPECT_KIND(kCorruptObject, scan({0, 1, 4}, computed));
    EXPECT_KIND(kCorruptObject, scan({0, 4, 3}, computed));
    EXPECT_KIND(kCorruptObject, scan({-1, 1, 3}, computed));
    EXPECT_KIND(kCorruptObject, scan({1, 1, 3}, computed));
    EXPECT_KIND(kCorruptObject, scan({0, -2147483647, 3}, computed));
  }
}

TEST(Scan, CursorsOutsideTheObjectAreRefused) {
  const Object object = MakeObject(Counting(), Codec::kNone);
  const Program program = Between(0, 40);
  Result result = ResultFor(program);
  const auto from = [&](int64_t cursor) { return ScanOnce(program, object, {cursor, -1, -1, 0}, &result); };
  EXPECT_EQ(from(int64_t{10} << 32), -1);
  EXPECT_EQ(from(int64_t{9} << 32 | 4), -1);
  EXPECT_KIND(kInvalidRequest, from(int64_t{10} << 32 | 1));
  EXPECT_KIND(kInvalidRequest, from(int64_t{11} << 32));
  EXPECT_KIND(kInvalidRequest, from(int64_t{9} << 32 | 5));
  EXPECT_KIND(kInvalidRequest, from(-1));
  EXPECT_KIND(kInvalidRequest, from(INT64_MIN));
  EXPECT_KIND(kInvalidRequest, from(INT64_MAX));
}

TEST(Scan, TheResultMustFitTheProgram) {
  const Object object = MakeObject(Counting(), Codec::kNone);
  const Program program = Between(0, 40);
  const auto with = [&](std::vector<DType> dtypes, const std::vector<int>& groups) {
    Result result(std::move(dtypes), groups, true);
    ScanOnce(program, object, {}, &result);
  };
  const DType i32 = DType::kInt32;
  with({i32, i32, i32}, {-1, 0, -1});
  EXPECT_KIND(kInvalidRequest, with({i32, i32}, {-1, 0}));
  EXPECT_KIND(kInvalidRequest, with({i32, DType::kFloat32, i32}, {-1, 0, -1}));
  EXPECT_KIND(kInvalidRequest, with({i32, i32, i32}, {-1, -1, -1}));
  EXPECT_KIND(kInvalidRequest, with({i32, i32, i32}, {-1, 0, 0}));
  EXPECT_KIND(kInvalidRequest, with({i32, i32, i32}, {-1, 1, -1}));
}

TEST(Scan, ColumnsWhoseBytesOverlapAreCorrupt) {
  // Each claims all the bytes that lie before the directory: together more than there are.
  Table table;
  ProgramMaker m;
  for (uint64_t i = 0; i < 3; ++i) {
    table.Event(Numbered("x", i), DType::kInt64);
    m.outputs.push_back(m.LoadOf(Numbered("x", i), DType::kInt64));
  }
  const std::vector<uint8_t> values = AsBytes(std::vector<int64_t>(100, 1));
  table.chunks.push_back({100, {values, values, values}});
  Object object = MakeObject(table, Codec::kNone);
  EXPECT_EQ(ScanAll(m.Decode(), object).events, 100);

  const uint64_t row = object.place.directory_start + 64 + 16 + 8 * 3 + 8;
  for (uint64_t c = 0; c < 3; ++c) {
    const uint64_t zero = 0;
    const auto all = static_cast<uint32_t>(object.place.directory_start);
    std::memcpy(object.data.data() + row + c * (32 + 48 + 8) + 32, &zero, 8);
    std::memcpy(object.data.data() + row + c * (32 + 48 + 8) + 40, &all, 4);
  }
  Reseal(&object.data, object.place.directory_start);

  EXPECT_KIND(kCorruptObject, ScanAll(m.Decode(), object));
}

TEST(Scan, AChunkThatWouldTakeTooMuchMemoryIsRefused) {
  // Every column claims kChunkColumnBytesMax, which its stored bytes could just decode to.
  const auto with = [](uint64_t n_columns) {
    constexpr uint32_t kStored = kChunkColumnBytesMax >> 15, kClaimed = kChunkColumnBytesMax,
                       kValues = kClaimed / 4;
    Table table;
    ProgramMaker m;
    const int list = table.List("A"), axis = m.List("A");
    table.chunks.push_back({1, {AsBytes(std::vector<int32_t>{0, kStored / 4})}});
    for (uint64_t i = 0; i < n_columns; ++i) {
      table.Element(Numbered("A_", i), DType::kInt32, list);
      table.chunks[0].values.emplace_back(kStored, uint8_t{0});
      m.outputs.push_back(m.LoadOf(Numbered("A_", i), DType::kInt32, axis));
    }
    Object object = MakeObject(table, Codec::kZstd, Storing::kRaw);
    const uint64_t rows = object.place.directory_start + 64 + 16 + 8 * (n_columns + 1) + 8;
    for (uint64_t i = 1; i <= n_columns; ++i) {
      uint8_t* entry = object.data.data() + rows + i * (32 + 48 + 8) + 32;
      std::memcpy(entry + 12, &kClaimed, 4);
      std::memcpy(entry + 40, &kValues, 4);
    }
    Reseal(&object.data, object.place.directory_start);
    ScanAll(m.Decode(), object);
  };
  constexpr uint64_t kFit = kChunkBytesMax / kChunkColumnBytesMax - 1;  // the offsets take some, too
  EXPECT_KIND(kCorruptObject, with(kFit));
  EXPECT_KIND(kResourceExhausted, with(kFit + 1));
}

TEST(Scan, OffsetsMayClaimSoManyElementsAndNoMore) {
  const auto count = [](int32_t elements) {
    Table table;
    table.List("A");
    table.chunks.push_back({1, {AsBytes(std::vector<int32_t>{0, elements})}});
    ProgramMaker m;
    m.outputs = {m.Count(m.List("A"))};
    return ValuesOf<int64_t>(ScanAll(m.Decode(), MakeObject(table, Codec::kNone)), 0)[0];
  };
  EXPECT_EQ(count(kChunkElementsMax), kChunkElementsMax);
  EXPECT_KIND(kCorruptObject, count(kChunkElementsMax + 1));
}

TEST(Scan, AnObjectWithoutEventsGivesAnEmptyResult) {
  Table table = Counting();
  table.chunks.clear();
  const Result result = ScanAll(Between(0, 40), MakeObject(table, Codec::kLz4Frame));
  EXPECT_EQ(result.events, 0);
  EXPECT_EQ(OffsetsOf(result, 0), (std::vector<int64_t>{0}));
}

TEST(Scan, ManyEmptyChunksAheadTakeNoMemory) {
  // Looking ahead must not open every chunk of an object whose columns take no bytes.
  Table table;
  for (uint64_t i = 0; i < 200; ++i)
    table.Element(Numbered("A_", i), DType::kInt8, i == 0 ? table.List("A") : 0);
  for (int c = 0; c < 3000; ++c) {
    ChunkData chunk{1, {AsBytes(std::vector<int32_t>{0, 0})}};
    chunk.values.resize(table.columns.size());
    table.chunks.push_back(chunk);
  }
  ProgramMaker m;
  const int list = m.List("A");
  for (uint64_t i = 0; i < 200; ++i) m.outputs.push_back(m.LoadOf(Numbered("A_", i), DType::kInt8, list));
  EXPECT_EQ(ScanAll(m.Decode(), MakeObject(table, Codec::kLz4Frame), {0, -1, -1, 1 << 30}).events, 3000);
}

// -- pauses
// Where each scan of an object paused.
std::vector<int64_t> Cursors(const Program& program, const Object& object, ScanLimits limits) {
  std::vector<int64_t> cursors;
  Result result = ResultFor(program);
  while ((limits.cursor = ScanOnce(program, object, limits, &result)) >= 0) cursors.push_back(limits.cursor);
  Result whole = ScanAll(program, object);
  whole.report.bytes_read = result.report.bytes_read;
  ExpectSame(result, whole);
  return cursors;
}

TEST(Scan, PausesBetweenChunksIfThatPassesTheBudgetByNoMoreThanTheSlack) {
  const Object object = MakeObject(Counting(3, 3000), Codec::kLz4Frame);
  const Program program = Between(0, 9000);
  const auto inside = [](int64_t cursor) { return (cursor & 0xFFFFFFFF) != 0; };
  ScanLimits limits{0, -1, 1000, 0};
  const std::vector<int64_t> strict = Cursors(program, object, limits);
  EXPECT_GT(std::count_if(strict.begin(), strict.end(), inside), 3);

  limits.bytes_slack = 1 << 30;
  EXPECT_EQ(Cursors(program, object, limits), (std::vector<int64_t>{int64_t{1} << 32, int64_t{2} << 32}));

  limits.bytes_slack = ScanAll(program, object).nbytes() / 6;  // half a chunk
  const std::vector<int64_t> halves = Cursors(program, object, limits);
  EXPECT_GE(std::count_if(halves.begin(), halves.end(), inside), 3);
  EXPECT_LT(halves.size(), strict.size());
}

TEST(Scan, ChunksInPiecesGiveTheSame) {
  const Object object = MakeObject(Counting(3, 700), Codec::kLz4Frame);
  for (const int64_t rows : {1, 64, 699, 700, 701}) {
    ScanLimits limits;
    limits.milliseconds_max = 100'000;
    limits.first_piece_rows = rows;
    for (const Program& program : {Between(0, 2100), Between(300, 305), Between(699, 1401), Between(5, 5)})
      EXPECT_TRUE(Cursors(program, object, limits).empty());
    limits.events_max = 50;
    EXPECT_EQ(Cursors(Between(650, 750), object, limits).size(), 2u);
  }
}

TEST(Scan, PausesInsideAChunkOnceItsTimeIsUp) {
  // One chunk of so many events that no machine is through in a millisecond.
  Table table = Counting(1, 0);
  const uint32_t events = 2'000'000;
  std::vector<int32_t> numbers(events), offsets(events + 1, 0);
  for (uint32_t i = 0; i < events; ++i) numbers[i] = static_cast<int32_t>(i);
  table.chunks = {{events, {AsBytes(numbers), AsBytes(offsets), {}}}};
  table.chunks[0].values.resize(table.columns.size());
  const Object object = MakeObject(table, Codec::kNone);
  const Program program = Between(0, 3'000'000);
  ScanLimits limits;
  limits.milliseconds_max = 1;
  Result result = ResultFor(program);
  limits.cursor = ScanOnce(program, object, limits, &result);
  EXPECT_GE(limits.cursor, kFirstPieceRows);
  EXPECT_LT(limits.cursor, events);
  EXPECT_EQ(result.events, limits.cursor);
  limits.milliseconds_max = 0;
  EXPECT_EQ(ScanOnce(program, object, limits, &result), -1);
  EXPECT_EQ(result.events, events);
  EXPECT_EQ(result.report.chunks, 1);
}

}  // namespace
}  // namespace skyhook::test
