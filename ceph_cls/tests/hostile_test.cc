// Bytes that nobody should send: every answer is a typed Error or right, and nothing else happens.
//
// Build with SKYHOOK_SANITIZE=ON to see wrong accesses and undefined behaviour too.
#include <gtest/gtest.h>

#include "drive.h"
#include "naive.h"
#include "random_program.h"

namespace skyhook::test {
namespace {

// Bytes that a scan of hostile input may deliver before it pauses.
constexpr int64_t kResultBytesMax = 1 << 22;

// True if the scan came to an end (or a limit), false if it threw an Error or found no memory.
bool Survives(const Program& program, const Object& object, ScanLimits limits, Result* result) {
  try {
    limits.bytes_max = kResultBytesMax;
    ScanOnce(program, object, limits, result);
    return true;
  } catch (const Error&) {
    return false;
  } catch (const std::bad_alloc&) {
    return false;
  }
}

Table SmallTable() {
  Table table;
  table.Event("e", DType::kFloat32);
  const int list = table.List("A");
  table.Element("A_x", DType::kInt16, list);
  table.Event("flag", DType::kBool);
  table.chunks.push_back({3,
                          {AsBytes(std::vector<float>{1, 2, 3}),
                           AsBytes(std::vector<int32_t>{0, 2, 2, 3}),
                           AsBytes(std::vector<int16_t>{7, 8, 9}),
                           {1, 0, 1}}});
  table.chunks.push_back({2,
                          {AsBytes(std::vector<float>{4, 5}),
                           AsBytes(std::vector<int32_t>{0, 0, 1}),
                           AsBytes(std::vector<int16_t>{10}),
                           {1, 1}}});
  return table;
}

Program SmallProgram() {
  ProgramMaker m;
  const int e = m.LoadOf("e", DType::kFloat32), x = m.LoadOf("A_x", DType::kInt16, m.List("A"));
  m.terms = {m.Binary(Op::kGt, e, m.Const(1.5f)), m.LoadOf("flag", DType::kBool)};
  m.outputs = {e, x, m.Reduce(Op::kSum, x)};
  return m.Decode();
}

class HostileObject : public testing::TestWithParam<Codec> {
 protected:
  const Table table_ = SmallTable();
  const Program program_ = SmallProgram();
  const Object object_ = MakeObject(table_, GetParam());
};
INSTANTIATE_TEST_SUITE_P(, HostileObject, testing::Values(Codec::kNone, Codec::kLz4Frame, Codec::kZstd));

TEST_P(HostileObject, EveryChangedByteIsNoticedOrDoesNotMatter) {
  const Result right = ScanAll(program_, object_);
  Object changed = object_;
  int noticed = 0;
  for (size_t at = 0; at < changed.data.size(); ++at) {
    for (const uint8_t flip : {0x01, 0x10, 0x80, 0xFF}) {
      changed.data[at] ^= flip;
      Result result = ResultFor(program_);
      if (Survives(program_, changed, {}, &result)) {
        ExpectSame(result, right);
      } else {
        ++noticed;
      }
      changed.data[at] ^= flip;
      if (HasFailure()) return;
    }
  }
  EXPECT_GT(noticed, 1000);
}

TEST_P(HostileObject, EveryTruncationIsNoticedOrDoesNotMatter) {
  const Result right = ScanAll(program_, object_);
  for (size_t size = 0; size < object_.data.size(); ++size) {
    Object cut = object_;
    cut.data.resize(size);
    Result result = ResultFor(program_);
    if (Survives(program_, cut, {}, &result)) ExpectSame(result, right);
  }
}

TEST_P(HostileObject, EveryChangedByteUnderRightChecksumsIsSurvived) {
  for (size_t at = 0; at < object_.data.size(); ++at) {
    for (const uint8_t flip : {0x01, 0x02, 0x10, 0x80, 0xFF}) {
      Object changed = object_;
      changed.data[at] ^= flip;
      Reseal(&changed.data, changed.place.directory_start);
      Result result = ResultFor(program_);
      Survives(program_, changed, {}, &result);
    }
  }
}

TEST_P(HostileObject, FieldsOfExtremeNumbersUnderRightChecksumsAreSurvived) {
  const uint64_t extremes[] = {0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x7FFFFFFFFFFFFFFF, ~uint64_t{0}};
  for (size_t at = object_.place.directory_start; at + 8 <= object_.data.size(); at += 4) {
    for (const uint64_t value : extremes) {
      for (const size_t width : {4, 8}) {
        Object changed = object_;
        std::memcpy(changed.data.data() + at, &value, width);
        Reseal(&changed.data, changed.place.directory_start);
        Result result = ResultFor(program_);
        Survives(program_, changed, {}, &result);
      }
    }
  }
}

TEST_P(HostileObject, PlacesOfTheDirectoryThatAreWrongAreSurvived) {
  for (const uint64_t start : {uint64_t{0}, uint64_t{63}, object_.place.directory_start - 1,
                               object_.place.directory_start + 8, uint64_t{1} << 26, ~uint64_t{0}}) {
    for (const uint64_t bytes : {uint64_t{0}, uint64_t{64}, uint64_t{200}, object_.place.directory_bytes,
                                 uint64_t{1} << 26, ~uint64_t{0}}) {
      Object moved = object_;
      moved.place = {start, bytes, INT64_MAX};
      Result result = ResultFor(program_);
      EXPECT_FALSE(Survives(program_, moved, {}, &result));
    }
  }
}

TEST(Hostile, RandomChangesOfProgramsAreSurvived) {
  Random random(11);
  for (uint64_t round = 0; round < Seeds(60); ++round) {
    const Table table = RandomTable(&random, 2, 10, 4);
    const Object object = MakeObject(table, static_cast<Codec>(round % 3));
    const std::vector<uint8_t> bytes = MakeRandomProgram(&random).Encode();
    for (int change = 0; change < 200; ++change) {
      std::vector<uint8_t> changed = bytes;
      for (uint64_t n = 1 + random() % 3; n > 0; --n) {
        const size_t at = random() % changed.size();
        // Small numbers are node numbers, operations and dtypes: the decoder accepts some.
        changed[at] = static_cast<uint8_t>(random() % 2 == 0 ? random() % 32 : random());
      }
      try {
        const Program program = DecodeProgram(changed);
        Result result = ResultFor(program);
        Survives(program, object, {}, &result);
      } catch (const Error&) {
      }
    }
  }
}

TEST(Hostile, RandomChangesOfObjectsAreSurvivedByRandomPrograms) {
  Random random(12);
  for (uint64_t round = 0; round < Seeds(60); ++round) {
    const Table table = RandomTable(&random, 1 + static_cast<int>(round % 3), 6, 3);
    const Object object = MakeObject(table, static_cast<Codec>(round % 3));
    const Program program = MakeRandomProgram(&random).Decode();
    const uint64_t start = object.place.directory_start;
    for (int change = 0; change < 100; ++change) {
      Object changed = object;
      for (uint64_t n = 1 + random() % 4; n > 0; --n) {
        const bool directory = random() % 2 == 0;
        const size_t at = directory ? start + random() % (object.data.size() - start) : random() % start;
        changed.data[at] = static_cast<uint8_t>(random());
      }
      Reseal(&changed.data, start);
      Result result = ResultFor(program);
      Survives(program, changed, {0, -1, -1, random() % 2 * 1000}, &result);
    }
  }
}

TEST(Hostile, RandomCursorsAreRefusedOrAnswered) {
  Random random(13);
  const Table table = RandomTable(&random, 4, 20, 4);
  const Object object = MakeObject(table, Codec::kLz4Frame);
  const Program program = MakeRandomProgram(&random).Decode();
  for (uint64_t round = 0; round < Seeds(3000); ++round) {
    auto cursor = static_cast<int64_t>(random());
    if (round % 2 == 0) cursor = static_cast<int64_t>((random() % 6) << 32 | random() % 24);
    Result result = ResultFor(program);
    if (!Survives(program, object, {cursor, -1, -1, 0}, &result)) continue;
    const int64_t chunk = cursor >> 32;
    int64_t left = -(cursor & 0xFFFFFFFF);
    for (size_t c = static_cast<size_t>(chunk); c < table.chunks.size(); ++c) left += table.chunks[c].events;
    EXPECT_EQ(result.report.events_in, left);
  }
}

}  // namespace
}  // namespace skyhook::test
