#include "engine/selection.h"

#include <gtest/gtest.h>

#include <numeric>

#include "drive.h"
#include "random_program.h"

namespace skyhook::test {
namespace {

constexpr size_t kHeaderBytes = 16;

std::vector<uint8_t> Encoded(const std::vector<int64_t>& events) {
  return Selection::Encode(events.data(), events.size());
}

std::vector<int64_t> Range(int64_t begin, int64_t end) {
  std::vector<int64_t> events(static_cast<size_t>(end - begin));
  std::iota(events.begin(), events.end(), begin);
  return events;
}

// A selection over `span` events from 0 on, in form 0 (runs) or 1 (bits).
std::vector<uint8_t> Coded(uint32_t span, uint32_t form, std::initializer_list<uint8_t> data) {
  std::vector<uint8_t> coded(8, 0);
  for (const uint32_t field : {span, form}) {
    for (int shift = 0; shift < 32; shift += 8) coded.push_back(static_cast<uint8_t>(field >> shift));
  }
  coded.insert(coded.end(), data);
  return coded;
}

TEST(Selection, HasTheEventsThatWereEncoded) {
  Random random(1);
  for (int round = 0; round < 300; ++round) {
    std::vector<int64_t> events;
    const uint64_t span = random() % 400, one_in = 1 + random() % 9, run = 1 + random() % 70;
    int64_t event = static_cast<int64_t>(random() % 1000);
    for (uint64_t i = 0; i < span; ++i, ++event) {
      if ((event / static_cast<int64_t>(run) + static_cast<int64_t>(random() % one_in)) % 2 == 0)
        events.push_back(event);
    }
    const Selection selection(Encoded(events));
    EXPECT_EQ(selection.Events(), events);
    EXPECT_EQ(selection.count(), static_cast<int64_t>(events.size()));
    const auto begin = static_cast<int64_t>(random() % 1400),
               end = begin + static_cast<int64_t>(random() % 200);
    std::vector<int64_t> expected, found;
    for (int64_t one : events) {
      if (begin <= one && one < end) expected.push_back(one);
    }
    selection.ForEach(begin, end, [&](int64_t one) { found.push_back(one); });
    EXPECT_EQ(found, expected);
    EXPECT_EQ(selection.Any(begin, end), !expected.empty());
  }
}

TEST(Selection, IsAsShortAsItsRunsOrItsBits) {
  EXPECT_EQ(Encoded({}).size(), kHeaderBytes);
  EXPECT_EQ(Encoded(Range(5, 100'000)).size(), kHeaderBytes + 4);
  std::vector<int64_t> every_other;
  for (int64_t event = 0; event < 8'000; event += 2) every_other.push_back(event);
  EXPECT_EQ(Encoded(every_other).size(), kHeaderBytes + 1'000);
}

TEST(Selection, ReachesOverAsManyEventsAsAllowedAndNoFurther) {
  EXPECT_EQ(Selection(Encoded({7, 7 + kSelectionEventsMax - 1})).count(), 2);
  EXPECT_TRUE(Encoded({7, 7 + kSelectionEventsMax}).empty());
  const auto most = static_cast<uint32_t>(kSelectionEventsMax);
  EXPECT_EQ(Selection(Coded(most, 0, {0, 1})).count(), 1);
  EXPECT_KIND(kInvalidRequest, Selection(Coded(most + 1, 0, {0, 1})));
}

TEST(Selection, RefusesEventsThatDoNotRise) {
  EXPECT_KIND(kInvalidRequest, Encoded({3, 3}));
  EXPECT_KIND(kInvalidRequest, Encoded({4, 3}));
  EXPECT_KIND(kInvalidRequest, Encoded({-1, 3}));
}

TEST(Selection, RefusesWhatIsMalformed) {
  EXPECT_EQ(Selection(Coded(10, 0, {2, 3, 1, 4})).Events(), (std::vector<int64_t>{2, 3, 4, 6, 7, 8, 9}));
  EXPECT_EQ(Selection(Coded(10, 1, {0x81, 0x02})).Events(), (std::vector<int64_t>{0, 7, 9}));
  for (const std::vector<uint8_t>& wrong : {
           Coded(10, 0, {2, 3, 1, 5}),                    // past the span
           Coded(10, 0, {2, 0}),                          // an empty run
           Coded(10, 0, {2, 3, 0, 1}),                    // two runs that are one
           Coded(10, 0, {2}),                             // cut short
           Coded(10, 0, {0x82}),                          // in a number
           Coded(10, 0, {0x80, 0x80, 0x80, 0x80, 0, 1}),  // a number too long
           Coded(10, 1, {0x81}),                          // too few bits
           Coded(10, 1, {0x81, 0x02, 0}),                 // too many
           Coded(10, 1, {0x81, 0x04}),                    // past the span
           Coded(10, 2, {0x81, 0x02}),                    // of no form
       }) {
    EXPECT_KIND(kInvalidRequest, Selection{wrong});
  }
  std::vector<uint8_t> far = Coded(10, 0, {2, 3});
  far[7] = 0x80;
  EXPECT_KIND(kInvalidRequest, Selection{far});
  EXPECT_KIND(kInvalidRequest, Selection(Bytes(far).first(15)));
}

}  // namespace
}  // namespace skyhook::test
