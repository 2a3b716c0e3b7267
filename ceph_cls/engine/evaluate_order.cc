// Which nodes are computed, in which order, and what some of them share.
#include <algorithm>
#include <map>
#include <tuple>

#include "evaluate.h"

namespace skyhook {

void Evaluator::FindTwins() {
  std::map<int32_t, int32_t> sines;  // by their angle
  for (size_t i = 0; i < program_.nodes.size(); ++i) {
    const Node& node = program_.nodes[i];
    if (node.op == Op::kSin && node.dtype == DType::kFloat64) sines[node.a] = static_cast<int32_t>(i);
  }
  for (size_t i = 0; i < program_.nodes.size(); ++i) {
    const Node& node = program_.nodes[i];
    if (node.op != Op::kCos || node.dtype != DType::kFloat64 || !sines.contains(node.a)) continue;
    const int32_t sine = sines[node.a];
    if (twins_[static_cast<size_t>(sine)] >= 0) continue;
    twins_[i] = sine;
    twins_[static_cast<size_t>(sine)] = static_cast<int32_t>(i);
  }
}

void Evaluator::FindLeaders() {
  std::map<std::tuple<Op, int32_t, int32_t>, int32_t> first;  // by the lists and the index
  for (size_t i = 0; i < program_.nodes.size(); ++i) {
    const Node& node = program_.nodes[i];
    if (node.op != Op::kIndex && node.op != Op::kPick) continue;
    const int32_t axis = node.op == Op::kPick ? node.a : NodeAt(node.a).axis;
    leaders_[i] = first.try_emplace({node.op, axis, node.b}, static_cast<int32_t>(i)).first->second;
  }
}

// One element of what is taken from a list is an element of that list: the others need not be moved.
void Evaluator::FindSources() {
  for (size_t i = 0; i < program_.nodes.size(); ++i) {
    if (program_.nodes[i].op != Op::kIndex) continue;
    int32_t source = program_.nodes[i].a;
    for (Op op = NodeAt(source).op; op == Op::kTake || op == Op::kComponent; op = NodeAt(source).op) {
      if (NodeAt(NodeAt(source).a).axis < 0) break;
      source = NodeAt(source).a;
    }
    sources_[i] = source;
  }
}

// Marks the nodes that one node is computed from.
void Evaluator::WantOperands(int number, std::vector<bool>* wanted) const {
  const auto want = [&](int32_t node) {
    if (node >= 0) (*wanted)[static_cast<size_t>(node)] = true;
  };
  const Node& node = NodeAt(number);
  const size_t i = static_cast<size_t>(number);
  if (!IsAxis(node.op)) want(node.axis);
  const int32_t nearest = nearest_[i].mass;
  if (const Mass& mass = masses_[nearest >= 0 ? static_cast<size_t>(nearest) : i]; mass.axis >= 0) {
    want(mass.axis);
    want(mass.filter);
    for (const int32_t part : mass.parts) want(part);
    return;
  }
  if (node.op == Op::kIndex) {
    want(NodeAt(node.a).axis);
    for (int32_t x = node.a; x != sources_[i]; x = NodeAt(x).a) want(NodeAt(x).b);
    want(sources_[i]);
    want(node.b);
    return;
  }
  if (node.op != Op::kLoad && node.op != Op::kList) want(node.a);
  want(node.b);
  want(node.c);
}

std::vector<int> Evaluator::Order(const std::vector<int32_t>& roots) const {
  std::vector<bool> wanted(program_.nodes.size(), false);
  for (int32_t root : roots) wanted[static_cast<size_t>(root)] = true;
  std::vector<int> order;
  for (int i = static_cast<int>(program_.nodes.size()) - 1; i >= 0; --i) {
    if (!wanted[static_cast<size_t>(i)]) continue;
    order.push_back(i);
    WantOperands(i, &wanted);
  }
  std::reverse(order.begin(), order.end());
  // Axes that need no values come first: a block that is too large is then noticed at once.
  std::vector<bool> structural(program_.nodes.size(), false);
  for (int i : order) {
    const Node& node = NodeAt(i);
    const bool left = node.a >= 0 && structural[static_cast<size_t>(node.a)];
    const bool right = node.b >= 0 && structural[static_cast<size_t>(node.b)];
    structural[static_cast<size_t>(i)] = node.op == Op::kList || node.op == Op::kEmpty ||
                                         (node.op == Op::kCombinations && left) ||
                                         (node.op == Op::kCross && left && right);
  }
  std::stable_partition(order.begin(), order.end(),
                        [&](int i) { return structural[static_cast<size_t>(i)]; });
  return order;
}

}  // namespace skyhook
