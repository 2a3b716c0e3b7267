#include "evaluate.h"

#include <algorithm>
#include <limits>
#include <map>
#include <tuple>

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

// ------------------------------------------------------------------------------------------ axes
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

// ---------------------------------------------------------------------------------------- values
Value Evaluator::New(DType dtype, int axis) {
  Value value;
  value.n = axis == kConstAxis ? 1 : Length(axis);
  value.constant = axis == kConstAxis;
  value.data = arena_.NewBytes(static_cast<size_t>(value.n) * SizeOf(dtype));
  return value;
}

namespace {

template <typename T>
const T* Read(const Value& value) {
  return reinterpret_cast<const T*>(value.data);
}

}  // namespace

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
