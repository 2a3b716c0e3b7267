// Writes seeds for fuzz_scan and fuzz_wire: random programs that are valid for the small objects beside
// them.
#include <cstdio>
#include <cstdlib>
#include <string>

#include "engine/selection.h"
#include "engine/wire.h"
#include "fuzz/outputs.h"
#include "tests/random_program.h"

namespace {

using namespace skyhook;

void Put(std::vector<uint8_t>* to, const void* from, size_t size) {
  const auto* bytes = static_cast<const uint8_t*>(from);
  to->insert(to->end(), bytes, bytes + size);
}

template <typename T>
void Put(std::vector<uint8_t>* to, T value) {
  Put(to, &value, sizeof(T));
}

// A scan request as skyhook_casa/worker.py makes it; every other one fills histograms.
std::vector<uint8_t> Request(const std::vector<uint8_t>& program, uint64_t start, uint64_t bytes,
                             uint64_t seed) {
  const Result result = ResultFor(DecodeProgram({program.data(), program.size()}));
  std::vector<uint8_t> histograms, request;
  for (size_t i = 0; seed % 2 == 1 && i < result.columns.size(); ++i) {
    for (int32_t field : {-1, 1, static_cast<int32_t>(i), 5, 0, 0}) Put(&histograms, field);
    Put(&histograms, -10.0);
    Put(&histograms, 10.0);
  }
  Put(&request, "SKYSCAN1", 8);
  Put(&request, kWireVersion);
  // Of those that deliver values every other one is for some events, and packs their numbers.
  const bool selects = seed % 4 == 2;
  Put(&request, histograms.empty() ? (selects ? uint32_t{7} : uint32_t{1}) : uint32_t{0});
  for (uint64_t field : {start, bytes, uint64_t{7}, uint64_t{0}}) Put(&request, field);
  Put(&request, int64_t{-1});
  Put(&request, seed % 4 < 2 ? int64_t{-1} : int64_t{16});
  Put(&request, uint32_t{100});
  Put(&request, static_cast<uint32_t>(result.columns.size()));
  Put(&request, static_cast<uint32_t>(program.size()));
  Put(&request, static_cast<uint32_t>(histograms.size()));
  for (const ResultColumn& column : result.columns) {
    Put(&request, static_cast<uint16_t>(column.dtype));
    Put(&request, static_cast<int16_t>(column.group));
  }
  Put(&request, program.data(), program.size());
  Put(&request, histograms.data(), histograms.size());
  if (selects) {
    std::vector<int64_t> events;
    for (int64_t event = 0; event < 64; ++event) {
      if (seed % 8 == 2 ? event % 16 < 9 : (event * event + 3) % 7 < 4) events.push_back(event);
    }
    const std::vector<uint8_t> selection = Selection::Encode(events.data(), events.size());
    Put(&request, selection.data(), selection.size());
  }
  return request;
}

// A request to verify the object, as skyhook_casa/verify_inside.py makes it.
std::vector<uint8_t> VerifyRequest(uint64_t start, uint64_t bytes, uint64_t object_bytes) {
  std::vector<uint8_t> request;
  Put(&request, "SKYSCAN1", 8);
  Put(&request, kWireVersion);
  Put(&request, uint32_t{0});
  for (uint64_t field : {start, bytes, uint64_t{0}, uint64_t{0}}) Put(&request, field);
  Put(&request, int64_t{-1});
  Put(&request, int64_t{-1});
  for (uint32_t field : {100, 0, 40, 0}) Put(&request, field);
  Put(&request, object_bytes);
  Put(&request, Sha256().state());
  return request;
}

// An input of fuzz_wire.
std::vector<uint8_t> Message(const std::vector<uint8_t>& request, const std::vector<uint8_t>& object) {
  std::vector<uint8_t> message{0};
  Put(&message, static_cast<uint32_t>(request.size()));
  Put(&message, request.data(), request.size());
  Put(&message, object.data(), object.size());
  return message;
}

bool Write(const std::string& path, const std::vector<uint8_t>& input) {
  std::FILE* file = std::fopen(path.c_str(), "wb");
  if (file != nullptr && std::fwrite(input.data(), 1, input.size(), file) == input.size() &&
      std::fclose(file) == 0) {
    return true;
  }
  std::perror(path.c_str());
  return false;
}

}  // namespace

int main(int argc, char** argv) {
  using namespace skyhook::test;
  if (argc != 4) {
    std::fprintf(stderr, "usage: make_corpus SCAN-FOLDER WIRE-FOLDER COUNT\n");
    return 2;
  }
  const uint64_t count = std::strtoull(argv[3], nullptr, 10);
  for (uint64_t seed = 0; seed < count; ++seed) {
    Random random(seed);
    const Table whole = RandomTable(&random, 1 + static_cast<int>(seed % 2), 4, 3);
    const ProgramMaker program = MakeRandomProgram(&random);

    // Only the columns that the program reads, and their lists: short inputs are quick.
    Table table;
    std::vector<uint32_t> moved(whole.columns.size(), kNoHint);
    table.chunks.resize(whole.chunks.size());
    for (size_t c = 0; c < table.chunks.size(); ++c) table.chunks[c].events = whole.chunks[c].events;
    for (size_t i = 0; i < whole.columns.size(); ++i) {
      const ColumnSpec& column = whole.columns[i];
      bool wanted = false;
      for (const StoredColumn& used : program.columns) wanted |= used.name == column.name;
      if (!wanted) continue;
      moved[i] = static_cast<uint32_t>(table.columns.size());
      table.columns.push_back(column);
      if (column.list != kNoHint) table.columns.back().list = moved[column.list];
      for (size_t c = 0; c < table.chunks.size(); ++c)
        table.chunks[c].values.push_back(whole.chunks[c].values[i]);
    }

    const Object object = MakeObject(table, static_cast<Codec>(seed % 3));
    const std::vector<uint8_t> bytes = program.Encode();
    if (bytes.size() > 0xFFFF) continue;
    std::vector<uint8_t> input{static_cast<uint8_t>(seed % 16), static_cast<uint8_t>(bytes.size()),
                               static_cast<uint8_t>(bytes.size() >> 8)};
    input.insert(input.end(), bytes.begin(), bytes.end());
    input.insert(input.end(), object.data.begin(), object.data.end());
    const std::string number = std::to_string(seed);
    if (!Write(std::string(argv[1]) + "/scan-" + number, input)) return 1;

    const uint64_t start = Load<uint64_t>(object.data.data() + object.data.size() - 32);
    const uint64_t size = object.data.size();
    const std::vector<uint8_t> request = Request(bytes, start, size - start, seed);
    if (!Write(std::string(argv[2]) + "/wire-" + number, Message(request, object.data))) return 1;
    if (seed % 10 != 0) continue;
    const std::vector<uint8_t> check =
        VerifyRequest(seed % 20 == 0 ? start : 0, seed % 20 == 0 ? size - start : 0, size);
    if (!Write(std::string(argv[2]) + "/verify-" + number, Message(check, object.data))) return 1;
  }
}
