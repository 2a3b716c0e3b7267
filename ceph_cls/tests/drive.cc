#include "drive.h"

#include <cstdlib>
#include <map>

namespace skyhook::test {

uint64_t Seeds(uint64_t normally) {
  const char* factor = std::getenv("SKYHOOK_TEST_FACTOR");
  return factor == nullptr ? normally : normally * std::strtoull(factor, nullptr, 10);
}

Result ResultFor(const Program& program, bool rows) {
  std::vector<DType> dtypes;
  std::vector<int> groups;
  std::map<int, int> group_of_axis;
  for (int32_t output : program.outputs) {
    const Node& node = program.nodes[static_cast<size_t>(output)];
    dtypes.push_back(node.dtype);
    if (node.axis < 0) {
      groups.push_back(-1);
    } else {
      groups.push_back(
          group_of_axis.emplace(node.axis, static_cast<int>(group_of_axis.size())).first->second);
    }
  }
  return Result(std::move(dtypes), groups, rows);
}

int64_t ScanOnce(const Program& program, const Object& object, const ScanLimits& limits, Result* result) {
  Scan scan(program, object.place, limits, result);
  Scan::Step step;
  while ((step = scan.Advance()) == Scan::Step::kNeed) {
    for (size_t i = 0; i < scan.needs().size(); ++i) {
      const ByteRange range = scan.needs()[i];
      if (range.start > range.stop || range.stop > object.data.size()) Corrupt("past the end");
      std::memcpy(scan.Place(i), object.data.data() + range.start, range.size());
    }
  }
  return step == Scan::Step::kPaused ? scan.cursor() : -1;
}

Result ScanAll(const Program& program, const Object& object, ScanLimits limits) {
  Result result = ResultFor(program);
  while ((limits.cursor = ScanOnce(program, object, limits, &result)) >= 0) {
  }
  return result;
}

std::vector<int64_t> OffsetsOf(const Result& result, size_t group) {
  std::vector<int64_t> copy(result.groups[group].size() / 8);
  std::memcpy(copy.data(), result.groups[group].data(), copy.size() * 8);
  return copy;
}

std::vector<int64_t> RowsOf(const Result& result) {
  std::vector<int64_t> copy(result.rows.size() / 8);
  if (!copy.empty()) std::memcpy(copy.data(), result.rows.data(), copy.size() * 8);
  return copy;
}

std::vector<uint8_t> ValidOf(const Result& result, size_t output) {
  const ResultColumn& column = result.columns[output];
  std::vector<uint8_t> valid(static_cast<size_t>(column.n()), 1);
  if (column.has_valid && !valid.empty()) std::memcpy(valid.data(), column.valid.data(), valid.size());
  return valid;
}

void ExpectSame(const Result& a, const Result& b) {
  EXPECT_EQ(a.events, b.events);
  EXPECT_EQ(RowsOf(a), RowsOf(b));
  EXPECT_EQ(a.report.events_in, b.report.events_in);
  EXPECT_EQ(a.report.events_out, b.report.events_out);
  EXPECT_EQ(a.report.passed, b.report.passed);
  EXPECT_EQ(a.report.partial, b.report.partial);
  EXPECT_EQ(a.report.chunks, b.report.chunks);
  EXPECT_EQ(a.report.chunks_pruned, b.report.chunks_pruned);
  EXPECT_EQ(a.report.bytes_total, b.report.bytes_total);
  ASSERT_EQ(a.groups.size(), b.groups.size());
  for (size_t g = 0; g < a.groups.size(); ++g) EXPECT_EQ(OffsetsOf(a, g), OffsetsOf(b, g));
  ASSERT_EQ(a.columns.size(), b.columns.size());
  for (size_t i = 0; i < a.columns.size(); ++i) {
    const std::vector<uint8_t> valid = ValidOf(a, i);
    EXPECT_EQ(valid, ValidOf(b, i)) << "output " << i;
    ASSERT_EQ(a.columns[i].n(), b.columns[i].n()) << "output " << i;
    Dispatch(a.columns[i].dtype, [&]<typename Element>(Element*) {
      using T = std::conditional_t<std::is_same_v<Element, bool>, uint8_t, Element>;
      const std::vector<T> left = ValuesOf<T>(a, i), right = ValuesOf<T>(b, i);
      for (size_t k = 0; k < left.size(); ++k) {
        const bool same = left[k] == right[k] || (left[k] != left[k] && right[k] != right[k]);
        if (valid[k] && !same) {
          ADD_FAILURE() << "output " << i << ", value " << k << ": " << +left[k] << " and " << +right[k];
          return;
        }
      }
    });
  }
}

Kind KindOf(const std::function<void()>& f, std::string* message) {
  try {
    f();
  } catch (const Error& error) {
    if (message != nullptr) *message = error.what();
    return error.kind();
  }
  ADD_FAILURE() << "no error was thrown";
  return static_cast<Kind>(-1);
}

}  // namespace skyhook::test
