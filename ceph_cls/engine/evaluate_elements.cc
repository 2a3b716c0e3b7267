// Elements of lists by their number: one of each list, and numbers that follow a filter.
#include <algorithm>

#include "evaluate.h"
#include "kernels.h"

namespace skyhook {

// Finds element number `index` of each list of an axis.
void Evaluator::Locate(int32_t axis, int32_t index, Place* place) {
  const Value& at = At(index);
  const int32_t* offsets = ListsAt(axis).offsets;
  const int64_t* wanted = Read<int64_t>(at);
  uint8_t* valid = arena_.New<uint8_t>(rows_.n);
  int32_t* element = arena_.New<int32_t>(rows_.n);
  for (int64_t r = 0; r < rows_.n; ++r) {
    const int64_t length = offsets[r + 1] - offsets[r];
    const int64_t asked = wanted[at.constant ? 0 : r];
    const bool there = (asked < length) & (asked >= -length);
    valid[r] = there & (at.valid == nullptr || at.valid[at.constant ? 0 : r] != 0);
    element[r] = valid[r] ? static_cast<int32_t>(offsets[r] + (asked < 0 ? asked + length : asked)) : 0;
  }
  place->valid = Missing(valid, rows_.n);
  place->element = element;
  place->made = true;
}

void Evaluator::RunIndex(int number, const Node& node, Value* value) {
  Place& place = places_[static_cast<size_t>(leaders_[static_cast<size_t>(number)])];
  if (!place.made) Locate(NodeAt(node.a).axis, node.b, &place);
  const int32_t* element = place.element;
  const uint8_t* valid = place.valid;
  for (int32_t i = node.a; i != sources_[static_cast<size_t>(number)]; i = NodeAt(i).a) {
    const Node& step = NodeAt(i);
    const int32_t* index =
        step.op == Op::kTake ? ListsAt(step.b).index : Slots(step.b)[static_cast<size_t>(step.imm)];
    int32_t* through = arena_.New<int32_t>(rows_.n);
    for (int64_t r = 0; r < rows_.n; ++r) through[r] = valid == nullptr || valid[r] ? index[element[r]] : 0;
    element = through;
  }
  const Value& x = At(sources_[static_cast<size_t>(number)]);
  *value = New(node.dtype, kEventAxis);
  value->valid = valid;
  if (x.valid != nullptr) {
    uint8_t* both = arena_.New<uint8_t>(rows_.n);
    for (int64_t r = 0; r < rows_.n; ++r)
      both[r] = (valid == nullptr || valid[r]) && x.valid[element[r]] != 0;
    value->valid = valid = both;
  }
  if (valid == nullptr) {
    Kernels().gather(x.data, element, rows_.n, SizeOf(node.dtype), Write(*value));
    return;
  }
  Dispatch(node.dtype, [&]<typename T>(T*) {
    const T* from = Read<T>(x);
    T* out = Write<T>(*value);
    for (int64_t r = 0; r < rows_.n; ++r) out[r] = valid[r] ? from[element[r]] : T{};
  });
}

void Evaluator::RunRemap(const Node& node, Value* value) {
  const Value& x = At(node.a);
  const Lists& kept = ListsAt(node.b);
  const Lists& parent = ListsAt(NodeAt(node.b).a);
  int32_t* moved = arena_.New<int32_t>(parent.n);
  std::fill_n(moved, parent.n, -1);
  for (int64_t r = 0; r < rows_.n; ++r) {
    for (int32_t k = kept.offsets[r]; k < kept.offsets[r + 1]; ++k)
      moved[kept.index[k]] = k - kept.offsets[r];
  }
  *value = New(node.dtype, node.axis);
  value->valid = x.valid;
  Dispatch(node.dtype, [&]<typename T>(T*) {
    if constexpr (std::is_integral_v<T>) {
      const T* from = Read<T>(x);
      T* to = Write<T>(*value);
      const int32_t* own = node.axis >= 0 ? ListsAt(node.axis).offsets : nullptr;
      for (int64_t r = 0; r < rows_.n; ++r) {
        const int64_t length = parent.offsets[r + 1] - parent.offsets[r];
        for (int64_t i = own ? own[r] : r; i < (own ? own[r + 1] : r + 1); ++i) {
          const bool inside =
              from[i] >= T{0} && static_cast<uint64_t>(from[i]) < static_cast<uint64_t>(length);
          to[i] = static_cast<T>(inside ? moved[parent.offsets[r] + static_cast<int64_t>(from[i])] : -1);
        }
      }
    }
  });
}

}  // namespace skyhook
