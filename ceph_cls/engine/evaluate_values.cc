// Nodes with a value per event or element that is made from those at the same place.
#include "evaluate.h"
#include "kernels.h"

namespace skyhook {

void Evaluator::RunLoad(const Node& node, Value* value) {
  const ColumnValues& column = (*columns_)[static_cast<size_t>(node.a)];
  const size_t width = SizeOf(node.dtype);
  const int32_t* index = rows_.index;
  int64_t first = rows_.first;
  value->n = rows_.n;
  if (node.axis >= 0) {
    const Lists& lists = ListsAt(node.axis);
    index = lists.index;
    first = lists.first;
    value->n = lists.n;
  }
  if (index == nullptr) {
    value->data = column.data + static_cast<size_t>(first) * width;
    return;
  }
  *value = New(node.dtype, node.axis);
  Kernels().gather(column.data, index, value->n, width, Write(*value));
}

void Evaluator::RunUnary(int number, const Node& node, Value* value) {
  const Value& x = At(node.a);
  const DType dtype = NodeAt(node.a).dtype;
  *value = New(node.dtype, node.axis);
  const int32_t twin = twins_[static_cast<size_t>(number)];
  if (twin >= 0 && in_order_[static_cast<size_t>(twin)]) {
    Value& other = At(twin);
    other = New(node.dtype, node.axis);
    value->valid = other.valid = x.valid;
    const Value &sin = node.op == Op::kSin ? *value : other, &cos = node.op == Op::kSin ? other : *value;
    Kernels().sin_cos(x.data, value->n, Write(sin), Write(cos));
    made_[static_cast<size_t>(twin)] = true;
    return;
  }
  const uint8_t* data = node.op == Op::kNot ? Truth(node.a) : x.data;
  if (node.op != Op::kNot) value->valid = x.valid;
  Kernels().unary[static_cast<int>(node.op) - static_cast<int>(Op::kNeg)][static_cast<int>(dtype)](
      data, value->n, Write(*value));
}

void Evaluator::RunBinary(const Node& node, Value* value) {
  const Value &a = At(node.a), &b = At(node.b);
  const DType dtype = NodeAt(node.a).dtype;
  *value = New(node.dtype, node.axis);
  const bool logical = IsLogical(node.op);
  const void* left = logical ? Truth(node.a) : a.data;
  const void* right = logical ? Truth(node.b) : b.data;
  Kernels().binary[static_cast<int>(node.op) - static_cast<int>(Op::kAdd)][static_cast<int>(dtype)](
      left, a.constant, right, b.constant, value->n, Write(*value));
  if (logical) return;
  const uint8_t* valid = BothValid(a, b, value->n);
  if (valid != nullptr && IsComparison(node.op)) {
    uint8_t* data = Write(*value);
    for (int64_t i = 0; i < value->n; ++i) data[i] &= valid[i];
  } else {
    value->valid = valid;
  }
}

void Evaluator::RunOther(int number, const Node& node, Value* value) {
  switch (node.op) {
    case Op::kLoad:
      return RunLoad(node, value);
    case Op::kConst:
      value->data = reinterpret_cast<const uint8_t*>(&program_.nodes[static_cast<size_t>(number)].imm);
      value->n = 1;
      value->constant = true;
      return;
    case Op::kCast:
      *value = New(node.dtype, node.axis);
      value->valid = At(node.a).valid;
      Kernels().cast[static_cast<int>(NodeAt(node.a).dtype)][static_cast<int>(node.dtype)](
          At(node.a).data, value->n, Write(*value));
      return;
    case Op::kCount: {
      *value = New(DType::kInt64, kEventAxis);
      const int32_t* offsets = ListsAt(node.a).offsets;
      int64_t* out = Write<int64_t>(*value);
      for (int64_t i = 0; i < rows_.n; ++i) out[i] = offsets[i + 1] - offsets[i];
      return;
    }
    case Op::kLocalIndex: {
      *value = New(DType::kInt64, node.axis);
      Kernels().local_index(ListsAt(node.axis).offsets, rows_.n, Write<int64_t>(*value));
      return;
    }
    case Op::kSpread:
      return RunSpread(node, value);
    case Op::kTake: {
      const Value& x = At(node.a);
      const Lists& lists = ListsAt(node.b);
      *value = New(node.dtype, node.axis);
      Kernels().gather(x.data, lists.index, value->n, SizeOf(node.dtype), Write(*value));
      if (x.valid != nullptr) {
        uint8_t* valid = arena_.New<uint8_t>(value->n);
        Kernels().gather(x.valid, lists.index, value->n, 1, valid);
        value->valid = valid;
      }
      return;
    }
    case Op::kComponent:
    case Op::kComponentSum:
      return RunComponent(node, value);
    case Op::kIndex:
      return RunIndex(number, node, value);
    case Op::kPick:
      return RunPick(number, node, value);
    case Op::kAlign: {
      const Lists &from = ListsAt(NodeAt(node.a).axis), &to = ListsAt(node.b);
      if (std::memcmp(from.offsets, to.offsets, 4 * static_cast<size_t>(rows_.n + 1)) != 0) {
        Invalid("two lists of the expression differ in length in some event");
      }
      *value = At(node.a);
      return;
    }
    case Op::kRemap:
      return RunRemap(node, value);
    case Op::kWhere:
      return RunWhere(node, value);
    case Op::kInside:
      return RunInside(node, value);
    case Op::kFill:
      return RunFill(node, value);
    default: {  // kPresent
      const Value& x = At(node.a);
      *value = New(DType::kBool, node.axis);
      if (x.valid != nullptr) {
        std::memcpy(Write(*value), x.valid, static_cast<size_t>(value->n));
      } else {
        std::memset(Write(*value), 1, static_cast<size_t>(value->n));
      }
    }
  }
}

void Evaluator::RunSpread(const Node& node, Value* value) {
  const Value& x = At(node.a);
  const size_t width = SizeOf(node.dtype);
  *value = New(node.dtype, node.axis);
  uint8_t* out = Write(*value);
  uint8_t* valid = x.valid != nullptr ? arena_.New<uint8_t>(value->n) : nullptr;
  value->valid = valid;
  if (x.constant) {
    const int32_t all[] = {0, static_cast<int32_t>(value->n)};
    Kernels().spread(x.data, all, 1, width, out);
    if (valid != nullptr) std::memset(valid, *x.valid, static_cast<size_t>(value->n));
    return;
  }
  if (node.axis < 0) {
    std::memcpy(out, x.data, static_cast<size_t>(value->n) * width);
    if (valid != nullptr) std::memcpy(valid, x.valid, static_cast<size_t>(value->n));
    return;
  }
  const int32_t* offsets = ListsAt(node.axis).offsets;
  Kernels().spread(x.data, offsets, rows_.n, width, out);
  if (valid != nullptr) Kernels().spread(x.valid, offsets, rows_.n, 1, valid);
}

void Evaluator::RunFill(const Node& node, Value* value) {
  const Value &x = At(node.a), &fill = At(node.b);
  if (x.valid == nullptr) {
    *value = x;
    return;
  }
  const size_t width = SizeOf(node.dtype);
  *value = New(node.dtype, node.axis);
  const auto choose = [&]<typename T>(T* out) {
    const T* from = Read<T>(x);
    const T other = *Read<T>(fill);
    for (int64_t i = 0; i < value->n; ++i) out[i] = x.valid[i] ? from[i] : other;
  };
  if (width == 1) choose(Write<uint8_t>(*value));
  if (width == 2) choose(Write<uint16_t>(*value));
  if (width == 4) choose(Write<uint32_t>(*value));
  if (width == 8) choose(Write<uint64_t>(*value));
}

void Evaluator::RunInside(const Node& node, Value* value) {
  const Value& x = At(node.a);
  const int64_t* from = Read<int64_t>(x);
  *value = New(DType::kBool, node.axis);
  uint8_t* out = Write(*value);
  // The same value often follows itself: events of one luminosity block lie together.
  for (int64_t i = 0; i < value->n; ++i) {
    out[i] = i > 0 && from[i] == from[i - 1] ? out[i - 1] : program_.Inside(node, from[i]);
  }
  for (int64_t i = 0; x.valid != nullptr && i < value->n; ++i) out[i] &= x.valid[i];
}

void Evaluator::RunWhere(const Node& node, Value* value) {
  const Value &c = At(node.a), &a = At(node.b), &b = At(node.c);
  const uint8_t* truth = Truth(node.a);
  *value = New(node.dtype, node.axis);
  Dispatch(node.dtype, [&]<typename T>(T*) {
    const T *yes = Read<T>(a), *no = Read<T>(b);
    T* out = Write<T>(*value);
    for (int64_t i = 0; i < value->n; ++i) {
      out[i] = truth[c.constant ? 0 : i] ? yes[a.constant ? 0 : i] : no[b.constant ? 0 : i];
    }
  });
  if (a.valid == nullptr && b.valid == nullptr) return;
  uint8_t* valid = arena_.New<uint8_t>(value->n);
  for (int64_t i = 0; i < value->n; ++i) {
    const Value& chosen = truth[c.constant ? 0 : i] ? a : b;
    valid[i] = chosen.valid == nullptr || chosen.valid[chosen.constant ? 0 : i];
  }
  value->valid = valid;
}

}  // namespace skyhook
