// Reductions: one value of each list.
#include "evaluate.h"
#include "kernels.h"

namespace skyhook {

Evaluator::Runs Evaluator::RunsOf(const Node& node) {
  const Node& axis = NodeAt(NodeAt(node.a).axis);
  if (node.b < 0) return {ListsAt(axis.axis).offsets, rows_.n};
  // The elements of a cross that have the same first part stand side by side.
  return {CrossRuns(axis.axis), ListsAt(axis.a).n};
}

// any, all and count_nonzero: differences of ranks, without a loop over each list.
bool Evaluator::RunTruths(const Node& node, const Runs& runs, Value* value) {
  if (node.op != Op::kAny && node.op != Op::kAll && node.op != Op::kCountNonzero) return false;
  const Value& x = At(node.a);
  if (node.op == Op::kAll && x.valid != nullptr) return false;
  const auto& [offsets, n] = runs;
  int32_t* rank = arena_.New<int32_t>(x.n + 1);
  Kernels().rank(Truth(node.a), x.n, rank);
  *value = New(node.dtype, node.axis);
  if (node.op == Op::kCountNonzero) {
    int64_t* out = Write<int64_t>(*value);
    for (int64_t i = 0; i < n; ++i) out[i] = rank[offsets[i + 1]] - rank[offsets[i]];
  } else if (node.op == Op::kAny) {
    uint8_t* out = Write(*value);
    for (int64_t i = 0; i < n; ++i) out[i] = rank[offsets[i + 1]] > rank[offsets[i]];
  } else {
    uint8_t* out = Write(*value);
    for (int64_t i = 0; i < n; ++i) {
      out[i] = rank[offsets[i + 1]] - rank[offsets[i]] == offsets[i + 1] - offsets[i];
    }
  }
  return true;
}

void Evaluator::RunReduce(int number, const Node& node, Value* value) {
  if (RunNearest(number, node, value)) return;
  const Runs runs = RunsOf(node);
  if (RunTruths(node, runs, value)) return;
  const Value& x = At(node.a);
  const DType dtype = NodeAt(node.a).dtype;
  const ReduceKernel kernel =
      Kernels().reduce[static_cast<int>(node.op) - static_cast<int>(Op::kAny)][static_cast<int>(dtype)];
  *value = New(node.dtype, node.axis);
  uint8_t* valid = node.optional ? arena_.New<uint8_t>(runs.n) : nullptr;
  if (x.valid == nullptr) {
    kernel(x.data, runs.offsets, runs.n, Write(*value), valid);
    if (valid != nullptr) value->valid = Missing(valid, runs.n);
    return;
  }
  // Missing elements are left out first.
  int32_t* index = arena_.New<int32_t>(x.n + 8);
  const int64_t kept = Kernels().select(x.valid, x.n, index);
  uint8_t* data = arena_.NewBytes(static_cast<size_t>(kept) * SizeOf(dtype));
  Kernels().gather(x.data, index, kept, SizeOf(dtype), data);
  int32_t* offsets = arena_.New<int32_t>(runs.n + 1);
  offsets[0] = 0;
  int32_t count = 0;
  for (int64_t i = 0; i < runs.n; ++i) {
    for (int32_t j = runs.offsets[i]; j < runs.offsets[i + 1]; ++j) count += x.valid[j];
    offsets[i + 1] = count;
  }
  kernel(data, offsets, runs.n, Write(*value), valid);
  if (valid != nullptr) value->valid = Missing(valid, runs.n);
  if (node.op != Op::kArgmin && node.op != Op::kArgmax) return;
  int64_t* place = Write<int64_t>(*value);
  for (int64_t i = 0; i < runs.n; ++i) {
    if (valid[i]) place[i] = index[offsets[i] + place[i]] - runs.offsets[i];
  }
}

}  // namespace skyhook
