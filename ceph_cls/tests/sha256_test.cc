#include "engine/sha256.h"

#include <gtest/gtest.h>

#include <string>

#include "random_program.h"

namespace skyhook::test {
namespace {

std::string HexOf(const std::string& text) {
  Sha256 sha;
  sha.Finish({reinterpret_cast<const uint8_t*>(text.data()), text.size()}, text.size());
  std::string hex;
  for (const uint32_t number : sha.state()) {
    char digits[9];
    std::snprintf(digits, sizeof(digits), "%08x", number);
    hex += digits;
  }
  return hex;
}

// FIPS 180-4's examples, and lengths at which the padding takes one block more.
TEST(Sha256Test, GivesTheStandardsDigests) {
  EXPECT_EQ(HexOf(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(HexOf("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(HexOf("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(HexOf(std::string(55, 'a')), "9f4390f8d30c2dd92ec9f095b65e2b9ae9b0a925a5258e241c9f1e910f734318");
  EXPECT_EQ(HexOf(std::string(64, 'a')), "ffe054fe7ae0cb6dc65c3af9b61d5209f439851db43d0ba5997337df154668eb");
  EXPECT_EQ(HexOf(std::string(1000000, 'a')),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Sha256Test, BothWaysAgree) {
  if (!HasSha256Instructions()) GTEST_SKIP() << "this processor has no SHA instructions";
  Random random(3);
  std::vector<uint8_t> data(64 * 40);
  for (uint8_t& byte : data) byte = static_cast<uint8_t>(random());
  for (size_t blocks = 0; blocks <= 40; ++blocks) {
    Sha256::State plain = Sha256().state(), fast = plain;
    Sha256BlocksPlain(&plain, data.data(), blocks);
    Sha256BlocksFast(&fast, data.data(), blocks);
    EXPECT_EQ(plain, fast) << blocks;
  }
}

TEST(Sha256Test, GoesOnFromAState) {
  const std::vector<uint8_t> data(64 * 5 + 17, 9);
  Sha256 whole, first;
  whole.Finish(data, data.size());
  first.Add(Bytes(data).first(128));
  Sha256 rest(first.state());
  rest.Finish(Bytes(data).subspan(128), data.size());
  EXPECT_EQ(rest.state(), whole.state());
}

}  // namespace
}  // namespace skyhook::test
