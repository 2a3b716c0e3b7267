// Makes the checksums in the objects of kept fuzz_wire inputs hold, as the fuzz target does before it runs
// them: so that they reach as far in an OSD.
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

#include "tests/object_maker.h"

int main(int argc, char** argv) {
  using namespace skyhook;
  if (argc != 2) {
    std::fprintf(stderr, "usage: reseal_corpus WIRE-FOLDER\n");
    return 2;
  }
  for (const auto& entry : std::filesystem::directory_iterator(argv[1])) {
    std::ifstream from(entry.path(), std::ios::binary);
    std::vector<uint8_t> input{std::istreambuf_iterator<char>(from), {}};
    from.close();
    if (input.size() < 5 || (input[0] & 1) != 0) continue;
    const uint64_t length = Load<uint32_t>(input.data() + 1);
    if (length > input.size() - 5) continue;
    const auto rest = input.begin() + static_cast<ptrdiff_t>(5 + length);
    std::vector<uint8_t> object(rest, input.end());
    if (object.size() < 32) continue;
    const uint64_t start = Load<uint64_t>(object.data() + object.size() - 32);
    if (start > object.size()) continue;
    test::Reseal(&object, start);
    std::copy(object.begin(), object.end(), rest);
    std::ofstream to(entry.path(), std::ios::binary);
    to.write(reinterpret_cast<const char*>(input.data()), static_cast<std::streamsize>(input.size()));
    if (!to.flush()) {
      std::perror(entry.path().c_str());
      return 1;
    }
  }
}
