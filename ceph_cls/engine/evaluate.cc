#include "evaluate.h"

#include <algorithm>
#include <limits>
#include <map>

#include "kernels.h"

namespace skyhook {

uint8_t* Arena::NewBytes(size_t size) {
  constexpr size_t kBlock = size_t{1} << 20;
  size = (size + kSlackBytes + 63) & ~size_t{63};
  total_ += size;
  if (total_ > kBlockBytesMax) {
    throw Error(Kind::kResourceExhausted, "the query needs more than 1 GiB for one block of events");
  }
  while (block_ < blocks_.size() && used_ + size > blocks_[block_].size()) {
    ++block_;
    used_ = 0;
  }
  if (block_ == blocks_.size()) {
    blocks_.emplace_back();
    blocks_.back().Renew(std::max(size, kBlock));
    used_ = 0;
  }
  uint8_t* place = blocks_[block_].data() + used_;
  used_ += size;
  return place;
}

void Arena::Reset() { block_ = used_ = total_ = 0; }

Evaluator::Evaluator(const Program& program)
    : program_(program),
      values_(program.nodes.size()),
      lists_(program.nodes.size()),
      twins_(program.nodes.size(), -1),
      in_order_(program.nodes.size(), false),
      made_(program.nodes.size(), false) {
  for (size_t i = 0; i < program.nodes.size(); ++i) masses_.push_back(FindMass(static_cast<int>(i)));
  FindTwins();
}

// What is squared, if `number` is the square of the sum of something over combinations; else -1.
int32_t Evaluator::SquareOfSum(int32_t number, int32_t* axis) const {
  const Node& square = NodeAt(number);
  if (square.op != Op::kMul || square.a != square.b) return -1;
  const Node& sum = NodeAt(square.a);
  if (sum.op != Op::kComponentSum || sum.dtype != DType::kFloat64 || sum.optional) return -1;
  if (NodeAt(sum.b).imm > 3 || (*axis >= 0 && *axis != sum.b)) return -1;
  *axis = sum.b;
  return sum.a;
}

// signed_sqrt(e * e - ((px * px + py * py) + pz * pz)), each a component_sum over the same combinations.
Evaluator::Mass Evaluator::FindMass(int number) const {
  const auto operand = [&](int32_t node, Op op) { return node >= 0 && NodeAt(node).op == op ? node : -1; };
  const Node& root = NodeAt(number);
  if (root.op != Op::kSignedSqrt || root.dtype != DType::kFloat64) return {};
  const int32_t difference = operand(root.a, Op::kSub);
  const int32_t p2 = difference < 0 ? -1 : operand(NodeAt(difference).b, Op::kAdd);
  const int32_t pt2 = p2 < 0 ? -1 : operand(NodeAt(p2).a, Op::kAdd);
  if (pt2 < 0) return {};
  Mass mass;
  const int32_t squares[] = {NodeAt(pt2).a, NodeAt(pt2).b, NodeAt(p2).b, NodeAt(difference).a};
  for (int i = 0; i < 4; ++i) {
    mass.parts[i] = SquareOfSum(squares[i], &mass.axis);
    if (mass.parts[i] < 0) return {};
  }
  return mass;
}

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

std::vector<int> Evaluator::Order(const std::vector<int32_t>& roots) const {
  std::vector<bool> wanted(program_.nodes.size(), false);
  for (int32_t root : roots) wanted[static_cast<size_t>(root)] = true;
  std::vector<int> order;
  for (int i = static_cast<int>(program_.nodes.size()) - 1; i >= 0; --i) {
    if (!wanted[static_cast<size_t>(i)]) continue;
    order.push_back(i);
    const Node& node = NodeAt(i);
    const Mass& mass = masses_[static_cast<size_t>(i)];
    if (mass.axis >= 0) {
      wanted[static_cast<size_t>(mass.axis)] = true;
      for (const int32_t part : mass.parts) wanted[static_cast<size_t>(part)] = true;
      continue;
    }
    const bool source = node.op == Op::kLoad || node.op == Op::kList;
    for (int32_t operand : {source ? -1 : node.a, node.b, node.c}) {
      if (operand >= 0) wanted[static_cast<size_t>(operand)] = true;
    }
    if (!IsAxis(node.op) && node.axis >= 0) wanted[static_cast<size_t>(node.axis)] = true;
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

bool Evaluator::Run(const std::vector<int>& order, const std::vector<ColumnValues>& columns,
                    const Rows& rows) {
  arena_.Reset();
  columns_ = &columns;
  rows_ = rows;
  std::fill(in_order_.begin(), in_order_.end(), false);
  std::fill(made_.begin(), made_.end(), false);
  for (int number : order) in_order_[static_cast<size_t>(number)] = true;
  for (int number : order) {
    CheckTime();
    if (!RunNode(number)) return false;
  }
  return true;
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
    RunReduce(node, &value);
  } else {
    RunOther(number, node, &value);
  }
  return true;
}

// ------------------------------------------------------------------------------------------ axes
bool Evaluator::Fits(int64_t elements) const {
  if (elements > kEventElementsMax && rows_.n == 1) {
    throw Error(Kind::kResourceExhausted, "the combinations of one event have more than 2^24 elements");
  }
  return elements <= kBlockElements || rows_.n == 1;
}

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
      return RunCombinations(node, lists);
    default:
      return RunCross(node, lists);
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
  int32_t at = 0;
  offsets[0] = 0;
  for (int64_t i = 0; i < rows_.n; ++i) {
    const int32_t row = rows_.index[i];
    at += stored[row + 1] - stored[row];
    offsets[i + 1] = at;
  }
  lists->n = at;
  int32_t* index = arena_.New<int32_t>(at);
  lists->index = index;
  for (int64_t i = 0; i < rows_.n; ++i) {
    const int32_t row = rows_.index[i];
    for (int32_t j = stored[row]; j < stored[row + 1]; ++j) *index++ = j;
  }
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

namespace {

// How many sets of n there are in a list of m; large numbers are cut off.
int64_t Binomial(int64_t m, int n) {
  if (m < n) return 0;
  if (n == 2) return m * (m - 1) / 2;
  double count = 1;  // exact as far as the limits reach
  for (int k = 0; k < n; ++k) count = count * static_cast<double>(m - k) / (k + 1);
  return count > 1e9 ? int64_t{1000000000} : static_cast<int64_t>(count + 0.5);
}

// Steps to the next set of n of m in lexicographic order; false after the last.
bool NextSet(int32_t* pick, int n, int32_t m) {
  int s = n - 1;
  while (s >= 0 && pick[s] == m - n + s) --s;
  if (s < 0) return false;
  ++pick[s];
  for (int t = s + 1; t < n; ++t) pick[t] = pick[t - 1] + 1;
  return true;
}

}  // namespace

bool Evaluator::RunCombinations(const Node& node, Lists* lists) {
  const Lists& parent = ListsAt(node.a);
  const int n = static_cast<int>(node.imm);
  int32_t* offsets = arena_.New<int32_t>(rows_.n + 1);
  offsets[0] = 0;
  int64_t total = 0;
  for (int64_t i = 0; i < rows_.n; ++i) {
    total += Binomial(int64_t{parent.offsets[i + 1]} - parent.offsets[i], n);
    if (!Fits(total)) return false;
    offsets[i + 1] = static_cast<int32_t>(total);
  }
  lists->offsets = offsets;
  lists->n = total;
  return true;
}

// The elements of every combination of an axis, in lexicographic order; written down once a block.
const std::vector<const int32_t*>& Evaluator::Slots(int32_t number) {
  const Node& node = NodeAt(number);
  Lists& lists = ListsAt(number);
  if (!lists.slots.empty()) return lists.slots;
  const Lists& parent = ListsAt(node.a);
  const int n = static_cast<int>(node.imm);
  std::vector<int32_t*> slots;
  for (int s = 0; s < n; ++s) slots.push_back(arena_.New<int32_t>(lists.n));
  lists.slots.assign(slots.begin(), slots.end());
  if (n <= 3) {
    Kernels().slots(parent.offsets, rows_.n, n, slots.data());
    return lists.slots;
  }
  int64_t at = 0;
  for (int64_t i = 0; i < rows_.n; ++i) {
    const int32_t begin = parent.offsets[i], m = parent.offsets[i + 1] - begin;
    if (m < n) continue;
    int32_t pick[kCombinationsMax];
    for (int s = 0; s < n; ++s) pick[s] = s;
    do {
      for (int s = 0; s < n; ++s) slots[static_cast<size_t>(s)][at] = begin + pick[s];
      ++at;
    } while (NextSet(pick, n, m));
  }
  return lists.slots;
}

bool Evaluator::RunCross(const Node& node, Lists* lists) {
  const Lists &left = ListsAt(node.a), &right = ListsAt(node.b);
  int32_t* offsets = arena_.New<int32_t>(rows_.n + 1);
  offsets[0] = 0;
  int64_t total = 0;
  for (int64_t i = 0; i < rows_.n; ++i) {
    total += int64_t{left.offsets[i + 1] - left.offsets[i]} * (right.offsets[i + 1] - right.offsets[i]);
    if (!Fits(total)) return false;
    offsets[i + 1] = static_cast<int32_t>(total);
  }
  lists->offsets = offsets;
  lists->n = total;
  return true;
}

// ---------------------------------------------------------------------------------------- values
Value Evaluator::New(DType dtype, int axis) {
  Value value;
  value.n = axis == kConstAxis ? 1 : Length(axis);
  value.constant = axis == kConstAxis;
  value.data = arena_.NewBytes(static_cast<size_t>(value.n) * SizeOf(dtype));
  return value;
}

namespace {

// The values were just made by New: they may be written.
template <typename T = uint8_t>
T* Write(const Value& value) {
  return reinterpret_cast<T*>(const_cast<uint8_t*>(value.data));
}
template <typename T>
const T* Read(const Value& value) {
  return reinterpret_cast<const T*>(value.data);
}

}  // namespace

const uint8_t* Evaluator::BothValid(const Value& a, const Value& b, int64_t n) {
  if (a.valid == nullptr && b.valid == nullptr) return nullptr;
  uint8_t* valid = arena_.New<uint8_t>(n);
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

void Evaluator::RunMass(const Mass& mass, const Node& node, Value* value) {
  const Node& axis = NodeAt(mass.axis);
  const double* parts[4];
  for (int i = 0; i < 4; ++i) parts[i] = Read<double>(At(mass.parts[i]));
  *value = New(node.dtype, node.axis);
  Kernels().mass_of_sums(parts, ListsAt(axis.a).offsets, rows_.n, static_cast<int>(axis.imm),
                         Write<double>(*value));
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

Evaluator::Runs Evaluator::RunsOf(const Node& node) {
  const Node& axis = NodeAt(NodeAt(node.a).axis);
  if (node.b < 0) return {ListsAt(axis.axis).offsets, rows_.n};
  // The elements of a cross that have the same first part stand side by side.
  const int32_t *left = ListsAt(axis.a).offsets, *right = ListsAt(axis.b).offsets;
  const int64_t n = ListsAt(axis.a).n;
  int32_t* offsets = arena_.New<int32_t>(n + 1);
  offsets[0] = 0;
  for (int64_t r = 0; r < rows_.n; ++r) {
    const int32_t length = right[r + 1] - right[r];
    for (int32_t i = left[r]; i < left[r + 1]; ++i) offsets[i + 1] = offsets[i] + length;
  }
  return {offsets, n};
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

void Evaluator::RunReduce(const Node& node, Value* value) {
  const Runs runs = RunsOf(node);
  if (RunTruths(node, runs, value)) return;
  const Value& x = At(node.a);
  const DType dtype = NodeAt(node.a).dtype;
  const ReduceKernel kernel =
      Kernels().reduce[static_cast<int>(node.op) - static_cast<int>(Op::kAny)][static_cast<int>(dtype)];
  *value = New(node.dtype, node.axis);
  uint8_t* valid = node.optional ? arena_.New<uint8_t>(runs.n) : nullptr;
  value->valid = valid;
  if (x.valid == nullptr) {
    kernel(x.data, runs.offsets, runs.n, Write(*value), valid);
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
  if (node.op != Op::kArgmin && node.op != Op::kArgmax) return;
  int64_t* place = Write<int64_t>(*value);
  for (int64_t i = 0; i < runs.n; ++i) {
    if (valid[i]) place[i] = index[offsets[i] + place[i]] - runs.offsets[i];
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
      const int32_t* offsets = ListsAt(node.axis).offsets;
      int64_t* out = Write<int64_t>(*value);
      for (int64_t i = 0; i < rows_.n; ++i) {
        for (int32_t j = offsets[i]; j < offsets[i + 1]; ++j) out[j] = j - offsets[i];
      }
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
      return RunIndex(node, value);
    case Op::kPick:
      return RunPick(node, value);
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
    case Op::kFill: {
      const Value &x = At(node.a), &fill = At(node.b);
      const size_t width = SizeOf(node.dtype);
      *value = New(node.dtype, node.axis);
      uint8_t* out = Write(*value);
      std::memcpy(out, x.data, static_cast<size_t>(value->n) * width);
      for (int64_t i = 0; x.valid != nullptr && i < value->n; ++i) {
        if (!x.valid[i]) std::memcpy(out + static_cast<size_t>(i) * width, fill.data, width);
      }
      return;
    }
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
    for (int64_t i = 0; i < value->n; ++i) std::memcpy(out + static_cast<size_t>(i) * width, x.data, width);
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

void Evaluator::RunComponent(const Node& node, Value* value) {
  const Value& x = At(node.a);
  const Node& axis = NodeAt(node.b);
  const Lists& parent = ListsAt(NodeAt(node.a).axis);
  const size_t width = SizeOf(node.dtype);
  const int slot = static_cast<int>(node.imm);
  *value = New(node.dtype, node.axis);
  uint8_t* valid = x.valid != nullptr ? arena_.New<uint8_t>(value->n) : nullptr;
  value->valid = valid;
  if (axis.op == Op::kCross) {
    const int32_t *left = ListsAt(axis.a).offsets, *right = ListsAt(axis.b).offsets;
    int32_t* index = arena_.New<int32_t>(value->n);
    int64_t at = 0;
    for (int64_t r = 0; r < rows_.n; ++r) {
      for (int32_t i = left[r]; i < left[r + 1]; ++i) {
        for (int32_t j = right[r]; j < right[r + 1]; ++j) index[at++] = slot == 0 ? i : j;
      }
    }
    Kernels().gather(x.data, index, value->n, width, Write(*value));
    if (valid != nullptr) Kernels().gather(x.valid, index, value->n, 1, valid);
    return;
  }
  const int n = static_cast<int>(axis.imm);
  if (node.op == Op::kComponent) {
    const int32_t* index = Slots(node.b)[static_cast<size_t>(slot)];
    Kernels().gather(x.data, index, value->n, width, Write(*value));
    if (valid != nullptr) Kernels().gather(x.valid, index, value->n, 1, valid);
  } else if (n <= 3) {
    Kernels().component_sum(x.data, parent.offsets, rows_.n, n, node.dtype, Write(*value));
  } else {
    uint8_t* part = arena_.NewBytes(static_cast<size_t>(value->n) * width);
    const std::vector<const int32_t*>& slots = Slots(node.b);
    Kernels().gather(x.data, slots[0], value->n, width, Write(*value));
    const BinaryKernel add = Kernels().binary[0][static_cast<int>(node.dtype)];
    for (int s = 1; s < n; ++s) {
      Kernels().gather(x.data, slots[static_cast<size_t>(s)], value->n, width, part);
      add(value->data, false, part, false, value->n, Write(*value));
    }
  }
}

void Evaluator::RunIndex(const Node& node, Value* value) {
  const Value &x = At(node.a), &at = At(node.b);
  const int32_t* offsets = ListsAt(NodeAt(node.a).axis).offsets;
  const int64_t* wanted = Read<int64_t>(at);
  *value = New(node.dtype, kEventAxis);
  uint8_t* valid = arena_.New<uint8_t>(rows_.n);
  value->valid = valid;
  int32_t* element = arena_.New<int32_t>(rows_.n);
  for (int64_t r = 0; r < rows_.n; ++r) {
    const int64_t length = offsets[r + 1] - offsets[r];
    const int64_t asked = wanted[at.constant ? 0 : r];
    valid[r] =
        asked < length && asked >= -length && (at.valid == nullptr || at.valid[at.constant ? 0 : r] != 0);
    element[r] = valid[r] ? static_cast<int32_t>(offsets[r] + (asked < 0 ? asked + length : asked)) : 0;
  }
  for (int64_t r = 0; x.valid != nullptr && r < rows_.n; ++r) valid[r] = valid[r] && x.valid[element[r]] != 0;
  Dispatch(node.dtype, [&]<typename T>(T*) {
    const T* from = Read<T>(x);
    T* out = Write<T>(*value);
    for (int64_t r = 0; r < rows_.n; ++r) out[r] = valid[r] ? from[element[r]] : T{};
  });
}

// Which element of the parent list stands in a slot of combination (or pair of a cross) number i.
void Evaluator::RunPick(const Node& node, Value* value) {
  const Node& axis = NodeAt(node.a);
  const Value& at = At(node.b);
  const int32_t* offsets = ListsAt(node.a).offsets;
  const int32_t* parent = ListsAt(axis.a).offsets;
  const int64_t* wanted = Read<int64_t>(at);
  *value = New(DType::kInt64, kEventAxis);
  uint8_t* valid = arena_.New<uint8_t>(rows_.n);
  value->valid = valid;
  int64_t* out = Write<int64_t>(*value);
  const int slot = static_cast<int>(node.imm);
  for (int64_t r = 0; r < rows_.n; ++r) {
    const int64_t length = offsets[r + 1] - offsets[r];
    int64_t rest = wanted[at.constant ? 0 : r];
    valid[r] = rest < length && rest >= -length && (at.valid == nullptr || at.valid[at.constant ? 0 : r]);
    out[r] = 0;
    if (!valid[r]) continue;
    if (rest < 0) rest += length;
    if (axis.op == Op::kCross) {
      const int32_t* right = ListsAt(axis.b).offsets;
      const int64_t columns = right[r + 1] - right[r];
      out[r] = slot == 0 ? rest / columns : rest % columns;
      continue;
    }
    // Skip the sets that begin with a smaller element, slot after slot.
    const int64_t m = parent[r + 1] - parent[r];
    int64_t element = 0;
    for (int s = 0; s <= slot; ++s, ++element) {
      for (;; ++element) {
        const int left = static_cast<int>(axis.imm) - s - 1;
        const int64_t sets = left == 0 ? 1 : left == 1 ? m - element - 1 : Binomial(m - element - 1, left);
        if (rest < sets) break;
        rest -= sets;
      }
    }
    out[r] = element - 1;
  }
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
