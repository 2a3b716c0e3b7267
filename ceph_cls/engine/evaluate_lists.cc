// Lists: stored, empty and filtered ones; sets of elements are in evaluate_sets.cc.
#include "evaluate.h"
#include "kernels.h"

namespace skyhook {

bool Evaluator::RunAxis(int number, const Node& node) {
  Lists* lists = &ListsAt(number);
  *lists = Lists{};
  switch (node.op) {
    case Op::kList:
      RunList(node, lists);
      return true;
    case Op::kEmpty: {
      int32_t* offsets = arena_.New<int32_t>(rows_.n + 1);
      std::memset(offsets, 0, 4 * static_cast<size_t>(rows_.n + 1));
      lists->offsets = offsets;
      return true;
    }
    case Op::kFilter:
      RunFilter(node, lists);
      return true;
    case Op::kCombinations:
      return RunCombinations(number, node, lists);
    default:
      return RunCross(number, node, lists);
  }
}

void Evaluator::RunList(const Node& node, Lists* lists) {
  const int32_t* stored = reinterpret_cast<const int32_t*>((*columns_)[static_cast<size_t>(node.a)].data);
  int32_t* offsets = arena_.New<int32_t>(rows_.n + 1);
  lists->offsets = offsets;
  if (rows_.index == nullptr) {
    const int32_t* from = stored + rows_.first;
    const int32_t base = from[0];
    for (int64_t i = 0; i <= rows_.n; ++i) offsets[i] = from[i] - base;
    lists->first = base;
    lists->n = offsets[rows_.n];
    return;
  }
  int64_t n = 0;
  for (int64_t i = 0; i < rows_.n; ++i) n += stored[rows_.index[i] + 1] - stored[rows_.index[i]];
  int32_t* index = arena_.New<int32_t>(n);
  lists->n = n;
  lists->index = index;
  Kernels().list_rows(stored, rows_.index, rows_.n, offsets, index);
}

void Evaluator::RunFilter(const Node& node, Lists* lists) {
  const Lists& parent = ListsAt(node.a);
  const uint8_t* mask = Truth(node.b);
  // Room for a full group of eight that the selection may write past its end.
  int32_t* index = arena_.New<int32_t>(parent.n + 8);
  lists->index = index;
  lists->n = Kernels().select(mask, parent.n, index);
  int32_t* rank = arena_.New<int32_t>(parent.n + 1);
  Kernels().rank(mask, parent.n, rank);
  int32_t* offsets = arena_.New<int32_t>(rows_.n + 1);
  lists->offsets = offsets;
  for (int64_t i = 0; i <= rows_.n; ++i) offsets[i] = rank[parent.offsets[i]];
}

}  // namespace skyhook
