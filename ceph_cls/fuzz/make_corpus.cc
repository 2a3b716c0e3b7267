// Writes seeds for fuzz_scan: random programs that are valid for the small objects beside them.
#include <cstdio>
#include <cstdlib>
#include <string>

#include "tests/random_program.h"

int main(int argc, char** argv) {
  using namespace skyhook;
  using namespace skyhook::test;
  if (argc != 3) {
    std::fprintf(stderr, "usage: make_corpus FOLDER COUNT\n");
    return 2;
  }
  const uint64_t count = std::strtoull(argv[2], nullptr, 10);
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
    std::vector<uint8_t> input{static_cast<uint8_t>(seed % 4), static_cast<uint8_t>(bytes.size()),
                               static_cast<uint8_t>(bytes.size() >> 8)};
    input.insert(input.end(), bytes.begin(), bytes.end());
    input.insert(input.end(), object.data.begin(), object.data.end());
    const std::string path = std::string(argv[1]) + "/seed-" + std::to_string(seed);
    std::FILE* file = std::fopen(path.c_str(), "wb");
    if (file == nullptr || std::fwrite(input.data(), 1, input.size(), file) != input.size() ||
        std::fclose(file) != 0) {
      std::perror(path.c_str());
      return 1;
    }
  }
}
