// libFuzzer target: any program over any object ends with an answer or a typed Error. See `make fuzz`.
//
// Input: 1 byte of options | u16 length of the program | program | object.
// The object's directory starts where its last 32 bytes, the trailer, say. Checksums, and the hashes of
// the program's names, are computed anew, or no change would ever get past them.
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "engine/result.h"
#include "engine/scan.h"
#include "fuzz/outputs.h"
#include "tests/object_maker.h"

namespace {

using namespace skyhook;

// Gives each column the hash of its name, as far as the names can be found.
void Rehash(std::vector<uint8_t>* program) {
  if (program->size() < 32) return;
  const uint64_t n_columns = Load<uint32_t>(program->data() + 12),
                 names_bytes = Load<uint32_t>(program->data() + 28);
  if (n_columns > kColumnsMax || names_bytes > program->size() || 32 + 16 * n_columns > program->size())
    return;
  uint64_t name = program->size() - names_bytes;
  for (uint64_t i = 0; i < n_columns; ++i) {
    uint8_t* column = program->data() + 32 + 16 * i;
    const uint64_t length = Load<uint16_t>(column + 14);
    if (length > program->size() - name) return;
    const uint64_t hash = Checksum({program->data() + name, length});
    std::memcpy(column, &hash, 8);
    name += length;
  }
}

void CheckResult(const Result& result) {
  for (const ResultColumn& column : result.columns) {
    int64_t n = result.events;
    if (column.group >= 0) {
      const GrowingBuffer& offsets = result.groups[static_cast<size_t>(column.group)];
      if (offsets.size() != 8 * static_cast<size_t>(result.events + 1)) std::abort();
      n = Load<int64_t>(offsets.data() + offsets.size() - 8);
    }
    if (column.n() != n || (column.has_valid && column.valid.size() != static_cast<size_t>(n))) std::abort();
  }
}

void Run(uint8_t options, const std::vector<uint8_t>& bytes, const std::vector<uint8_t>& object,
         uint64_t start) {
  const Program program = DecodeProgram(bytes);
  Result result = ResultFor(program);
  ScanLimits limits;
  limits.bytes_max = (options & 1) != 0 ? 16 : 1 << 20;
  limits.lookahead_bytes = (options & 2) != 0 ? 256 : 0;
  limits.bytes_slack = (options & 4) != 0 ? 64 : 0;
  // As in an OSD. Without a limit of time a scan may well take longer than a fuzzer waits.
  limits.milliseconds_max = 100;
  if ((options & 8) != 0) limits.first_piece_rows = 1;
  // Paused scans go on a few times; a large object would keep the fuzzer too long.
  for (int scans = 0; scans < 3; ++scans) {
    Scan scan(program, {start, object.size() - start, 0}, limits, &result);
    Scan::Step step;
    while ((step = scan.Advance()) == Scan::Step::kNeed) {
      for (size_t i = 0; i < scan.needs().size(); ++i) {
        const ByteRange range = scan.needs()[i];
        if (range.start > range.stop || range.stop > object.size()) Corrupt("past the end");
        std::memcpy(scan.Place(i), object.data() + range.start, range.size());
      }
    }
    CheckResult(result);
    if (step == Scan::Step::kDone) return;
    limits.cursor = scan.cursor();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 3) return 0;
  const size_t length = std::min<size_t>(Load<uint16_t>(data + 1), size - 3);
  std::vector<uint8_t> program(data + 3, data + 3 + length), object(data + 3 + length, data + size);
  if (object.size() < 32) return 0;
  const uint64_t start = Load<uint64_t>(object.data() + object.size() - 32);
  if (start > object.size()) return 0;
  Rehash(&program);
  test::Reseal(&object, start);
  try {
    Run(data[0], program, object, start);
  } catch (const Error&) {
  } catch (const std::bad_alloc&) {
  }
  return 0;
}
