#include "program.h"

#include <algorithm>
#include <string>

#include "directory.h"

namespace skyhook {
namespace {

constexpr size_t kHeaderBytes = 32;
constexpr size_t kTableHeaderBytes = 8;  // after the header, in version 2
constexpr size_t kColumnBytes = 16;
constexpr size_t kNodeBytes = 24;

class Verifier {
 public:
  explicit Verifier(Program* program) : program_(*program) {}

  void Run() {
    for (number_ = 0; number_ < static_cast<int>(program_.nodes.size()); ++number_) {
      Check(program_.nodes[number_]);
    }
    for (int32_t term : program_.terms) {
      if (Root(term).dtype != DType::kBool || Root(term).axis >= 0)
        Invalid("a term of the cut is no truth per event");
    }
    for (int32_t output : program_.outputs) Root(output);
  }

 private:
  [[noreturn]] void Fail(const std::string& why) {
    Invalid("program node " + std::to_string(number_) + " (op " +
            std::to_string(static_cast<int>(program_.nodes[number_].op)) + "): " + why);
  }
  void Require(bool fine, const char* why) {
    if (!fine) Fail(why);
  }
  const Node& Root(int32_t number) {
    if (number < 0 || number >= static_cast<int32_t>(program_.nodes.size()))
      Invalid("no such node to deliver");
    const Node& node = program_.nodes[number];
    if (IsAxis(node.op)) Invalid("an axis cannot be delivered");
    return node;
  }
  const Node& Earlier(int32_t number) {
    Require(number >= 0 && number < number_, "an operand does not stand before it");
    return program_.nodes[number];
  }
  const Node& Axis(int32_t number) {
    const Node& node = Earlier(number);
    Require(IsAxis(node.op), "an operand is no axis");
    return node;
  }
  const Node& Value(int32_t number) {
    const Node& node = Earlier(number);
    Require(!IsAxis(node.op), "an operand is an axis");
    return node;
  }
  const StoredColumn& Column(int32_t number) {
    Require(number >= 0 && number < static_cast<int32_t>(program_.columns.size()), "no such column");
    return program_.columns[number];
  }
  int Common(std::initializer_list<const Node*> operands) {
    int axis = kConstAxis;
    for (const Node* operand : operands) {
      if (operand->axis == kConstAxis) continue;
      Require(axis == kConstAxis || axis == operand->axis, "operands lie on different axes");
      axis = operand->axis;
    }
    return axis;
  }

  // How many of a, b and c the operation reads; of lists and loads, `a` is a column.
  static int Operands(Op op) {
    if (IsUnary(op)) return 1;
    if (IsBinary(op) || IsReduce(op)) return 2;
    switch (op) {
      case Op::kEmpty:
      case Op::kConst:
        return 0;
      case Op::kList:
      case Op::kCombinations:
      case Op::kCast:
      case Op::kCount:
      case Op::kLocalIndex:
      case Op::kPresent:
      case Op::kInside:
        return 1;
      case Op::kWhere:
        return 3;
      default:
        return 2;
    }
  }

  void Check(Node& node) {
    // Whatever walks a program follows every operand that is not -1.
    const int operands = Operands(node.op);
    Require(
        (operands > 0 || node.a == -1) && (operands > 1 || node.b == -1) && (operands > 2 || node.c == -1),
        "an operand that the operation does not have");
    if (IsAxis(node.op)) {
      CheckAxis(node);
    } else if (IsUnary(node.op)) {
      CheckUnary(node);
    } else if (IsBinary(node.op)) {
      CheckBinary(node);
    } else if (IsReduce(node.op)) {
      CheckReduce(node);
    } else {
      CheckOther(node);
    }
  }

  void CheckAxis(Node& node) {
    Require(node.dtype == DType::kNone, "an axis has no dtype");
    node.axis = number_;
    switch (node.op) {
      case Op::kList:
        Require(Column(node.a).offsets, "a list needs a column of offsets");
        break;
      case Op::kFilter: {
        Axis(node.a);
        const Node& mask = Value(node.b);
        Require(mask.dtype == DType::kBool && mask.axis == node.a, "a mask does not fit its axis");
        break;
      }
      case Op::kCombinations:
        Axis(node.a);
        Require(node.imm >= 2 && node.imm <= kCombinationsMax, "combinations of too few or too many");
        break;
      case Op::kCross:
        Axis(node.a);
        Axis(node.b);
        break;
      default:
        break;
    }
  }

  void CheckUnary(Node& node) {
    const Node& x = Value(node.a);
    node.axis = x.axis;
    switch (node.op) {
      case Op::kNot:
        Require(x.dtype == DType::kBool && node.dtype == DType::kBool, "not takes bool");
        break;
      case Op::kIsFinite:
      case Op::kIsNan:
      case Op::kIsInf:
        Require(node.dtype == DType::kBool, "is… gives bool");
        break;
      case Op::kNeg:
      case Op::kAbs:
      case Op::kSign:
        Require(x.dtype == node.dtype && x.dtype != DType::kBool, "dtypes do not fit");
        break;
      case Op::kInvert:
        Require(x.dtype == node.dtype && !IsFloat(x.dtype) && x.dtype != DType::kBool,
                "invert takes integers");
        break;
      default:
        Require(x.dtype == node.dtype && IsFloat(x.dtype), "the function takes float32 or float64");
    }
    node.optional = x.optional && node.op != Op::kNot;
  }

  void CheckBinary(Node& node) {
    const Node &a = Value(node.a), &b = Value(node.b);
    Require(a.dtype == b.dtype, "operands differ in dtype");
    node.axis = Common({&a, &b});
    const bool boolean = IsComparison(node.op) || IsLogical(node.op);
    Require(node.dtype == (boolean ? DType::kBool : a.dtype), "dtypes do not fit");
    node.optional = (a.optional || b.optional) && !boolean;
    if (IsComparison(node.op)) return;
    if (IsLogical(node.op)) {
      Require(a.dtype == DType::kBool, "logic takes bool");
    } else if (node.op >= Op::kBitAnd) {
      Require(!IsFloat(a.dtype) && a.dtype != DType::kBool, "bit operations take integers");
    } else if (node.op == Op::kDiv || node.op == Op::kAtan2 || node.op == Op::kHypot) {
      Require(IsFloat(a.dtype), "the function takes float32 or float64");
    } else {
      Require(a.dtype != DType::kBool, "arithmetic on bool");
    }
  }

  void CheckReduce(Node& node) {
    const Node& x = Value(node.a);
    Require(x.axis >= 0, "a reduction takes a list");
    node.axis = node.b;
    if (node.b != kEventAxis) {
      const Node& lists = program_.nodes[x.axis];
      Require(lists.op == Op::kCross && lists.a == node.b, "only a cross is reduced to its first part");
    }
    switch (node.op) {
      case Op::kAny:
      case Op::kAll:
        Require(x.dtype == DType::kBool && node.dtype == DType::kBool, "any and all take bool");
        break;
      case Op::kCountNonzero:
        Require(x.dtype == DType::kBool && node.dtype == DType::kInt64, "count_nonzero takes bool");
        break;
      case Op::kArgmin:
      case Op::kArgmax:
        Require(node.dtype == DType::kInt64, "an index is int64");
        node.optional = true;
        break;
      case Op::kMin:
      case Op::kMax:
        Require(x.dtype == node.dtype, "dtypes do not fit");
        node.optional = true;
        break;
      default:
        Require(x.dtype == node.dtype && x.dtype != DType::kBool, "dtypes do not fit");
    }
  }

  void CheckOther(Node& node) {
    Require(node.dtype != DType::kNone, "a value needs a dtype");
    switch (node.op) {
      case Op::kLoad: {
        const StoredColumn& column = Column(node.a);
        Require(!column.offsets && column.dtype == node.dtype, "a column does not fit its dtype");
        if (node.b >= 0) {
          Require(Axis(node.b).op == Op::kList, "a column lies on a stored list");
          node.axis = node.b;
        } else {
          Require(node.b == kEventAxis, "a column lies on no axis");
          node.axis = kEventAxis;
        }
        return;
      }
      case Op::kConst:
        node.axis = kConstAxis;
        if (node.dtype == DType::kBool) node.imm = (node.imm & 0xFF) != 0;
        return;
      case Op::kCast: {
        const Node& x = Value(node.a);
        node.axis = x.axis;
        node.optional = x.optional;
        return;
      }
      case Op::kCount:
        Axis(node.a);
        Require(node.dtype == DType::kInt64, "a count is int64");
        node.axis = kEventAxis;
        return;
      case Op::kPick: {
        const Node& axis = Axis(node.a);
        const Node& i = Value(node.b);
        const bool slot = node.imm < (axis.op == Op::kCombinations ? axis.imm
                                      : axis.op == Op::kCross      ? 2
                                                                   : 0);
        Require(slot && i.axis < 0 && i.dtype == DType::kInt64 && node.dtype == DType::kInt64,
                "pick does not fit");
        node.axis = kEventAxis;
        node.optional = true;
        return;
      }
      case Op::kLocalIndex:
        Axis(node.a);
        Require(node.dtype == DType::kInt64, "an index is int64");
        node.axis = node.a;
        return;
      case Op::kSpread: {
        const Node& x = Value(node.a);
        Require(x.axis < 0 && x.dtype == node.dtype, "only a value per event can be spread");
        if (node.b >= 0) {
          Axis(node.b);
        } else {
          Require(node.b == kEventAxis, "spread over no axis");
        }
        node.axis = node.b;
        node.optional = x.optional;
        return;
      }
      case Op::kTake: {
        const Node& x = Value(node.a);
        const Node& axis = Axis(node.b);
        Require(axis.op == Op::kFilter && x.axis == axis.a && x.dtype == node.dtype,
                "take does not fit its filter");
        node.axis = node.b;
        node.optional = x.optional;
        return;
      }
      case Op::kComponent: {
        const Node& x = Value(node.a);
        const Node& axis = Axis(node.b);
        const bool comb = axis.op == Op::kCombinations && node.imm < axis.imm && x.axis == axis.a;
        const bool cross =
            axis.op == Op::kCross && node.imm < 2 && x.axis == (node.imm == 0 ? axis.a : axis.b);
        Require((comb || cross) && x.dtype == node.dtype, "a component does not fit its axis");
        node.axis = node.b;
        node.optional = x.optional;
        return;
      }
      case Op::kComponentSum: {
        const Node& x = Value(node.a);
        const Node& axis = Axis(node.b);
        Require(axis.op == Op::kCombinations && x.axis == axis.a && x.dtype == node.dtype &&
                    IsFloat(x.dtype) && !x.optional,
                "a sum of components does not fit its axis");
        node.axis = node.b;
        return;
      }
      case Op::kIndex: {
        const Node &x = Value(node.a), &i = Value(node.b);
        Require(x.axis >= 0 && i.axis < 0 && i.dtype == DType::kInt64 && x.dtype == node.dtype,
                "index does not fit");
        node.axis = kEventAxis;
        node.optional = true;
        return;
      }
      case Op::kAlign: {
        const Node& x = Value(node.a);
        Axis(node.b);
        Require(x.axis >= 0 && x.dtype == node.dtype, "only a list can be aligned");
        node.axis = node.b;
        node.optional = x.optional;
        return;
      }
      case Op::kRemap: {
        const Node& x = Value(node.a);
        Require(Axis(node.b).op == Op::kFilter && x.dtype == node.dtype && !IsFloat(x.dtype) &&
                    x.dtype != DType::kBool && x.axis != kConstAxis,
                "only indices can be mapped");
        node.axis = x.axis;
        node.optional = x.optional;
        return;
      }
      case Op::kWhere: {
        const Node &c = Value(node.a), &a = Value(node.b), &b = Value(node.c);
        Require(c.dtype == DType::kBool && a.dtype == node.dtype && b.dtype == node.dtype,
                "where: dtypes do not fit");
        node.axis = Common({&c, &a, &b});
        node.optional = a.optional || b.optional;
        return;
      }
      case Op::kFill: {
        const Node &x = Value(node.a), &fill = Value(node.b);
        Require(fill.axis == kConstAxis && x.dtype == node.dtype && fill.dtype == node.dtype,
                "fill does not fit");
        node.axis = x.axis;
        return;
      }
      case Op::kInside: {
        const Node& x = Value(node.a);
        Require(x.dtype == DType::kInt64 && node.dtype == DType::kBool, "inside takes int64 and gives bool");
        const uint64_t first = node.imm & 0xFFFFFFFF, count = node.imm >> 32;
        Require(count > 0 && first + count <= program_.table.size(), "a table is out of range");
        table_used_ += count;
        Require(table_used_ <= program_.table.size(), "parts of the table are used twice");
        for (uint64_t i = first + 1; i < first + count; ++i) {
          Require(program_.table[i - 1] < program_.table[i], "a table does not rise");
        }
        node.axis = x.axis;
        return;
      }
      case Op::kPresent:
        Require(node.dtype == DType::kBool, "present gives bool");
        node.axis = Value(node.a).axis;
        return;
      default:
        Fail("no such operation");
    }
  }

  Program& program_;
  int number_ = 0;
  uint64_t table_used_ = 0;
};

// Two columns of one name would each be given the memory for one.
void CheckDistinct(const std::vector<StoredColumn>& columns) {
  std::vector<uint64_t> hashes;
  for (const StoredColumn& column : columns) hashes.push_back(column.name_hash);
  std::sort(hashes.begin(), hashes.end());
  if (std::adjacent_find(hashes.begin(), hashes.end()) != hashes.end()) Invalid("a column is named twice");
}

}  // namespace

bool Program::Inside(const Node& node, int64_t x) const {
  const auto first = table.begin() + static_cast<int64_t>(node.imm & 0xFFFFFFFF);
  const auto end = first + static_cast<int64_t>(node.imm >> 32);
  return (std::upper_bound(first, end, x) - first) % 2 == 1;
}

std::vector<int> Program::ColumnsOf(const std::vector<int32_t>& roots) const {
  std::vector<bool> wanted(nodes.size(), false);
  for (int32_t root : roots) wanted[root] = true;
  std::vector<int> found;
  for (int i = static_cast<int>(nodes.size()) - 1; i >= 0; --i) {
    if (!wanted[i]) continue;
    const Node& node = nodes[i];
    const bool source = node.op == Op::kLoad || node.op == Op::kList;
    if (source) found.push_back(node.a);
    if (!source && node.a >= 0) wanted[node.a] = true;
    if (node.b >= 0) wanted[node.b] = true;
    if (node.c >= 0) wanted[node.c] = true;
  }
  std::sort(found.begin(), found.end());
  found.erase(std::unique(found.begin(), found.end()), found.end());
  return found;
}

Program DecodeProgram(Bytes data) {
  if (data.size() < kHeaderBytes || std::memcmp(data.data(), "SKYPROG1", 8) != 0)
    Invalid("this is no engine program");
  const auto field = [&](int i) { return Load<uint32_t>(data.data() + 8 + 4 * i); };
  if (field(0) != 1 && field(0) != 2) {
    Invalid("program version " + std::to_string(field(0)) + "; this engine reads versions 1 and 2");
  }
  const size_t header_bytes = kHeaderBytes + (field(0) == 2 ? kTableHeaderBytes : 0);
  if (data.size() < header_bytes) Invalid("this is no engine program");
  const uint32_t n_columns = field(1), n_nodes = field(2), n_terms = field(3), n_outputs = field(4);
  const uint64_t names_bytes = field(5);
  const uint64_t n_table = field(0) == 2 ? Load<uint64_t>(data.data() + kHeaderBytes) : 0;
  if (n_columns > kColumnsMax || n_table > kTableMax || n_nodes > kNodesMax || n_terms > kNodesMax ||
      n_outputs > kColumnsMax) {
    Invalid("the program passes a limit");
  }
  const uint64_t size = header_bytes + uint64_t{n_columns} * kColumnBytes + uint64_t{n_nodes} * kNodeBytes +
                        4 * (uint64_t{n_terms} + n_outputs) + 8 * n_table + names_bytes;
  if (data.size() != size) Invalid("the program's length contradicts its header");

  Program program;
  const uint8_t* at = data.data() + header_bytes;
  const char* name = reinterpret_cast<const char*>(data.data() + size - names_bytes);
  const char* names_end = reinterpret_cast<const char*>(data.data() + size);
  for (uint32_t i = 0; i < n_columns; ++i, at += kColumnBytes) {
    StoredColumn column;
    column.name_hash = Load<uint64_t>(at);
    column.hint = Load<uint32_t>(at + 8);
    if (at[12] >= kDTypes || at[13] > 1) Invalid("a column has an unknown dtype");
    column.dtype = static_cast<DType>(at[12]);
    column.offsets = at[13] == 1;
    if (column.offsets && column.dtype != DType::kInt32) Invalid("offsets are int32");
    const uint16_t length = Load<uint16_t>(at + 14);
    if (length > names_end - name) Invalid("a column's name is cut short");
    column.name.assign(name, length);
    name += length;
    if (Checksum({reinterpret_cast<const uint8_t*>(column.name.data()), length}) != column.name_hash) {
      Invalid("a column's hash is not that of its name");
    }
    program.columns.push_back(std::move(column));
  }
  if (name != names_end) Invalid("the program's names are longer than its columns say");
  CheckDistinct(program.columns);
  for (uint32_t i = 0; i < n_nodes; ++i, at += kNodeBytes) {
    if (at[2] >= kDTypes && at[2] != 255) Invalid("a node has an unknown dtype");
    program.nodes.push_back({static_cast<Op>(Load<uint16_t>(at)), static_cast<DType>(at[2]),
                             Load<int32_t>(at + 4), Load<int32_t>(at + 8), Load<int32_t>(at + 12),
                             Load<uint64_t>(at + 16)});
  }
  for (uint32_t i = 0; i < n_terms; ++i, at += 4) program.terms.push_back(Load<int32_t>(at));
  for (uint32_t i = 0; i < n_outputs; ++i, at += 4) program.outputs.push_back(Load<int32_t>(at));
  for (uint64_t i = 0; i < n_table; ++i, at += 8) program.table.push_back(Load<int64_t>(at));
  Verifier(&program).Run();
  return program;
}

}  // namespace skyhook
