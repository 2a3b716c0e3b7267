// libFuzzer target: the object class's own entry, with any request over any object. See `make fuzz`.
//
// Input: 1 byte of options | u32 length of the request | request | object. With option 1 the rest is
// taken for an answer instead, as a client does. Checksums of the object are computed anew.
#include <cstdlib>
#include <vector>

#include "engine/wire.h"
#include "tests/object_maker.h"

namespace {

using namespace skyhook;

// What a client does with an answer: it fits the question or is refused.
void TakeAnswer(Bytes request_bytes, Bytes answer) {
  try {
    const ScanRequest request = DecodeRequest(request_bytes);
    Result result(request.dtypes, request.groups, request.keep_rows);
    result.histograms = DecodeHistograms(request.histograms, request.dtypes.size());
    AppendReply(answer, &result);
  } catch (const Error&) {
  } catch (const std::bad_alloc&) {
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 5) return 0;
  const uint64_t length = Load<uint32_t>(data + 1);
  if (length > size - 5) return 0;
  const Bytes request(data + 5, length), rest(data + 5 + length, size - 5 - length);
  if ((data[0] & 1) != 0) {
    TakeAnswer(request, rest);
    return 0;
  }
  std::vector<uint8_t> object(rest.begin(), rest.end());
  if (object.size() >= 32) {
    const uint64_t start = Load<uint64_t>(object.data() + object.size() - 32);
    if (start <= object.size()) test::Reseal(&object, start);
  }
  const ReadRange read = [&](ByteRange range) {
    if (range.start > range.stop || range.stop > object.size()) Corrupt("past the end");
    return Bytes(object).subspan(range.start, range.size());
  };
  for (const auto answer : {AnswerScan, AnswerVerify}) {
    const Buffer frame = answer(request, read);
    if (frame.size() == 0) std::abort();
    TakeAnswer(request, frame.bytes());
  }
  return 0;
}
