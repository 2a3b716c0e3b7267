#include "engine/wire.h"

#include <gtest/gtest.h>

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
                                const ObjectPlace& place, const ScanLimits& limits) {
  std::vector<uint8_t> request;
  for (char c : {'S', 'K', 'Y', 'S', 'C', 'A', 'N', '1'}) Put(&request, c);
  Put(&request, kWireVersion);
  Put(&request, uint32_t{result.keep_rows});
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
  return request;
}

ReadRange ReaderOf(const Object& object) {
  return [&object](ByteRange range, uint8_t* to) {
    if (range.start > range.stop || range.stop > object.data.size()) Corrupt("past the end");
    if (range.size() > 0) std::memcpy(to, object.data.data() + range.start, range.size());
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
  std::vector<uint8_t> Answer(const std::vector<uint8_t>& request) const {
    return AnswerScan(request, ReaderOf(object_));
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

TEST_F(WireTest, AnErrorCarriesItsKind) {
  for (const Kind kind :
       {Kind::kInvalidRequest, Kind::kCorruptObject, Kind::kResourceExhausted, Kind::kStore}) {
    Result result = ResultFor(program_);
    std::string message;
    EXPECT_EQ(KindOf([&] { AppendReply(EncodeError(kind, "thus"), &result); }, &message), kind);
    EXPECT_EQ(message, "thus");
  }
}

TEST_F(WireTest, EveryChangedOrCutRequestIsAnswered) {
  const std::vector<uint8_t> request = Request();
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

TEST_F(WireTest, EveryChangedOrCutAnswerIsRefusedOrFits) {
  const std::vector<uint8_t> answer = Answer(Request({0, 3, -1, 0}));
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

TEST_F(WireTest, VerifyingNoticesEveryChangedByteThatIsStored) {
  const std::vector<uint8_t> request = Request();
  const auto verify = [&] {
    Result result({}, {}, false);
    return AppendReply(AnswerVerify(request, ReaderOf(object_)), &result);
  };
  EXPECT_EQ(verify(), -1);
  object_.data[64 + 9] ^= 1;
  EXPECT_KIND(kCorruptObject, verify());
}

}  // namespace
}  // namespace skyhook::test
