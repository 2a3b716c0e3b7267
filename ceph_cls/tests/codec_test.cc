#include "engine/codec.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "drive.h"
#include "random_program.h"

namespace skyhook::test {
namespace {

constexpr Codec kCodecs[] = {Codec::kNone, Codec::kLz4Frame, Codec::kZstd};

ChunkEntry EntryFor(const std::vector<uint8_t>& stored, size_t raw_bytes, size_t n_values) {
  ChunkEntry entry{};
  entry.stored_bytes = static_cast<uint32_t>(stored.size());
  entry.raw_bytes = static_cast<uint32_t>(raw_bytes);
  entry.n_values = static_cast<uint32_t>(n_values);
  entry.checksum = Checksum(stored);
  return entry;
}

std::vector<uint8_t> Decoded(Decoder* decoder, const std::vector<uint8_t>& stored, const ChunkEntry& entry,
                             Codec codec, DType dtype) {
  std::vector<uint8_t> values(entry.n_values * SizeOf(dtype));
  decoder->Decode(stored, entry, codec, dtype, values.data());
  return values;
}

TEST(Codec, WhatWasStoredComesBack) {
  Random random(1);
  Decoder decoder;
  for (const Codec codec : kCodecs) {
    for (const Storing storing : {Storing::kCompressed, Storing::kRaw, Storing::kPadded}) {
      for (size_t n : {1, 7, 8, 9, 63, 64, 1000, 100000}) {
        std::vector<int32_t> numbers(n);
        std::generate(numbers.begin(), numbers.end(), [&] { return static_cast<int32_t>(random() % 100); });
        const std::vector<uint8_t> raw = AsBytes(numbers), stored = Store(raw, codec, storing);
        EXPECT_EQ(Decoded(&decoder, stored, EntryFor(stored, raw.size(), n), codec, DType::kInt32), raw);

        std::vector<uint8_t> bools(n);
        std::generate(bools.begin(), bools.end(), [&] { return random() % 2; });
        const std::vector<uint8_t> bits = PackBits(bools), packed = Store(bits, codec, storing);
        EXPECT_EQ(Decoded(&decoder, packed, EntryFor(packed, bits.size(), n), codec, DType::kBool), bools);
      }
    }
  }
}

TEST(Codec, AnEmptyBufferHasNoValues) {
  Decoder decoder;
  for (const Codec codec : kCodecs) {
    EXPECT_TRUE(Decoded(&decoder, {}, EntryFor({}, 0, 0), codec, DType::kFloat64).empty());
  }
}

TEST(Codec, ValuesLieInPlaceOnlyIfStoredAsInMemory) {
  const std::vector<uint8_t> raw(64, 3);
  const auto place = [&](Codec codec, Storing storing, DType dtype) {
    const std::vector<uint8_t> stored = Store(raw, codec, storing);
    return Decoder::InPlace(stored, EntryFor(stored, raw.size(), raw.size() / SizeOf(dtype)), codec, dtype)
        .size();
  };
  EXPECT_EQ(place(Codec::kNone, Storing::kRaw, DType::kInt16), 64u);
  EXPECT_EQ(place(Codec::kLz4Frame, Storing::kRaw, DType::kInt16), 64u);
  EXPECT_EQ(place(Codec::kLz4Frame, Storing::kCompressed, DType::kInt16), 0u);
  EXPECT_EQ(place(Codec::kZstd, Storing::kPadded, DType::kInt16), 0u);
  EXPECT_EQ(place(Codec::kNone, Storing::kRaw, DType::kBool), 0u);
}

class BadBuffer : public testing::TestWithParam<Codec> {
 protected:
  const std::vector<uint8_t> raw_ = std::vector<uint8_t>(4000, 9);
  Decoder decoder_;

  void ExpectCorrupt(const std::vector<uint8_t>& stored, size_t raw_bytes) {
    EXPECT_KIND(kCorruptObject, Decoded(&decoder_, stored, EntryFor(stored, raw_bytes, raw_bytes / 4),
                                        GetParam(), DType::kInt32));
  }
};
INSTANTIATE_TEST_SUITE_P(, BadBuffer, testing::Values(Codec::kLz4Frame, Codec::kZstd));

TEST_P(BadBuffer, WithAWrongLengthIsCorrupt) {
  const std::vector<uint8_t> stored = Store(raw_, GetParam(), Storing::kCompressed);
  for (int64_t length :
       {int64_t{0}, int64_t{3999}, int64_t{4001}, int64_t{4000 + 65}, int64_t{-2}, INT64_MAX, INT64_MIN}) {
    std::vector<uint8_t> wrong = stored;
    std::memcpy(wrong.data(), &length, 8);
    SCOPED_TRACE(length);
    ExpectCorrupt(wrong, 4000);
  }
  ExpectCorrupt(stored, 3900);
  ExpectCorrupt(stored, 4004);
}

TEST_P(BadBuffer, CutShortIsCorrupt) {
  const std::vector<uint8_t> stored = Store(raw_, GetParam(), Storing::kCompressed);
  for (size_t size = 0; size < stored.size(); ++size) {
    SCOPED_TRACE(size);
    ExpectCorrupt({stored.begin(), stored.begin() + static_cast<ptrdiff_t>(size)}, 4000);
  }
  std::vector<uint8_t> plain = Store(raw_, GetParam(), Storing::kRaw);
  plain.pop_back();
  ExpectCorrupt(plain, 4000);
}

TEST_P(BadBuffer, ThatIsNoFrameIsCorruptAndTheDecoderGoesOn) {
  std::vector<uint8_t> stored = Store(raw_, GetParam(), Storing::kCompressed);
  std::vector<uint8_t> broken = stored;
  broken[8] ^= 0xFF;
  ExpectCorrupt(broken, 4000);
  EXPECT_EQ(Decoded(&decoder_, stored, EntryFor(stored, 4000, 1000), GetParam(), DType::kInt32), raw_);
}

TEST(Codec, AChangedByteFailsTheChecksum) {
  std::vector<uint8_t> stored(100, 1);
  const ChunkEntry entry = EntryFor(stored, 100, 100);
  CheckStored(stored, entry);
  stored[57] ^= 4;
  EXPECT_KIND(kCorruptObject, CheckStored(stored, entry));
  stored[57] ^= 4;
  stored.push_back(0);
  EXPECT_KIND(kCorruptObject, CheckStored(stored, entry));
}

}  // namespace
}  // namespace skyhook::test
