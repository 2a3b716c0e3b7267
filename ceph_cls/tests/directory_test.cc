#include "engine/directory.h"

#include <gtest/gtest.h>

#include <functional>
#include <limits>

#include "drive.h"
#include "program_maker.h"

namespace skyhook::test {
namespace {

// An object with three chunks, a value per event and a list, whose tables tests spoil.
class DirectoryTest : public testing::Test {
 protected:
  DirectoryTest() {
    table_.Event("met", DType::kFloat32);
    const int list = table_.List("A");
    table_.Element("A_pt", DType::kFloat64, list);
    table_.Event("flag", DType::kBool);
    for (uint32_t events : {2u, 3u, 1u}) {
      const auto n = static_cast<int32_t>(events);
      std::vector<int32_t> offsets;
      for (int32_t i = 0; i <= n; ++i) offsets.push_back(i);
      table_.chunks.push_back({events,
                               {AsBytes(std::vector<float>(events, 1.5f)), AsBytes(offsets),
                                AsBytes(std::vector<double>(events, -2)), std::vector<uint8_t>(events, 1)}});
    }
    object_ = MakeObject(table_, Codec::kNone);
    start_ = object_.place.directory_start;
  }

  DirectoryHeader Header() const {
    return DecodeHeader(Bytes(object_.data).subspan(start_), start_, object_.place.directory_bytes);
  }
  Bytes Slice(ByteRange range) const { return Bytes(object_.data).subspan(range.start, range.size()); }
  std::vector<uint32_t> Events() const { return DecodeChunkTable(Slice(Header().chunk_table()), Header()); }
  ColumnRow Row(uint32_t index) const {
    return DecodeRow(Slice(Header().row(index)), Header(), index, Events());
  }
  void ReadAll() const {
    Events();
    DecodeKeyTable(Slice(Header().key_table()), Header());
    for (uint32_t i = 0; i < Header().n_columns; ++i) Row(i);
  }

  template <typename T>
  void Put(uint64_t at, T value) {
    std::memcpy(object_.data.data() + at, &value, sizeof(T));
  }
  // Expects that the directory with `value` at `at` is refused although its checksums hold.
  template <typename T>
  void ExpectRefused(uint64_t at, T value, Kind kind = Kind::kCorruptObject) {
    const std::vector<uint8_t> before = object_.data;
    Put(at, value);
    Reseal(&object_.data, start_);
    EXPECT_EQ(KindOf([&] { ReadAll(); }), kind) << "at directory byte " << at - start_;
    object_.data = before;
  }
  uint64_t Entry(uint32_t column, uint32_t chunk) const {
    return Header().row(column).start + 32 + 48 * chunk;
  }

  Table table_;
  Object object_;
  uint64_t start_ = 0;
};

TEST_F(DirectoryTest, SaysWhatIsInTheObject) {
  const DirectoryHeader header = Header();
  EXPECT_EQ(header.n_columns, 4u);
  EXPECT_EQ(header.n_chunks, 3u);
  EXPECT_EQ(header.n_events, 6u);
  EXPECT_EQ(header.codec, Codec::kNone);
  EXPECT_EQ(Events(), (std::vector<uint32_t>{2, 3, 1}));
  EXPECT_EQ(DecodeKeyTable(Slice(header.key_table()), header)[0], ProgramMaker::HashOf("met"));
  const ColumnRow met = Row(0), offsets = Row(1), pt = Row(2);
  EXPECT_EQ(met.dtype, DType::kFloat32);
  EXPECT_EQ(met.kind, ColumnKind::kEventValue);
  EXPECT_EQ(met.chunks[1].n_values, 3u);
  EXPECT_EQ(offsets.kind, ColumnKind::kOffsets);
  EXPECT_EQ(offsets.chunks[1].n_values, 4u);
  EXPECT_EQ(pt.offsets_index, 1u);
  EXPECT_TRUE(pt.chunks[2].has_bounds());
  EXPECT_FALSE(pt.chunks[2].has_nan());
}

TEST_F(DirectoryTest, EveryChangedByteOfATableFailsItsChecksum) {
  const DirectoryHeader header = Header();
  for (uint64_t at = start_; at < header.row(header.n_columns).start; ++at) {
    for (uint8_t flip : {0x01, 0x80, 0xFF}) {
      object_.data[at] ^= flip;
      EXPECT_KIND(kCorruptObject, ReadAll()) << "at directory byte " << at - start_;
      object_.data[at] ^= flip;
    }
  }
  ReadAll();
}

TEST_F(DirectoryTest, AHeaderThatContradictsItselfIsRefused) {
  ExpectRefused(start_, uint8_t{'X'});
  ExpectRefused(start_ + 8, uint32_t{2}, Kind::kInvalidRequest);
  ExpectRefused(start_ + 12, uint32_t{5});
  ExpectRefused(start_ + 12, kDirectoryColumnsMax + 1);
  ExpectRefused(start_ + 12, uint32_t{0xFFFFFFFF});
  ExpectRefused(start_ + 16, uint32_t{4});
  ExpectRefused(start_ + 16, kChunksMax + 1);
  ExpectRefused(start_ + 20, uint32_t{0});
  ExpectRefused(start_ + 24, uint64_t{7});
  ExpectRefused(start_ + 32, start_ + 8);
  ExpectRefused(start_ + 44, uint32_t{3});
}

TEST_F(DirectoryTest, AChunkTableWithOtherEventsIsRefused) {
  ExpectRefused(start_ + 64, uint32_t{3});
  // Sums agree, but one chunk would be larger than any may be.
  Put(start_ + 24, uint64_t{kChunkEventsMax} + 1 + 4);
  ExpectRefused(start_ + 64, kChunkEventsMax + 1);
}

TEST_F(DirectoryTest, ARowThatContradictsTheObjectIsRefused) {
  const uint64_t row = Header().row(0).start;
  ExpectRefused(row + 8, uint8_t{kDTypes});
  ExpectRefused(row + 8, uint8_t{10});  // of 4 bytes each, not 8
  ExpectRefused(row + 9, uint8_t{3});
  ExpectRefused(row + 9, uint8_t{2});  // offsets of float32
  ExpectRefused(row + 16, uint32_t{1});
}

TEST_F(DirectoryTest, AnEntryThatContradictsTheObjectIsRefused) {
  const uint64_t entry = Entry(0, 1);
  ExpectRefused(entry, start_ + 1);
  ExpectRefused(entry, start_ - 11);
  ExpectRefused(entry, std::numeric_limits<uint64_t>::max());
  ExpectRefused(entry + 8, uint32_t{0xFFFFFFFF});
  ExpectRefused(entry + 8, uint32_t{11});
  ExpectRefused(entry + 12, uint32_t{13});
  ExpectRefused(entry + 40, uint32_t{2});
  ExpectRefused(Entry(1, 0) + 40, uint32_t{2});
  ExpectRefused(Entry(2, 0) + 40, uint32_t{0x20000000});
  ExpectRefused(Entry(3, 0) + 12, uint32_t{2});
}

TEST_F(DirectoryTest, ZoneMapsThatAreNoRangeAreRefused) {
  ExpectRefused(Entry(0, 0) + 24, std::numeric_limits<double>::quiet_NaN());
  ExpectRefused(Entry(0, 0) + 24, 2.0);
  ExpectRefused(Entry(1, 0) + 24, int64_t{7});
  ExpectRefused(Entry(3, 0) + 32, int64_t{-1});
}

TEST_F(DirectoryTest, ValuesThatStoredBytesCannotDecodeToAreRefused) {
  DirectoryHeader header = Header();
  std::vector<uint8_t> row(Slice(header.row(2)).begin(), Slice(header.row(2)).end());
  const auto decode = [&](Codec codec, uint32_t stored, uint32_t n) {
    header.codec = codec;
    ChunkEntry entry = Load<ChunkEntry>(row.data() + 32);
    entry.stored_bytes = stored;
    entry.n_values = n;
    entry.raw_bytes = 8 * n;
    entry.offset = 0;
    std::memcpy(row.data() + 32, &entry, 48);
    const uint64_t sum = Checksum({row.data(), row.size() - 8});
    std::memcpy(row.data() + row.size() - 8, &sum, 8);
    DecodeRow(row, header, 2, Events());
  };
  decode(Codec::kLz4Frame, 32, 255 * 32 / 8);
  EXPECT_KIND(kCorruptObject, decode(Codec::kLz4Frame, 32, 255 * 32 / 8 + 1));
  decode(Codec::kZstd, 32, 32768 * 32 / 8);
  EXPECT_KIND(kCorruptObject, decode(Codec::kZstd, 32, 32768 * 32 / 8 + 1));
  header.start = uint64_t{1} << 26;
  static_assert(kChunkElementsMax >= kChunkColumnBytesMax / 8);
  decode(Codec::kZstd, 1 << 20, kChunkColumnBytesMax / 8);
  EXPECT_KIND(kCorruptObject, decode(Codec::kZstd, 1 << 20, kChunkColumnBytesMax / 8 + 1));
}

TEST_F(DirectoryTest, TablesCutShortAreRefused) {
  const DirectoryHeader header = Header();
  EXPECT_KIND(kCorruptObject, DecodeHeader(Bytes(object_.data).subspan(start_, 63), start_, 1000));
  EXPECT_KIND(kCorruptObject, DecodeHeader(Bytes(object_.data).subspan(start_), start_, 200));
  EXPECT_KIND(kCorruptObject, DecodeHeader({}, start_, 1000));
  EXPECT_KIND(kCorruptObject, DecodeChunkTable({}, header));
}

}  // namespace
}  // namespace skyhook::test
