#include "evaluate.h"

#include <algorithm>

namespace skyhook {

Evaluator::Evaluator(const Program& program)
    : program_(program),
      values_(program.nodes.size()),
      lists_(program.nodes.size()),
      twins_(program.nodes.size(), -1),
      leaders_(program.nodes.size(), -1),
      sources_(program.nodes.size(), -1),
      places_(program.nodes.size()),
      listed_(program.nodes.size(), false),
      in_order_(program.nodes.size(), false),
      made_(program.nodes.size(), false) {
  FindSets();
  FindTwins();
  FindLeaders();
  FindSources();
}

bool Evaluator::Run(const std::vector<int>& order, const std::vector<ColumnValues>& columns,
                    const Rows& rows) {
  arena_.Reset();
  columns_ = &columns;
  rows_ = rows;
  std::fill(in_order_.begin(), in_order_.end(), false);
  std::fill(made_.begin(), made_.end(), false);
  for (int number : order) in_order_[static_cast<size_t>(number)] = true;
  FindListed(order);
  for (int number : order) {
    CheckTime();
    if (!RunNode(number)) return false;
  }
  return true;
}

// Finds the axes that values lie on, or other axes; also takes back the places of the last Run.
void Evaluator::FindListed(const std::vector<int>& order) {
  std::fill(listed_.begin(), listed_.end(), false);
  for (int number : order) {
    const Node& node = NodeAt(number);
    if (const int32_t leader = leaders_[static_cast<size_t>(number)]; leader >= 0)
      places_[static_cast<size_t>(leader)].made = false;
    if (!IsAxis(node.op)) {
      if (node.axis >= 0) listed_[static_cast<size_t>(node.axis)] = true;
    } else if (node.op != Op::kList && node.op != Op::kEmpty) {
      listed_[static_cast<size_t>(node.a)] = true;
      if (node.op == Op::kCross) listed_[static_cast<size_t>(node.b)] = true;
    }
  }
}

void Evaluator::CheckTime() const {
  constexpr auto never = std::chrono::steady_clock::time_point::max();
  if (give_up_at_ == never || std::chrono::steady_clock::now() < give_up_at_) return;
  throw Error(Kind::kStore, "the query takes too long for so few events: compute it where nobody else waits");
}

const Value& Evaluator::ValueOf(int32_t number) {
  Value& value = At(number);
  if (!value.constant) return value;
  const Node& node = NodeAt(number);
  const size_t width = SizeOf(node.dtype);
  uint8_t* data = arena_.NewBytes(static_cast<size_t>(rows_.n) * width);
  for (int64_t i = 0; i < rows_.n; ++i) std::memcpy(data + static_cast<size_t>(i) * width, value.data, width);
  if (value.valid != nullptr) {
    uint8_t* valid = arena_.New<uint8_t>(rows_.n);
    std::memset(valid, *value.valid, static_cast<size_t>(rows_.n));
    value.valid = valid;
  }
  value.data = data;
  value.n = rows_.n;
  value.constant = false;
  return value;
}

bool Evaluator::RunNode(int number) {
  const Node& node = NodeAt(number);
  if (IsAxis(node.op)) return RunAxis(number, node);
  if (made_[static_cast<size_t>(number)]) return true;
  Value& value = At(number);
  value = Value{};
  if (const Mass& mass = masses_[static_cast<size_t>(number)]; mass.axis >= 0) {
    RunMass(mass, node, &value);
  } else if (IsUnary(node.op)) {
    RunUnary(number, node, &value);
  } else if (IsBinary(node.op)) {
    RunBinary(node, &value);
  } else if (IsReduce(node.op)) {
    RunReduce(number, node, &value);
  } else {
    RunOther(number, node, &value);
  }
  return true;
}

Value Evaluator::New(DType dtype, int axis) {
  Value value;
  value.n = axis == kConstAxis ? 1 : Length(axis);
  value.constant = axis == kConstAxis;
  value.data = arena_.NewBytes(static_cast<size_t>(value.n) * SizeOf(dtype));
  return value;
}

const uint8_t* Evaluator::BothValid(const Value& a, const Value& b, int64_t n) {
  if (b.valid == nullptr && !a.constant) return a.valid;
  if (a.valid == nullptr && !b.constant) return b.valid;
  if (a.valid == b.valid && a.constant == b.constant) return a.valid;
  uint8_t* valid = arena_.New<uint8_t>(n);
  if (!a.constant && !b.constant) {
    for (int64_t i = 0; i < n; ++i) valid[i] = a.valid[i] & b.valid[i];
    return valid;
  }
  for (int64_t i = 0; i < n; ++i) {
    const bool left = a.valid == nullptr || a.valid[a.constant ? 0 : i] != 0;
    const bool right = b.valid == nullptr || b.valid[b.constant ? 0 : i] != 0;
    valid[i] = left && right;
  }
  return valid;
}

// The truth of a bool value, a missing one being false.
const uint8_t* Evaluator::Truth(int32_t number) {
  const Value& x = At(number);
  if (x.valid == nullptr) return x.data;
  uint8_t* truth = arena_.New<uint8_t>(x.n);
  for (int64_t i = 0; i < x.n; ++i) truth[i] = x.data[i] & x.valid[i];
  return truth;
}

}  // namespace skyhook
