// Drives scans over objects in memory.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "engine/result.h"
#include "engine/scan.h"
#include "object_maker.h"

namespace skyhook::test {

// Seeds 0 to this are tried by tests of random cases; the environment variable SKYHOOK_TEST_FACTOR
// multiplies it for longer runs.
uint64_t Seeds(uint64_t normally);

// An empty result whose columns fit the program's outputs.
Result ResultFor(const Program& program, bool rows = true);

// One scan until it pauses or is done; returns its cursor, or -1 when done. A range past the object's
// end is kCorruptObject, as in the drivers that read files.
int64_t ScanOnce(const Program& program, const Object& object, const ScanLimits& limits, Result* result);

// Scans until the object is done, going on where each scan paused.
Result ScanAll(const Program& program, const Object& object, ScanLimits limits = {});

// Expects equal columns, lists, rows and counts. NaN equals NaN. Bytes read may differ.
void ExpectSame(const Result& a, const Result& b);

template <typename T>
std::vector<T> ValuesOf(const Result& result, size_t output) {
  const GrowingBuffer& values = result.columns[output].values;
  std::vector<T> copy(values.size() / sizeof(T));
  if (!copy.empty()) std::memcpy(copy.data(), values.data(), values.size());
  return copy;
}
std::vector<int64_t> OffsetsOf(const Result& result, size_t group);
std::vector<int64_t> RowsOf(const Result& result);
std::vector<uint8_t> ValidOf(const Result& result, size_t output);

// The kind of the Error that `f` throws; fails the test if it throws none.
Kind KindOf(const std::function<void()>& f, std::string* message = nullptr);

}  // namespace skyhook::test

#define EXPECT_KIND(kind, statement) \
  EXPECT_EQ(::skyhook::test::KindOf([&] { statement; }), ::skyhook::Kind::kind)
