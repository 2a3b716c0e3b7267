#include "bounds.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

namespace skyhook {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr Bounds kFalse{0, 0};
constexpr Bounds kTrue{1, 1};
constexpr Bounds kEither{0, 1};

Bounds Anything(DType dtype) {
  if (dtype == DType::kBool) return kEither;
  return {-kInfinity, kInfinity, true};
}

// The range of a dtype's values; arithmetic that leaves it may wrap around to anything.
Bounds Range(DType dtype) {
  switch (dtype) {
    case DType::kInt8:
      return {-128.0, 127.0};
    case DType::kUInt8:
      return {0, 255.0};
    case DType::kInt16:
      return {-32768.0, 32767.0};
    case DType::kUInt16:
      return {0, 65535.0};
    case DType::kInt32:
      return {-2147483648.0, 2147483647.0};
    case DType::kUInt32:
      return {0, 4294967295.0};
    case DType::kInt64:
      return {-9223372036854775808.0, 9223372036854775808.0};
    case DType::kUInt64:
      return {0, 18446744073709551616.0};
    default:
      return {-kInfinity, kInfinity};
  }
}

double Down(double x) { return std::nextafter(x, -kInfinity); }
double Up(double x) { return std::nextafter(x, kInfinity); }

Bounds FromBits(DType dtype, uint64_t low, uint64_t high) {
  if (IsFloat(dtype)) return {std::bit_cast<double>(low), std::bit_cast<double>(high)};
  // 64-bit integers are rounded outwards, since a double may not hold them.
  if (IsUnsigned(dtype)) return {Down(static_cast<double>(low)), Up(static_cast<double>(high))};
  return {Down(static_cast<double>(static_cast<int64_t>(low))),
          Up(static_cast<double>(static_cast<int64_t>(high)))};
}

Bounds Constant(const Node& node) {
  return Dispatch(node.dtype, [&]<typename T>(T*) -> Bounds {
    T value;
    std::memcpy(&value, &node.imm, sizeof(T));
    if constexpr (std::is_floating_point_v<T>) {
      if (std::isnan(value)) return {kInfinity, -kInfinity, true};
      return {static_cast<double>(value), static_cast<double>(value)};
    } else if constexpr (std::is_same_v<T, bool>) {
      return value ? kTrue : kFalse;
    } else {
      return {Down(static_cast<double>(value)), Up(static_cast<double>(value))};
    }
  });
}

class Judge {
 public:
  Judge(const Program& program, const std::vector<const ColumnRow*>& rows, uint32_t chunk)
      : program_(program), rows_(rows), chunk_(chunk), bounds_(program.nodes.size()) {}

  std::vector<Verdict> Run() {
    for (size_t i = 0; i < program_.nodes.size(); ++i)
      bounds_[i] = Known(Of(program_.nodes[i]), program_.nodes[i].dtype);
    std::vector<Verdict> verdicts;
    for (int32_t term : program_.terms) {
      const Bounds& b = bounds_[static_cast<size_t>(term)];
      const bool missing = program_.nodes[static_cast<size_t>(term)].optional;
      verdicts.push_back(!b.may_true()              ? Verdict::kNever
                         : b.may_false() || missing ? Verdict::kSometimes
                                                    : Verdict::kAlways);
    }
    return verdicts;
  }

 private:
  const Bounds& At(int32_t number) const { return bounds_[static_cast<size_t>(number)]; }
  const Node& NodeAt(int32_t number) const { return program_.nodes[static_cast<size_t>(number)]; }

  // The difference of two infinities says nothing.
  static Bounds Known(const Bounds& b, DType dtype) {
    return std::isnan(b.low) || std::isnan(b.high) ? Anything(dtype) : b;
  }

  // An axis stands for the lengths of its lists.
  Bounds Of(const Node& node) const {
    if (IsAxis(node.op)) return Lengths(node);
    if (IsComparison(node.op)) return Comparison(node);
    if (IsReduce(node.op)) return Reduction(node);
    switch (node.op) {
      case Op::kLoad:
        return Stored(node.a);
      case Op::kConst:
        return Constant(node);
      case Op::kCast:
        return Cast(node);
      case Op::kCount:
        return At(node.a);
      case Op::kSpread:
      case Op::kTake:
      case Op::kComponent:
      case Op::kIndex:
      case Op::kAlign:
        return At(node.a);
      case Op::kLocalIndex:
        return {0, std::max(0.0, At(node.a).high)};
      case Op::kWhere:
        return Union(At(node.b), At(node.c));
      case Op::kFill:
        return Union(At(node.a), At(node.b));
      case Op::kNot:
        return NodeAt(node.a).optional ? kEither : Bounds{1 - At(node.a).high, 1 - At(node.a).low};
      case Op::kAnd: {
        const Bounds &a = Logical(node.a), &b = Logical(node.b);
        return {std::min(a.low, b.low), std::min(a.high, b.high)};
      }
      case Op::kOr: {
        const Bounds &a = Logical(node.a), &b = Logical(node.b);
        return {std::max(a.low, b.low), std::max(a.high, b.high)};
      }
      case Op::kNeg:
        if (IsUnsigned(node.dtype)) return Anything(node.dtype);
        return Fit(node.dtype, {-At(node.a).high, -At(node.a).low, At(node.a).may_nan});
      case Op::kAbs:
        return Absolute(node);
      case Op::kAdd:
        return Sum(node.dtype, At(node.a), At(node.b));
      case Op::kSub:
        return Sum(node.dtype, At(node.a), {-At(node.b).high, -At(node.b).low, At(node.b).may_nan});
      case Op::kMul:
        return Product(node);
      case Op::kMinimum:
      case Op::kMaximum:
        return Union(At(node.a), At(node.b));
      case Op::kInside:
        return Inside(node);
      default:
        return Anything(node.dtype);
    }
  }

  // A truth whose value may be missing may be false.
  Bounds Logical(int32_t number) const {
    Bounds b = At(number);
    if (NodeAt(number).optional) b.low = 0;
    return b;
  }

  Bounds Stored(int32_t column) const {
    const ColumnRow* row = rows_[static_cast<size_t>(column)];
    if (row == nullptr) return Anything(program_.columns[static_cast<size_t>(column)].dtype);
    const ChunkEntry& entry = row->chunks[chunk_];
    const bool only_nan = IsFloat(row->dtype) && entry.has_nan();
    Bounds b{kInfinity, -kInfinity};
    if (!entry.has_bounds()) {
      if (entry.n_values > 0 && !only_nan) return Anything(row->dtype);
      if (row->dtype == DType::kBool) b = kFalse;
    } else if (row->dtype == DType::kBool) {
      b = {entry.min_bits != 0 ? 1.0 : 0.0, entry.max_bits != 0 ? 1.0 : 0.0};
    } else {
      b = FromBits(row->dtype, entry.min_bits, entry.max_bits);
    }
    b.may_nan = entry.has_nan();
    return b;
  }

  Bounds Lengths(const Node& node) const {
    switch (node.op) {
      case Op::kList: {
        const ColumnRow* row = rows_[static_cast<size_t>(node.a)];
        if (row == nullptr || !row->chunks[chunk_].has_bounds()) return {0, kInfinity};
        const ChunkEntry& entry = row->chunks[chunk_];
        return {static_cast<double>(entry.min_bits), static_cast<double>(entry.max_bits)};
      }
      case Op::kEmpty:
        return {0, 0};
      case Op::kFilter:
        return {0, Logical(node.b).may_true() ? At(node.a).high : 0};
      case Op::kCombinations: {
        const double longest = At(node.a).high, n = static_cast<double>(node.imm);
        return {0, longest < n ? 0 : kInfinity};
      }
      default:
        return {0, At(node.a).high > 0 && At(node.b).high > 0 ? kInfinity : 0};
    }
  }

  Bounds Cast(const Node& node) const {
    Bounds b = At(node.a);
    const DType from = NodeAt(node.a).dtype;
    if (node.dtype == DType::kBool) return kEither;
    if (IsFloat(node.dtype)) {
      if (node.dtype == DType::kFloat32 && from != DType::kBool) return Widen(DType::kFloat32, b);
      return b;
    }
    if (IsFloat(from)) return Anything(node.dtype);
    return Fit(node.dtype, b);
  }

  Bounds Comparison(const Node& node) const {
    const Bounds &a = At(node.a), &b = At(node.b);
    const bool missing = NodeAt(node.a).optional || NodeAt(node.b).optional;
    const bool unsure = missing || a.may_nan || b.may_nan;
    // Ranges of nothing but NaN are empty: low > high.
    const bool empty = a.low > a.high || b.low > b.high;
    bool may_true = false, may_false = false;
    switch (node.op) {
      case Op::kLt:
        may_true = a.low < b.high;
        may_false = a.high >= b.low;
        break;
      case Op::kLe:
        may_true = a.low <= b.high;
        may_false = a.high > b.low;
        break;
      case Op::kGt:
        may_true = a.high > b.low;
        may_false = a.low <= b.high;
        break;
      case Op::kGe:
        may_true = a.high >= b.low;
        may_false = a.low < b.high;
        break;
      default: {
        const bool overlap = a.low <= b.high && b.low <= a.high;
        const bool same = a.low == a.high && b.low == b.high && a.low == b.low;
        may_true = node.op == Op::kEq ? overlap : !same || unsure;
        may_false = node.op == Op::kEq ? !same : overlap;
        break;
      }
    }
    if (empty) may_true = node.op == Op::kNe;
    return {may_false || unsure || empty ? 0.0 : 1.0, may_true ? 1.0 : 0.0};
  }

  Bounds Reduction(const Node& node) const {
    const Bounds& x = At(node.a);
    const Node& lists = NodeAt(NodeAt(node.a).axis);
    const Bounds& length = node.b >= 0 ? At(lists.b) : At(lists.axis);
    const bool truth = Logical(node.a).may_true() && length.high > 0;
    switch (node.op) {
      case Op::kAny:
        return truth ? kEither : kFalse;
      case Op::kAll:
        return {0, length.low <= 0 || x.may_true() || NodeAt(node.a).optional ? 1.0 : 0.0};
      case Op::kCountNonzero:
        return {0, truth ? length.high : 0};
      case Op::kMin:
      case Op::kMax:
        // A list of nothing but NaN gives an infinity.
        return x.may_nan || NodeAt(node.a).optional ? Anything(node.dtype) : x;
      default:
        return Anything(node.dtype);
    }
  }

  // Whether a range of integers lies in one range of a table, in one gap, or over an end.
  Bounds Inside(const Node& node) const {
    const Bounds& x = At(node.a);
    constexpr double exact = 0x1p53;
    const double low = std::ceil(x.low), high = std::floor(x.high);
    const bool missing = NodeAt(node.a).optional;
    if (!(low <= high)) return missing ? kFalse : kEither;
    if (low < -exact || high > exact) return kEither;
    const auto first = program_.table.begin() + static_cast<int64_t>(node.imm & 0xFFFFFFFF);
    const auto end = first + static_cast<int64_t>(node.imm >> 32);
    const auto place = std::upper_bound(first, end, static_cast<int64_t>(low));
    if (place != std::upper_bound(first, end, static_cast<int64_t>(high))) return kEither;
    return (place - first) % 2 == 0 ? kFalse : missing ? kEither : kTrue;
  }

  Bounds Absolute(const Node& node) const {
    const Bounds& x = At(node.a);
    if (x.low > x.high) return x;
    const double most = std::max(std::fabs(x.low), std::fabs(x.high));
    const double least = x.low > 0 ? x.low : x.high < 0 ? -x.high : 0;
    return Fit(node.dtype, {least, most, x.may_nan});
  }

  Bounds Sum(DType dtype, const Bounds& a, const Bounds& b) const {
    return Widen(dtype, {a.low + b.low, a.high + b.high, a.may_nan || b.may_nan});
  }

  Bounds Product(const Node& node) const {
    const Bounds &a = At(node.a), &b = At(node.b);
    const double corners[4] = {a.low * b.low, a.low * b.high, a.high * b.low, a.high * b.high};
    for (double corner : corners) {
      if (!std::isfinite(corner)) return Anything(node.dtype);
    }
    return Widen(node.dtype, {*std::min_element(corners, corners + 4),
                              *std::max_element(corners, corners + 4), a.may_nan || b.may_nan});
  }

  // Makes room for the rounding of one operation.
  static Bounds Widen(DType dtype, Bounds b) {
    if (b.low > b.high) return b;
    if (!IsFloat(dtype)) return Fit(dtype, {Down(b.low), Up(b.high), b.may_nan});
    if (!std::isfinite(b.low) || !std::isfinite(b.high)) return Anything(dtype);
    const double step = dtype == DType::kFloat32 ? 0x1p-22 : 0x1p-51;
    const double tiny = dtype == DType::kFloat32 ? 0x1p-148 : 0x1p-1073;
    b.low -= std::fabs(b.low) * step + tiny;
    b.high += std::fabs(b.high) * step + tiny;
    const double limit = dtype == DType::kFloat32 ? 0x1p127 : 0x1p1022;
    if (b.low < -limit || b.high > limit) return Anything(dtype);
    return b;
  }

  static Bounds Fit(DType dtype, Bounds b) {
    if (IsFloat(dtype) || b.low > b.high) return b;
    const Bounds range = Range(dtype);
    // The bounds are a little wider than the integers in them, but by less than 1, or 64-bit.
    if (b.low <= range.low - 1 || b.high >= range.high + 1) return Anything(dtype);
    return b;
  }

  static Bounds Union(const Bounds& a, const Bounds& b) {
    return {std::min(a.low, b.low), std::max(a.high, b.high), a.may_nan || b.may_nan};
  }

  const Program& program_;
  const std::vector<const ColumnRow*>& rows_;
  uint32_t chunk_;
  std::vector<Bounds> bounds_;
};

}  // namespace

std::vector<Verdict> JudgeTerms(const Program& program, const std::vector<const ColumnRow*>& rows,
                                uint32_t chunk) {
  return Judge(program, rows, chunk).Run();
}

}  // namespace skyhook
