#include "engine/result.h"

#include <gtest/gtest.h>

#include "drive.h"

namespace skyhook::test {
namespace {

TEST(GrowingBuffer, KeepsItsBytesAtEverySizeAroundAHugePage) {
  constexpr size_t kHuge = 2u << 20;
  for (size_t size :
       {size_t{0}, size_t{1}, kHuge - 65, kHuge - 64, kHuge - 63, kHuge - 1, kHuge, kHuge + 1, 3 * kHuge}) {
    GrowingBuffer buffer;
    if (size > 0) std::memset(buffer.Extend(size), 7, size);
    std::memset(buffer.Extend(100), 8, 100);
    std::memset(buffer.Extend(2 * kHuge), 9, 2 * kHuge);
    ASSERT_EQ(buffer.size(), size + 100 + 2 * kHuge);
    EXPECT_TRUE(size == 0 || buffer.data()[size - 1] == 7);
    EXPECT_EQ(buffer.data()[size], 8);
    EXPECT_EQ(buffer.data()[size + 100], 9);
    GrowingBuffer moved = std::move(buffer);
    EXPECT_EQ(moved.data()[size + 99], 8);
  }
}

Result TwoColumns() { return Result({DType::kInt32, DType::kFloat64}, {-1, 0}, true); }

// Adds one event with a number and `length` elements.
void AddEvent(Result* result, int32_t number, int32_t length, const uint8_t* valid = nullptr) {
  std::memcpy(result->columns[0].values.Extend(4), &number, 4);
  result->columns[0].AppendValid(valid, 1);
  for (int32_t i = 0; i < length; ++i) {
    const double x = number + i;
    std::memcpy(result->columns[1].values.Extend(8), &x, 8);
  }
  result->columns[1].AppendValid(nullptr, length);
  const int32_t offsets[2] = {5, 5 + length};
  result->AppendLists(0, offsets, 1);
  const int64_t row = number;
  std::memcpy(result->rows.Extend(8), &row, 8);
  ++result->events;
}

TEST(Result, AnotherResultIsAppendedToAll) {
  Result a = TwoColumns(), b = TwoColumns();
  const uint8_t missing = 0;
  AddEvent(&a, 1, 2);
  AddEvent(&b, 2, 0, &missing);
  AddEvent(&b, 3, 1);
  a.report.passed = {1};
  b.report.passed = {2, 5};
  b.report.SetPartial(0);

  a.Append(b);

  EXPECT_EQ(a.events, 3);
  EXPECT_EQ(ValuesOf<int32_t>(a, 0), (std::vector<int32_t>{1, 2, 3}));
  EXPECT_EQ(ValidOf(a, 0), (std::vector<uint8_t>{1, 0, 1}));
  EXPECT_EQ(ValuesOf<double>(a, 1), (std::vector<double>{1, 2, 3}));
  EXPECT_EQ(OffsetsOf(a, 0), (std::vector<int64_t>{0, 2, 2, 3}));
  EXPECT_EQ(RowsOf(a), (std::vector<int64_t>{1, 2, 3}));
  EXPECT_EQ(a.report.passed, (std::vector<int64_t>{3, 5}));
  EXPECT_TRUE(a.report.IsPartial(0));
  EXPECT_FALSE(a.report.IsPartial(1));
}

TEST(Result, OnlyEqualColumnsAreJoined) {
  Result a = TwoColumns(), other({DType::kInt32, DType::kFloat32}, {-1, 0}, true),
         rowless({DType::kInt32, DType::kFloat64}, {-1, 0}, false);
  EXPECT_KIND(kInvalidRequest, a.Append(other));
  EXPECT_KIND(kInvalidRequest, a.Append(rowless));
  EXPECT_KIND(kInvalidRequest, a.Append(a));
}

TEST(Result, GroupsMustBeInRange) {
  EXPECT_KIND(kInvalidRequest, Result({DType::kInt32}, {-2}, false));
  EXPECT_KIND(kInvalidRequest, Result({DType::kInt32}, {2}, false));
  EXPECT_KIND(kInvalidRequest, Result({DType::kInt32}, {}, false));
}

}  // namespace
}  // namespace skyhook::test
