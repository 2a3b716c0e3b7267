// Programs in memory for tests, encoded as skyhook_casa/program.py does it.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "engine/directory.h"
#include "engine/program.h"

namespace skyhook::test {

template <typename T>
constexpr DType DTypeFor() {
  if constexpr (std::is_same_v<T, bool>) return DType::kBool;
  if constexpr (std::is_same_v<T, int8_t>) return DType::kInt8;
  if constexpr (std::is_same_v<T, uint8_t>) return DType::kUInt8;
  if constexpr (std::is_same_v<T, int16_t>) return DType::kInt16;
  if constexpr (std::is_same_v<T, uint16_t>) return DType::kUInt16;
  if constexpr (std::is_same_v<T, int32_t>) return DType::kInt32;
  if constexpr (std::is_same_v<T, uint32_t>) return DType::kUInt32;
  if constexpr (std::is_same_v<T, int64_t>) return DType::kInt64;
  if constexpr (std::is_same_v<T, uint64_t>) return DType::kUInt64;
  if constexpr (std::is_same_v<T, float>) return DType::kFloat32;
  if constexpr (std::is_same_v<T, double>) return DType::kFloat64;
}

class ProgramMaker {
 public:
  struct RawNode {
    uint16_t op;
    uint8_t dtype;
    int32_t a, b, c;
    uint64_t imm;
  };

  int Column(const std::string& name, DType dtype, bool offsets = false, uint32_t hint = kNoHint) {
    for (size_t i = 0; i < columns.size(); ++i) {
      if (columns[i].name == name) return static_cast<int>(i);
    }
    columns.push_back({name, HashOf(name), hint, dtype, offsets});
    return static_cast<int>(columns.size()) - 1;
  }
  int Add(Op op, DType dtype, int a = -1, int b = -1, int c = -1, uint64_t imm = 0) {
    nodes.push_back({static_cast<uint16_t>(op), static_cast<uint8_t>(dtype), a, b, c, imm});
    return static_cast<int>(nodes.size()) - 1;
  }

  // Axes.
  int List(const std::string& name) {
    return Add(Op::kList, DType::kNone, Column(name + "#", DType::kInt32, true));
  }
  int Empty() { return Add(Op::kEmpty, DType::kNone); }
  int Filter(int axis, int mask) { return Add(Op::kFilter, DType::kNone, axis, mask); }
  int Combinations(int axis, int n) {
    return Add(Op::kCombinations, DType::kNone, axis, -1, -1, static_cast<uint64_t>(n));
  }
  int Cross(int a, int b) { return Add(Op::kCross, DType::kNone, a, b); }

  // Values.
  int LoadOf(const std::string& name, DType dtype, int axis = kEventAxis) {
    return Add(Op::kLoad, dtype, Column(name, dtype), axis);
  }
  template <typename T>
  int Const(T value) {
    uint64_t imm = 0;
    std::memcpy(&imm, &value, sizeof(T));
    return Add(Op::kConst, DTypeFor<T>(), -1, -1, -1, imm);
  }
  int Unary(Op op, int a) { return Add(op, Boolean(op) ? DType::kBool : DTypeOf(a), a); }
  int Binary(Op op, int a, int b) { return Add(op, Boolean(op) ? DType::kBool : DTypeOf(a), a, b); }
  int Reduce(Op op, int a, int onto = kEventAxis) {
    const bool index = op == Op::kArgmin || op == Op::kArgmax || op == Op::kCountNonzero;
    return Add(op, index ? DType::kInt64 : DTypeOf(a), a, onto);
  }
  int Inside(int a, const std::vector<int64_t>& ends) {
    const uint64_t first = table.size();
    table.insert(table.end(), ends.begin(), ends.end());
    return Add(Op::kInside, DType::kBool, a, -1, -1, first | uint64_t{ends.size()} << 32);
  }
  int Same(Op op, int a, int b = -1, int c = -1, uint64_t imm = 0) {
    return Add(op, DTypeOf(a), a, b, c, imm);
  }
  int Cast(int a, DType dtype) { return Add(Op::kCast, dtype, a); }
  int Count(int axis) { return Add(Op::kCount, DType::kInt64, axis); }
  int Where(int c, int a, int b) { return Add(Op::kWhere, DTypeOf(a), c, a, b); }

  DType DTypeOf(int node) const { return static_cast<DType>(nodes[static_cast<size_t>(node)].dtype); }

  std::vector<uint8_t> Encode() const {
    std::vector<uint8_t> bytes;
    const auto put = [&](const auto& value) {
      const auto* from = reinterpret_cast<const uint8_t*>(&value);
      bytes.insert(bytes.end(), from, from + sizeof(value));
    };
    std::string names;
    for (const StoredColumn& column : columns) names += column.name;
    for (char c : {'S', 'K', 'Y', 'P', 'R', 'O', 'G', '1'}) put(c);
    put(uint32_t{table.empty() ? 1u : 2u});
    for (size_t n : {columns.size(), nodes.size(), terms.size(), outputs.size(), names.size()}) {
      put(static_cast<uint32_t>(n));
    }
    if (!table.empty()) put(uint64_t{table.size()});
    for (const StoredColumn& column : columns) {
      put(column.name_hash);
      put(column.hint);
      put(static_cast<uint8_t>(column.dtype));
      put(static_cast<uint8_t>(column.offsets));
      put(static_cast<uint16_t>(column.name.size()));
    }
    for (const RawNode& node : nodes) {
      put(node.op);
      put(node.dtype);
      put(uint8_t{0});
      put(node.a);
      put(node.b);
      put(node.c);
      put(node.imm);
    }
    for (int32_t term : terms) put(term);
    for (int32_t output : outputs) put(output);
    for (int64_t end : table) put(end);
    bytes.insert(bytes.end(), names.begin(), names.end());
    return bytes;
  }
  Program Decode() const { return DecodeProgram(Encode()); }

  static uint64_t HashOf(const std::string& name) {
    return Checksum({reinterpret_cast<const uint8_t*>(name.data()), name.size()});
  }
  static bool Boolean(Op op) {
    return IsComparison(op) || IsLogical(op) || op == Op::kNot || op == Op::kIsFinite || op == Op::kIsNan ||
           op == Op::kIsInf;
  }

  std::vector<StoredColumn> columns;
  std::vector<RawNode> nodes;
  std::vector<int32_t> terms;
  std::vector<int32_t> outputs;
  std::vector<int64_t> table;
};

}  // namespace skyhook::test
