#include "engine/wire.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "drive.h"
#include "program_maker.h"
#include "random_program.h"

namespace skyhook::test {
namespace {

template <typename T>
void Put(std::vector<uint8_t>* to, T value) {
  const auto* from = reinterpret_cast<const uint8_t*>(&value);
  to->insert(to->end(), from, from + sizeof(T));
}

// The request for a scan whose answer fits `result`.
std::vector<uint8_t> RequestFor(const std::vector<uint8_t>& program, const Result& result,
                                const ObjectPlace& place, const ScanLimits& limits,
                                const std::vector<uint8_t>* selection = nullptr) {
  std::vector<uint8_t> request;
  for (char c : {'S', 'K', 'Y', 'S', 'C', 'A', 'N', '1'}) Put(&request, c);
  Put(&request, kWireVersion);
  Put(&request, uint32_t{result.keep_rows} | (selection == nullptr ? 0u : 6u));
  Put(&request, place.directory_start);
  Put(&request, place.directory_bytes);
  Put(&request, place.first_event);
  Put(&request, limits.cursor);
  Put(&request, limits.events_max);
  Put(&request, limits.bytes_max);
  Put(&request, limits.milliseconds_max);
  Put(&request, static_cast<uint32_t>(result.columns.size()));
  Put(&request, static_cast<uint32_t>(program.size()));
  Put(&request, uint32_t{0});
  for (const ResultColumn& column : result.columns) {
    Put(&request, static_cast<uint8_t>(column.dtype));
    Put(&request, uint8_t{0});
    Put(&request, static_cast<int16_t>(column.group));
  }
  request.insert(request.end(), program.begin(), program.end());
  if (selection != nullptr) request.insert(request.end(), selection->begin(), selection->end());
  return request;
}

ReadRange ReaderOf(const Object& object) {
  return [&object](ByteRange range) {
    if (range.start >= range.stop || range.stop > object.data.size()) Corrupt("past the end");
    return Bytes(object.data).subspan(range.start, range.size());
  };
}

class WireTest : public testing::Test {
 protected:
  WireTest()
      : random_(5), table_(RandomTable(&random_, 3, 12, 3)), object_(MakeObject(table_, Codec::kLz4Frame)) {
    ProgramMaker m;
    const int list = m.List("A"), x = m.LoadOf("A_float32", DType::kFloat32, list);
    m.terms = {m.Binary(Op::kGe, m.Count(list), m.Const(int64_t{0}))};
    m.outputs = {x, m.Reduce(Op::kMax, x), m.LoadOf("e_bool", DType::kBool)};
    bytes_ = m.Encode();
    program_ = DecodeProgram(bytes_);
  }
  std::vector<uint8_t> Request(const ScanLimits& limits = {}) const {
    return RequestFor(bytes_, ResultFor(program_), object_.place, limits);
  }
  // A request for some events, in runs or with many ends.
  std::vector<uint8_t> Selecting(const std::vector<int64_t>& events, const ScanLimits& limits = {}) const {
    const std::vector<uint8_t> selection = Selection::Encode(events.data(), events.size());
    return RequestFor(bytes_, ResultFor(program_), object_.place, limits, &selection);
  }
  // Every change of one byte, and every request cut short, is answered.
  void ExpectAnswers(const std::vector<uint8_t>& request) const;
  // So is every such change of an answer, or what is taken from it fits together.
  void ExpectRefusedOrFits(const std::vector<uint8_t>& answer) const;
  std::vector<uint8_t> Answer(const std::vector<uint8_t>& request) const {
    const Buffer frame = AnswerScan(request, ReaderOf(object_));
    return {frame.data(), frame.data() + frame.size()};
  }

  Random random_;
  Table table_;
  Object object_;
  std::vector<uint8_t> bytes_;
  Program program_;
};

TEST_F(WireTest, AnAnswerCarriesWhatTheScanGives) {
  Result result = ResultFor(program_);
  EXPECT_EQ(AppendReply(Answer(Request()), &result), -1);
  ExpectSame(result, ScanAll(program_, object_));
}

TEST_F(WireTest, AnswersWithLimitsAreJoinedToTheWhole) {
  Result result = ResultFor(program_);
  ScanLimits limits{0, 2, -1, 0};
  int answers = 0;
  while ((limits.cursor = AppendReply(Answer(Request(limits)), &result)) >= 0) ++answers;
  EXPECT_GT(answers, 3);
  ExpectSame(result, ScanAll(program_, object_));
}

TEST_F(WireTest, AnAnswerTellsWhichTermsAreNotCountedWhole) {
  Result scanned = ResultFor(program_);
  scanned.report.passed = {5, 7, 3, 2};
  scanned.report.chunks_pruned = 1;
  scanned.report.SetPartial(1);
  const Buffer frame = EncodeReply(scanned, -1);
  Result result = ResultFor(program_);
  AppendReply(frame.bytes(), &result);
  EXPECT_EQ(result.report.partial, (std::vector<bool>{false, true}));
}

TEST_F(WireTest, OfAnOlderAnswerOnlyTheLastTermIsKnownToBeCountedWhole) {
  for (const int64_t pruned : {0, 1}) {
    Result scanned = ResultFor(program_);
    scanned.report.passed = {5, 4, 3};
    scanned.report.chunks_pruned = pruned;
    const Buffer frame = EncodeReply(scanned, -1);
    std::vector<uint8_t> older{frame.data(), frame.data() + frame.size() - 3};
    older[120] = 0;
    Result result = ResultFor(program_);
    EXPECT_EQ(AppendReply(older, &result), -1);
    EXPECT_EQ(result.report.partial, std::vector<bool>(pruned > 0 ? 2 : 0, true));
  }
}

TEST_F(WireTest, AnErrorCarriesItsKind) {
  for (const Kind kind :
       {Kind::kInvalidRequest, Kind::kCorruptObject, Kind::kResourceExhausted, Kind::kStore}) {
    Result result = ResultFor(program_);
    std::string message;
    EXPECT_EQ(KindOf([&] { AppendReply(EncodeError(kind, "thus").bytes(), &result); }, &message), kind);
    EXPECT_EQ(message, "thus");
  }
}

void WireTest::ExpectAnswers(const std::vector<uint8_t>& request) const {
  Result result = ResultFor(program_);
  const auto expect_answer = [&](const std::vector<uint8_t>& changed) {
    const std::vector<uint8_t> answer = Answer(changed);
    ASSERT_FALSE(answer.empty());
    try {
      AppendReply(answer, &result);
    } catch (const Error&) {
    }
  };
  for (size_t at = 0; at < request.size(); ++at) {
    for (const uint8_t value : {0x00, 0x01, 0x7F, 0xFF}) {
      std::vector<uint8_t> changed = request;
      changed[at] = value;
      expect_answer(changed);
    }
    expect_answer({request.begin(), request.begin() + static_cast<ptrdiff_t>(at)});
  }
}

TEST_F(WireTest, EveryChangedOrCutRequestIsAnswered) {
  ExpectAnswers(Request());
  ExpectAnswers(Selecting({0, 1, 5, 6, 7, 20}));
  ExpectAnswers(Selecting({1, 3, 5, 7, 8, 10, 12, 15, 16, 17, 19, 22, 24}));
}

TEST_F(WireTest, AnAnswerToASelectionIsThatOfItsEvents) {
  const Result whole = ScanAll(program_, object_);
  Random random(8);
  for (int round = 0; round < 50; ++round) {
    std::vector<int64_t> events, expected;
    const uint64_t one_in = 1 + random() % 5;
    for (int64_t event = 0; event < table_.events(); ++event) {
      if (random() % one_in == 0) events.push_back(event);
    }
    for (const int64_t row : RowsOf(whole)) {
      if (std::binary_search(events.begin(), events.end(), row - object_.place.first_event))
        expected.push_back(row);
    }
    Result result = ResultFor(program_);
    ScanLimits limits{0, round % 2 == 0 ? -1 : 3, -1, 0};
    while ((limits.cursor = AppendReply(Answer(Selecting(events, limits)), &result)) >= 0) {
    }
    EXPECT_EQ(RowsOf(result), expected);
    EXPECT_EQ(result.columns[2].n(), static_cast<int64_t>(expected.size()));
  }
}

TEST_F(WireTest, ARequestWithAMalformedSelectionIsRefused) {
  const std::vector<uint8_t> good = Selecting({1, 2, 5});
  const auto expect_refusal = [&](const std::vector<uint8_t>& request) {
    Result result = ResultFor(program_);
    EXPECT_KIND(kInvalidRequest, AppendReply(Answer(request), &result));
  };
  std::vector<uint8_t> longer = good, unasked = good;
  longer.push_back(0);
  expect_refusal(longer);
  unasked[12] = 3;  // what follows is no selection then
  expect_refusal(unasked);
  expect_refusal({good.begin(), good.end() - 1});
  expect_refusal(RequestFor(bytes_, ResultFor(program_), object_.place, {}, &bytes_));
}

TEST_F(WireTest, PackedEventNumbersAreThoseOfTheDataset) {
  object_.place.first_event = int64_t{1} << 40;
  Result result = ResultFor(program_);
  EXPECT_EQ(AppendReply(Answer(Selecting({0, 2, 3})), &result), -1);
  for (const int64_t row : RowsOf(result)) EXPECT_GE(row, int64_t{1} << 40);
}

TEST_F(WireTest, EveryChangedOrCutAnswerIsRefusedOrFits) {
  for (const std::vector<uint8_t>& request : {Request({0, 3, -1, 0}), Selecting({0, 1, 4, 9})})
    ExpectRefusedOrFits(Answer(request));
}

void WireTest::ExpectRefusedOrFits(const std::vector<uint8_t>& answer) const {
  for (size_t at = 0; at < answer.size(); ++at) {
    for (const uint8_t value : {0x00, 0x01, 0x7F, 0xFF}) {
      std::vector<uint8_t> changed = answer;
      changed[at] = value;
      Result result = ResultFor(program_);
      try {
        AppendReply(changed, &result);
      } catch (const Error&) {
        EXPECT_EQ(result.events, 0);
        continue;
      }
      const int64_t elements = OffsetsOf(result, 0).back();
      EXPECT_EQ(result.columns[0].n(), elements);
      EXPECT_EQ(result.columns[1].n(), result.events);
      EXPECT_EQ(result.columns[2].n(), result.events);
    }
    Result result = ResultFor(program_);
    EXPECT_KIND(kCorruptObject, AppendReply(Bytes(answer).first(at), &result));
  }
}

TEST_F(WireTest, NothingOfAFrameIsLeftAsMemoryWas) {
  EXPECT_EQ(Answer(Request({0, 3, -1, 0})), Answer(Request({0, 3, -1, 0})));
}

// Asks for a check of an object until it is done.
class Check {
 public:
  explicit Check(const Object& object, uint64_t object_bytes)
      : object_(object), place_(object.place), object_bytes_(object_bytes) {}
  explicit Check(const Object& object) : Check(object, object.data.size()) {}
  Check& WithoutDirectory() {
    place_ = {};
    return *this;
  }
  Check& At(ObjectPlace place) {
    place_ = place;
    return *this;
  }

  void Run() {
    Sha256::State state{};
    int64_t cursor = 0;
    while (cursor >= 0) {
      const Result nothing({}, {}, false);
      std::vector<uint8_t> program;
      Put(&program, object_bytes_);
      Put(&program, state);
      ScanLimits limits;
      limits.cursor = cursor;
      const Buffer frame = AnswerVerify(RequestFor(program, nothing, place_, limits), ReaderOf(object_));
      Result result({}, {}, false);
      cursor = AppendReply(frame.bytes(), &result);
      state = Load<Sha256::State>(frame.data() + 128);
      names = Load<uint64_t>(frame.data() + 160);
      report = result.report;
      bytes += report.bytes_read;
      ++answers;
    }
    digest = state;
  }

  Sha256::State digest{};
  uint64_t names = 0;
  ScanReport report;
  int64_t bytes = 0;
  int answers = 0;

 private:
  const Object& object_;
  ObjectPlace place_;
  uint64_t object_bytes_;
};

Sha256::State DigestOf(Bytes data) {
  Sha256 sha;
  sha.Finish(data, data.size());
  return sha.state();
}

TEST_F(WireTest, VerifyingTellsTheDigestAndWhatTheDirectorySays) {
  Check check(object_);
  check.Run();
  EXPECT_EQ(check.digest, DigestOf(object_.data));
  EXPECT_EQ(check.bytes, static_cast<int64_t>(object_.data.size()));
  EXPECT_EQ(check.report.events_in, table_.events());
  EXPECT_EQ(check.report.chunks, static_cast<int64_t>(table_.chunks.size()));
  std::vector<uint8_t> hashes;
  for (const ColumnSpec& column : table_.columns)
    Put(&hashes, Checksum({reinterpret_cast<const uint8_t*>(column.name.data()), column.name.size()}));
  EXPECT_EQ(check.names, Checksum(hashes));
}

TEST_F(WireTest, VerifyingGoesOnAtItsCursor) {
  Object large = object_;
  for (const size_t more : {size_t{0}, size_t{1}, size_t{55}, size_t{56}, size_t{64}}) {
    large.data.resize(2 * kVerifyBytesMax + more, 7);
    Check check(large);
    check.Run();
    EXPECT_GE(check.answers, more == 0 ? 2 : 3);
    EXPECT_EQ(check.digest, DigestOf(large.data));
    EXPECT_EQ(check.bytes, static_cast<int64_t>(large.data.size()));
  }
}

TEST_F(WireTest, VerifyingNoticesEveryChangedByteOfColumnsAndDirectoryOrTellsAnotherDigest) {
  Check right(object_);
  right.Run();
  int noticed = 0;
  for (uint8_t& byte : object_.data) {
    byte ^= 0x41;
    Check check(object_);
    try {
      check.Run();
      EXPECT_NE(check.digest, right.digest);
    } catch (const Error& error) {
      EXPECT_NE(error.kind(), Kind::kStore);
      ++noticed;
    }
    byte ^= 0x41;
  }
  EXPECT_GT(noticed, 1000);
}

TEST_F(WireTest, VerifyingChecksColumnsThatReachOverTheEndOfAPiece) {
  Random random(6);
  Table table;
  table.Event("e", DType::kFloat64);
  std::vector<double> values(3 << 17);  // 3 MiB
  for (double& value : values) value = static_cast<double>(random());
  table.chunks.push_back({static_cast<uint32_t>(values.size()), {AsBytes(values)}});
  Object object = MakeObject(table, Codec::kNone);
  EXPECT_NO_THROW(Check(object).Run());
  object.data[5 << 19] ^= 1;
  std::string message;
  EXPECT_EQ(KindOf([&] { Check(object).Run(); }, &message), Kind::kCorruptObject);
  EXPECT_NE(message.find("column number 0, chunk 0"), std::string::npos) << message;
}

TEST_F(WireTest, VerifyingWithoutADirectoryMakesTheDigestAlone) {
  Check check(object_);
  check.WithoutDirectory().Run();
  EXPECT_EQ(check.digest, DigestOf(object_.data));
  EXPECT_EQ(check.names, 0u);
}

TEST_F(WireTest, VerifyingRefusesWhatCannotBe) {
  const uint64_t size = object_.data.size();
  EXPECT_KIND(kCorruptObject, Check(object_, size + 1).Run());
  EXPECT_KIND(kInvalidRequest, Check(object_, kObjectBytesMax + 1).Run());
  ObjectPlace place = object_.place;
  place.directory_bytes -= 8;
  EXPECT_KIND(kCorruptObject, Check(object_).At(place).Run());
  const Buffer frame = AnswerVerify(Request(), ReaderOf(object_));
  Result result({}, {}, false);
  EXPECT_KIND(kInvalidRequest, AppendReply(frame.bytes(), &result));
}

}  // namespace
}  // namespace skyhook::test
