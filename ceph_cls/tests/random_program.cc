#include "random_program.h"

#include <cmath>
#include <limits>

#include "engine/kernels.h"

namespace skyhook::test {

const char* const kDTypeNames[kDTypes] = {"bool",   "int8",  "uint8",  "int16",   "uint16", "int32",
                                          "uint32", "int64", "uint64", "float32", "float64"};

namespace {

enum class Mode { kSame, kClose, kWide, kExtreme, kNan, kModes };

template <typename T>
T Extreme(Random& random) {
  using Limits = std::numeric_limits<T>;
  if constexpr (std::is_floating_point_v<T>) {
    const T all[] = {Limits::quiet_NaN(), Limits::infinity(), -Limits::infinity(),  T(0),          -T(0),
                     Limits::max(),       Limits::lowest(),   Limits::denorm_min(), Limits::min(), T(1)};
    return all[random() % 10];
  } else {
    const T all[] = {Limits::min(), Limits::max(),      T(0),
                     T(1),          static_cast<T>(-1), static_cast<T>(Limits::max() - 1)};
    return all[random() % 6];
  }
}

template <typename T>
std::vector<T> RandomValues(Random& random, size_t n) {
  const Mode mode = static_cast<Mode>(random() % static_cast<uint64_t>(Mode::kModes));
  const int centre = static_cast<int>(random() % 21) - 10;
  const auto one = [&]() -> T {
    const int near = centre + static_cast<int>(random() % 4);
    switch (mode) {
      case Mode::kSame:
        return static_cast<T>(centre);
      case Mode::kClose:
        if constexpr (std::is_floating_point_v<T>)
          return static_cast<T>(near + static_cast<T>(random() % 8) / 8);
        return static_cast<T>(near);
      case Mode::kWide:
        if constexpr (std::is_floating_point_v<T>) {
          return static_cast<T>(std::ldexp(static_cast<double>(static_cast<int64_t>(random())), -58));
        }
        return static_cast<T>(random());
      case Mode::kExtreme:
        return Extreme<T>(random);
      default:
        if constexpr (std::is_floating_point_v<T>) {
          if (centre < 0 || random() % 3 == 0) return std::numeric_limits<T>::quiet_NaN();
        }
        return static_cast<T>(near);
    }
  };
  std::vector<T> values(n);
  for (size_t i = 0; i < n; ++i) values[i] = one();
  return values;
}

}  // namespace

Table RandomTable(Random* random, int n_chunks, uint32_t events_max, int length_max) {
  Table table;
  std::vector<int> lists;
  for (const char* list : {"A", "B", "T"}) lists.push_back(table.List(list));
  for (int d = 0; d < kDTypes; ++d) {
    const DType dtype = static_cast<DType>(d);
    table.Event(std::string("e_") + kDTypeNames[d], dtype);
    table.Element(std::string("A_") + kDTypeNames[d], dtype, lists[0]);
    table.Element(std::string("B_") + kDTypeNames[d], dtype, lists[1]);
    table.Element(std::string("T_") + kDTypeNames[d], dtype, lists[2]);
  }
  for (int c = 0; c < n_chunks; ++c) {
    ChunkData chunk;
    chunk.events = 1 + static_cast<uint32_t>((*random)() % events_max);
    std::vector<std::vector<int32_t>> offsets;
    for (int list = 0; list < 3; ++list) {
      const int most = static_cast<int>((*random)() % static_cast<uint64_t>(length_max + 1));
      std::vector<int32_t> of_list{0};
      for (uint32_t i = 0; i < chunk.events; ++i) {
        of_list.push_back(of_list.back() +
                          static_cast<int32_t>((*random)() % static_cast<uint64_t>(most + 1)));
      }
      offsets.push_back(list == 2 ? offsets[0] : of_list);
    }
    for (const ColumnSpec& column : table.columns) {
      if (column.kind == ColumnKind::kOffsets) {
        chunk.values.push_back(AsBytes(offsets[chunk.values.size()]));
        continue;
      }
      const size_t n = column.kind == ColumnKind::kEventValue
                           ? chunk.events
                           : static_cast<size_t>(offsets[column.list].back());
      Dispatch(column.dtype,
               [&]<typename T>(T*) { chunk.values.push_back(AsBytes(RandomValues<T>(*random, n))); });
    }
    table.chunks.push_back(std::move(chunk));
  }
  return table;
}

// ------------------------------------------------------------------------------------------ values
int RandomProgram::Note(int node, int axis, bool optional, int64_t length_max) {
  known_[node] = {axis, optional, length_max};
  return node;
}

int RandomProgram::Value(int axis, DType dtype, int depth, bool may_be_constant) {
  const int node = depth <= 0 ? Leaf(axis, dtype) : Choose(axis, dtype, depth);
  if (At(node).axis != kConstAxis || may_be_constant) return node;
  return Note(maker.Same(Op::kSpread, node, axis), axis, false);
}

int RandomProgram::Constant(DType dtype) {
  return Dispatch(dtype, [&]<typename T>(T*) {
    T value = static_cast<T>(Below(25) - 12);
    if constexpr (std::is_floating_point_v<T>) value += static_cast<T>(Below(8)) / 8;
    if (Below(12) == 0) value = Extreme<T>(random_);
    return Note(maker.Const(value), kConstAxis, false);
  });
}

int RandomProgram::Leaf(int axis, DType dtype) {
  if (Below(4) == 0) return Constant(dtype);
  const std::string suffix = std::string("_") + kDTypeNames[static_cast<int>(dtype)];
  if (axis == kEventAxis) return Note(maker.LoadOf("e" + suffix, dtype), kEventAxis, false);
  for (const auto& [name, list] : lists_) {
    if (list == axis) return Note(maker.LoadOf(name + suffix, dtype, axis), axis, false);
  }
  if (dtype == DType::kInt64 && Below(2) == 0) {
    return Note(maker.Add(Op::kLocalIndex, DType::kInt64, axis), axis, false);
  }
  return OnList(axis, dtype, 0);
}

int RandomProgram::Choose(int axis, DType dtype, int depth) {
  switch (Below(8)) {
    case 0:
      return Leaf(axis, dtype);
    case 1: {
      const int x = Value(axis, AnyDType(), depth - 1, true);
      return Note(maker.Cast(x, dtype), At(x).axis, At(x).optional);
    }
    case 2: {
      const int c = Value(axis, DType::kBool, depth - 1, true), a = Value(axis, dtype, depth - 1, true),
                b = Value(axis, dtype, depth - 1, true);
      int on = kConstAxis;
      for (int x : {c, a, b}) on = At(x).axis == kConstAxis ? on : At(x).axis;
      return Note(maker.Where(c, a, b), on, At(a).optional || At(b).optional);
    }
    case 3: {
      const int x = Value(axis, dtype, depth - 1, true);
      return Note(maker.Same(Op::kFill, x, Constant(dtype)), At(x).axis, false);
    }
    case 4:
    case 5:
      return axis == kEventAxis ? FromList(dtype, depth) : OnList(axis, dtype, depth);
    default:
      return dtype == DType::kBool ? Truth(axis, depth) : Arithmetic(axis, dtype, depth);
  }
}

int RandomProgram::Pair(Op op, int axis, DType dtype, int depth) {
  const int a = Value(axis, dtype, depth - 1, true), b = Value(axis, dtype, depth - 1, true);
  const bool optional = (At(a).optional || At(b).optional) && !ProgramMaker::Boolean(op);
  return Note(maker.Binary(op, a, b), At(a).axis == kConstAxis ? At(b).axis : At(a).axis, optional);
}

// Whether an integer lies in some of a few ranges.
int RandomProgram::Inside(int axis, int depth) {
  const int x = Value(axis, DType::kInt64, depth - 1, true);
  std::vector<int64_t> ends = {Below(30) - 15};
  for (int i = Below(4); i > 0; --i) ends.push_back(ends.back() + 1 + Below(8));
  return Note(maker.Inside(x, ends), At(x).axis, false);
}

int RandomProgram::Truth(int axis, int depth) {
  const auto from = [&](Op first, Op last) {
    return static_cast<Op>(static_cast<int>(first) +
                           Below(static_cast<int>(last) - static_cast<int>(first) + 1));
  };
  switch (Below(9)) {
    case 8:
      return Inside(axis, depth);
    case 0: {
      const int x = Value(axis, DType::kBool, depth - 1, true);
      return Note(maker.Unary(Op::kNot, x), At(x).axis, false);
    }
    case 1: {
      const int x = Value(axis, AnyDType(), depth - 1, true);
      return Note(maker.Unary(from(Op::kIsFinite, Op::kIsInf), x), At(x).axis, At(x).optional);
    }
    case 2: {
      const int x = Value(axis, AnyDType(), depth - 1, true);
      return Note(maker.Add(Op::kPresent, DType::kBool, x), At(x).axis, false);
    }
    case 3:
    case 4:
      return Pair(from(Op::kAnd, Op::kXor), axis, DType::kBool, depth);
    default:
      return Pair(from(Op::kEq, Op::kGe), axis, AnyDType(), depth);
  }
}

int RandomProgram::Arithmetic(int axis, DType dtype, int depth) {
  for (;;) {
    const bool unary = Below(3) == 0;
    const Op first = unary ? Op::kNeg : Op::kAdd, end = unary ? Op::kUnaryEnd : Op::kBinaryEnd;
    // Simple operations more often than the others.
    const int n = Below(2) == 0 ? (unary ? 2 : 3) : static_cast<int>(end) - static_cast<int>(first);
    const Op op = static_cast<Op>(static_cast<int>(first) + Below(n));
    if (ProgramMaker::Boolean(op)) continue;
    const int column = static_cast<int>(dtype);
    if (unary && Kernels().unary[static_cast<int>(op) - static_cast<int>(Op::kNeg)][column] == nullptr)
      continue;
    if (!unary && Kernels().binary[static_cast<int>(op) - static_cast<int>(Op::kAdd)][column] == nullptr)
      continue;
    if (!unary) return Pair(op, axis, dtype, depth);
    const int x = Value(axis, dtype, depth - 1, true);
    return Note(maker.Unary(op, x), At(x).axis, At(x).optional);
  }
}

// A value per event made from a list.
int RandomProgram::FromList(DType dtype, int depth) {
  const int axis = Axis(depth - 1);
  const int choice = Below(6);
  if (choice == 0) {
    const int x = Value(axis, dtype, depth - 1), i = Value(kEventAxis, DType::kInt64, depth - 1, true);
    return Note(maker.Same(Op::kIndex, x, i), kEventAxis, true);
  }
  if (dtype == DType::kBool && choice < 4) {
    return Note(maker.Reduce(choice < 2 ? Op::kAny : Op::kAll, Value(axis, DType::kBool, depth - 1)),
                kEventAxis, false);
  }
  if (dtype == DType::kInt64 && choice == 1) return Note(maker.Count(axis), kEventAxis, false);
  if (dtype == DType::kInt64 && choice == 2) {
    return Note(maker.Reduce(Op::kCountNonzero, Value(axis, DType::kBool, depth - 1)), kEventAxis, false);
  }
  if (dtype == DType::kInt64 && choice == 3) {
    return Note(maker.Reduce(Below(2) == 0 ? Op::kArgmin : Op::kArgmax, Value(axis, AnyDType(), depth - 1)),
                kEventAxis, true);
  }
  const auto op = static_cast<Op>(maker.nodes[static_cast<size_t>(axis)].op);
  if (dtype == DType::kInt64 && (op == Op::kCombinations || op == Op::kCross)) {
    const uint64_t slots = op == Op::kCross ? 2 : maker.nodes[static_cast<size_t>(axis)].imm;
    const int i = Value(kEventAxis, DType::kInt64, depth - 1, true);
    return Note(maker.Add(Op::kPick, DType::kInt64, axis, i, -1, random_() % slots), kEventAxis, true);
  }
  if (dtype != DType::kBool && choice >= 4) {
    return Note(maker.Reduce(choice == 4 ? Op::kSum : Op::kProd, Value(axis, dtype, depth - 1)), kEventAxis,
                false);
  }
  return Note(maker.Reduce(Below(2) == 0 ? Op::kMin : Op::kMax, Value(axis, dtype, depth - 1)), kEventAxis,
              true);
}

// A value on a list that reduces a cross of it and another; −1 if the cross could get too long.
int RandomProgram::FromCross(int axis, DType dtype, int depth) {
  const int other = Axis(0);
  if (At(axis).length_max > 5 || At(other).length_max > 5) return -1;
  const int cross = maker.Cross(axis, other);
  Note(cross, -1, false, 25);
  const auto reduce = [&](Op op, DType of, bool optional) {
    return Note(maker.Reduce(op, Value(cross, of, depth - 1), axis), axis, optional);
  };
  if (dtype == DType::kBool) return reduce(Below(2) == 0 ? Op::kAny : Op::kAll, dtype, false);
  if (dtype == DType::kInt64 && Below(2) == 0) {
    if (Below(2) == 0) return reduce(Op::kCountNonzero, DType::kBool, false);
    return reduce(Below(2) == 0 ? Op::kArgmin : Op::kArgmax, AnyDType(), true);
  }
  if (Below(2) == 0) return reduce(Below(2) == 0 ? Op::kSum : Op::kProd, dtype, false);
  return reduce(Below(2) == 0 ? Op::kMin : Op::kMax, dtype, true);
}

// A value on a list made from values elsewhere.
int RandomProgram::OnList(int axis, DType dtype, int depth) {
  if (depth > 0 && Below(5) == 0) {
    const int x = FromCross(axis, dtype, depth);
    if (x >= 0) return x;
  }
  const ProgramMaker::RawNode node = maker.nodes[static_cast<size_t>(axis)];
  const int choice = Below(4);
  if (static_cast<Op>(node.op) == Op::kFilter && choice > 0) {
    const int x = Value(node.a, dtype, depth - 1);
    return Note(maker.Same(Op::kTake, x, axis), axis, At(x).optional);
  }
  if (static_cast<Op>(node.op) == Op::kCross && choice > 0) {
    const int slot = Below(2);
    const int x = Value(slot == 0 ? node.a : node.b, dtype, depth - 1);
    return Note(maker.Same(Op::kComponent, x, axis, -1, static_cast<uint64_t>(slot)), axis, At(x).optional);
  }
  if (static_cast<Op>(node.op) == Op::kCombinations && choice > 0) {
    const int x = Value(node.a, dtype, depth - 1);
    if (IsFloat(dtype) && !At(x).optional && choice == 1) {
      return Note(maker.Same(Op::kComponentSum, x, axis), axis, false);
    }
    return Note(maker.Same(Op::kComponent, x, axis, -1, random_() % node.imm), axis, At(x).optional);
  }
  const auto a = lists_.find("A"), t = lists_.find("T");
  if (choice > 1 && a != lists_.end() && t != lists_.end() && (axis == a->second || axis == t->second)) {
    const int x = Value(axis == a->second ? t->second : a->second, dtype, depth - 1);
    return Note(maker.Same(Op::kAlign, x, axis), axis, At(x).optional);
  }
  if (choice == 1 && depth > 0 && !IsFloat(dtype) && dtype != DType::kBool) {
    const int parent = Axis(0);
    const int kept = maker.Filter(parent, Value(parent, DType::kBool, 1));
    Note(kept, kept, false, At(parent).length_max);
    const int x = Value(axis, dtype, depth - 1);
    return Note(maker.Same(Op::kRemap, x, kept), axis, At(x).optional);
  }
  const int x = Value(kEventAxis, dtype, depth - 1, true);
  return Note(maker.Same(Op::kSpread, x, axis), axis, At(x).optional);
}

int RandomProgram::Axis(int depth) {
  if (!axes_.empty() && Below(2) == 0)
    return axes_[static_cast<size_t>(Below(static_cast<int>(axes_.size())))];
  int axis = -1;
  const int choice = depth <= 0 ? 0 : Below(6);
  if (choice <= 1) {
    const char* const names[] = {"A", "B", "T"};
    const std::string name = names[Below(3)];
    const auto found = lists_.find(name);
    if (found != lists_.end()) return found->second;
    axis = lists_[name] = Note(maker.List(name), -1, false, 5);
  } else if (choice == 2) {
    if (Below(4) > 0) return Axis(depth - 1);
    axis = Note(maker.Empty(), -1, false, 0);
  } else if (choice == 3) {
    const int parent = Axis(depth - 1);
    axis = maker.Filter(parent, Value(parent, DType::kBool, depth - 1));
    Note(axis, -1, false, At(parent).length_max);
  } else {
    const int a = Axis(depth - 1), b = Axis(depth - 1);
    if (At(a).length_max > 30 || At(b).length_max > 30) return Axis(0);
    axis = choice == 4 ? maker.Combinations(a, 2 + Below(5)) : maker.Cross(a, b);
    const bool small = At(a).length_max <= 5 && At(b).length_max <= 5;
    Note(axis, -1, false, small ? 25 : 1000);
  }
  axes_.push_back(axis);
  return axis;
}

ProgramMaker MakeRandomProgram(Random* random, int terms_max, int outputs_max, int depth) {
  RandomProgram program(random);
  const int n_terms = program.Below(terms_max + 1), n_outputs = 1 + program.Below(outputs_max);
  for (int i = 0; i < n_terms; ++i) {
    const int term = program.Value(kEventAxis, DType::kBool, depth, true);
    program.maker.terms.push_back(term);
  }
  for (int i = 0; i < n_outputs; ++i) {
    const int axis = program.Below(2) == 0 ? kEventAxis : program.Axis(depth - 1);
    const int output =
        program.Value(axis, program.AnyDType(), program.Below(depth + 1), program.Below(4) == 0);
    program.maker.outputs.push_back(output);
  }
  return program.maker;
}

}  // namespace skyhook::test
