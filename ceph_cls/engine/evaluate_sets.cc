// Combinations, crosses and what is computed of them without writing down every one.
#include <algorithm>
#include <bit>
#include <map>

#include "evaluate.h"
#include "kernels.h"

namespace skyhook {
namespace {

// How many sets of n there are in a list of m; large numbers are cut off.
int64_t Binomial(int64_t m, int n) {
  if (m < n) return 0;
  if (n == 2) return m * (m - 1) / 2;
  if (n == 3 && m < 1000) return m * (m - 1) * (m - 2) / 6;
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

// The numbers of the elements, in a list of m, of set number `place` of n in lexicographic order.
void SetAt(int64_t place, int64_t m, int n, int64_t* elements) {
  // Skip the sets that begin with a smaller element, slot after slot.
  int64_t element = 0;
  for (int s = 0; s < n; ++s, ++element) {
    const int left = n - s - 1;
    if (left == 0) element += place;
    while (left > 0) {
      const int64_t rest = m - element - 1, sets = left == 1 ? rest : Binomial(rest, left);
      if (place < sets) break;
      place -= sets;
      ++element;
    }
    elements[s] = element;
  }
}

}  // namespace

// ------------------------------------------------------------------------------------------ axes
bool Evaluator::Fits(int32_t axis, int64_t elements) const {
  if (elements > kEventElementsMax && rows_.n == 1) {
    throw Error(Kind::kResourceExhausted, "the combinations of one event have more than 2^24 elements");
  }
  const int64_t most = listed_[static_cast<size_t>(axis)] ? kBlockElements : kUnlistedElements;
  return elements <= most || rows_.n == 1;
}

bool Evaluator::RunCombinations(int number, const Node& node, Lists* lists) {
  const Lists& parent = ListsAt(node.a);
  const int n = static_cast<int>(node.imm);
  int32_t* offsets = arena_.New<int32_t>(rows_.n + 1);
  offsets[0] = 0;
  int64_t total = 0;
  for (int64_t i = 0; i < rows_.n; ++i) {
    total += Binomial(int64_t{parent.offsets[i + 1]} - parent.offsets[i], n);
    if (!Fits(number, total)) return false;
    offsets[i + 1] = static_cast<int32_t>(total);
  }
  lists->offsets = offsets;
  lists->n = total;
  return true;
}

bool Evaluator::RunCross(int number, const Node& node, Lists* lists) {
  const Lists &left = ListsAt(node.a), &right = ListsAt(node.b);
  int32_t* offsets = arena_.New<int32_t>(rows_.n + 1);
  offsets[0] = 0;
  int64_t total = 0;
  for (int64_t i = 0; i < rows_.n; ++i) {
    total += int64_t{left.offsets[i + 1] - left.offsets[i]} * (right.offsets[i + 1] - right.offsets[i]);
    if (!Fits(number, total)) return false;
    offsets[i + 1] = static_cast<int32_t>(total);
  }
  lists->offsets = offsets;
  lists->n = total;
  return true;
}

// The elements of every combination or pair of an axis, in lexicographic order; written down once a block.
const std::vector<const int32_t*>& Evaluator::Slots(int32_t number) {
  const Node& node = NodeAt(number);
  Lists& lists = ListsAt(number);
  if (!lists.slots.empty()) return lists.slots;
  const Lists& parent = ListsAt(node.a);
  const int n = node.op == Op::kCross ? 2 : static_cast<int>(node.imm);
  std::vector<int32_t*> slots;
  for (int s = 0; s < n; ++s) slots.push_back(arena_.New<int32_t>(lists.n));
  lists.slots.assign(slots.begin(), slots.end());
  if (node.op == Op::kCross) {
    Kernels().cross_slots(parent.offsets, ListsAt(node.b).offsets, rows_.n, slots[0], slots[1]);
    return lists.slots;
  }
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

// Where the elements of a cross begin that have the same first part.
const int32_t* Evaluator::CrossRuns(int32_t number) {
  const Node& node = NodeAt(number);
  Lists& lists = ListsAt(number);
  if (lists.runs != nullptr) return lists.runs;
  int32_t* runs = arena_.New<int32_t>(ListsAt(node.a).n + 1);
  Kernels().cross_runs(ListsAt(node.a).offsets, ListsAt(node.b).offsets, rows_.n, runs);
  lists.runs = runs;
  return runs;
}

// ---------------------------------------------------------------------------------------- masses
// What is squared, if `number` is the square of the sum of something over combinations; else -1.
int32_t Evaluator::SquareOfSum(int32_t number, Mass* mass) const {
  const Node& square = NodeAt(number);
  if (square.op != Op::kMul || square.a != square.b) return -1;
  const Node& kept = NodeAt(square.a);
  const Node& sum = kept.op == Op::kTake ? NodeAt(kept.a) : kept;
  const int32_t filter = kept.op == Op::kTake ? kept.b : -1;
  if (sum.op != Op::kComponentSum || sum.dtype != DType::kFloat64 || sum.optional) return -1;
  if (NodeAt(sum.b).imm > 3) return -1;
  if (mass->axis >= 0 && (mass->axis != sum.b || mass->filter != filter)) return -1;
  mass->axis = sum.b;
  mass->filter = filter;
  return sum.a;
}

// signed_sqrt(e * e - ((px * px + py * py) + pz * pz)), each a component_sum over the same combinations, or
// what one filter takes of it.
Evaluator::Mass Evaluator::FindMass(int32_t number) const {
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
    mass.parts[i] = SquareOfSum(squares[i], &mass);
    if (mass.parts[i] < 0) return {};
  }
  return mass;
}

// argmin or min of abs(mass - target) or of abs(target - mass).
Evaluator::Nearest Evaluator::FindNearest(int32_t number) const {
  const Node& root = NodeAt(number);
  if ((root.op != Op::kArgmin && root.op != Op::kMin) || root.b >= 0) return {};
  const Node& distance = NodeAt(root.a);
  if (distance.op != Op::kAbs || distance.dtype != DType::kFloat64) return {};
  const Node& difference = NodeAt(distance.a);
  if (difference.op != Op::kSub) return {};
  const bool swapped = NodeAt(difference.a).op == Op::kConst;
  const int32_t mass = swapped ? difference.b : difference.a;
  const Node& constant = NodeAt(swapped ? difference.a : difference.b);
  const Mass& found = masses_[static_cast<size_t>(mass)];
  if (constant.op != Op::kConst || found.axis < 0 || found.filter >= 0) return {};
  const double target = std::bit_cast<double>(constant.imm);
  if (!CanBeNearest(target)) return {};
  return {mass, target, -1};
}

void Evaluator::FindSets() {
  const size_t n = program_.nodes.size();
  for (size_t i = 0; i < n; ++i) masses_.push_back(FindMass(static_cast<int32_t>(i)));
  std::map<int32_t, int32_t> found;  // by what is reduced
  for (size_t i = 0; i < n; ++i) {
    const int32_t number = static_cast<int32_t>(i);
    nearest_.push_back(FindNearest(number));
    if (nearest_[i].mass < 0) continue;
    const auto [other, first] = found.emplace(NodeAt(number).a, number);
    if (first || NodeAt(other->second).op == NodeAt(number).op) continue;
    nearest_[i].twin = other->second;
    nearest_[static_cast<size_t>(other->second)].twin = number;
  }
}

const double* const* Evaluator::PartsOf(const Mass& mass, const double** parts) {
  for (int i = 0; i < 4; ++i) parts[i] = reinterpret_cast<const double*>(At(mass.parts[i]).data);
  return parts;
}

void Evaluator::RunMass(const Mass& mass, const Node& node, Value* value) {
  const Node& axis = NodeAt(mass.axis);
  const double* parts[4];
  *value = New(node.dtype, node.axis);
  double* out = Write<double>(*value);
  double* all = mass.filter < 0 ? out : arena_.New<double>(ListsAt(mass.axis).n);
  Kernels().mass_of_sums(PartsOf(mass, parts), ListsAt(axis.a).offsets, rows_.n, static_cast<int>(axis.imm),
                         all);
  if (mass.filter >= 0) Kernels().gather(all, ListsAt(mass.filter).index, value->n, sizeof(double), out);
}

// The numbers of the rows, those with shorter lists first.
const int32_t* Evaluator::ByLength(const int32_t* offsets) {
  constexpr int32_t kLong = 64;  // and all longer ones together
  const auto length = [&](int64_t r) { return std::min(offsets[r + 1] - offsets[r], kLong); };
  int32_t at[kLong + 2] = {};
  for (int64_t r = 0; r < rows_.n; ++r) ++at[length(r) + 1];
  for (int32_t m = 0; m < kLong; ++m) at[m + 1] += at[m];
  int32_t* rows = arena_.New<int32_t>(rows_.n);
  for (int64_t r = 0; r < rows_.n; ++r) rows[at[length(r)]++] = static_cast<int32_t>(r);
  return rows;
}

// Computed without the masses, if nobody else needs them. Returns whether it is.
bool Evaluator::RunNearest(int number, const Node& node, Value* value) {
  const Nearest& nearest = nearest_[static_cast<size_t>(number)];
  if (nearest.mass < 0 || in_order_[static_cast<size_t>(node.a)]) return false;
  const Mass& mass = masses_[static_cast<size_t>(nearest.mass)];
  const Node& axis = NodeAt(mass.axis);
  const int32_t *lists = ListsAt(axis.a).offsets, *sets = ListsAt(mass.axis).offsets;
  uint8_t* valid = arena_.New<uint8_t>(rows_.n);
  int64_t longest = 0, most = 0;
  for (int64_t r = 0; r < rows_.n; ++r) {
    const int64_t here = sets[r + 1] - sets[r];
    valid[r] = here > 0;
    most = std::max(most, here);
    longest = std::max<int64_t>(longest, lists[r + 1] - lists[r]);
  }
  const bool twin = nearest.twin >= 0 && in_order_[static_cast<size_t>(nearest.twin)];
  Value place = New(DType::kInt64, kEventAxis), distance = New(DType::kFloat64, kEventAxis);
  place.valid = distance.valid = Missing(valid, rows_.n);
  const double* parts[4];
  Kernels().nearest_mass(PartsOf(mass, parts), lists, ByLength(lists), rows_.n, static_cast<int>(axis.imm),
                         nearest.target, arena_.New<double>(NearestScratch(longest, most)),
                         Write<int64_t>(place), Write<double>(distance));
  *value = node.op == Op::kArgmin ? place : distance;
  if (!twin) return true;
  At(nearest.twin) = node.op == Op::kArgmin ? distance : place;
  made_[static_cast<size_t>(nearest.twin)] = true;
  return true;
}

// ------------------------------------------------------------------------------------ components
void Evaluator::RunComponent(const Node& node, Value* value) {
  const Value& x = At(node.a);
  const Node& axis = NodeAt(node.b);
  const size_t width = SizeOf(node.dtype);
  *value = New(node.dtype, node.axis);
  uint8_t* out = Write(*value);
  if (node.op == Op::kComponent) {
    const int32_t* index = Slots(node.b)[static_cast<size_t>(node.imm)];
    Kernels().gather(x.data, index, value->n, width, out);
    if (x.valid == nullptr) return;
    uint8_t* valid = arena_.New<uint8_t>(value->n);
    Kernels().gather(x.valid, index, value->n, 1, valid);
    value->valid = valid;
    return;
  }
  const int n = static_cast<int>(axis.imm);
  if (n <= 3) {
    Kernels().component_sum(x.data, ListsAt(axis.a).offsets, rows_.n, n, node.dtype, out);
    return;
  }
  uint8_t* part = arena_.NewBytes(static_cast<size_t>(value->n) * width);
  const std::vector<const int32_t*>& slots = Slots(node.b);
  Kernels().gather(x.data, slots[0], value->n, width, out);
  const BinaryKernel add = Kernels().binary[0][static_cast<int>(node.dtype)];
  for (int s = 1; s < n; ++s) {
    Kernels().gather(x.data, slots[static_cast<size_t>(s)], value->n, width, part);
    add(value->data, false, part, false, value->n, out);
  }
}

// Which element of the parent list stands in a slot of combination (or pair of a cross) number i: of all
// slots at once, as the nodes of the others need them too.
void Evaluator::RunPick(int number, const Node& node, Value* value) {
  Place& picked = places_[static_cast<size_t>(leaders_[static_cast<size_t>(number)])];
  const Node& axis = NodeAt(node.a);
  const int n = axis.op == Op::kCross ? 2 : static_cast<int>(axis.imm);
  if (!picked.made) {
    Locate(node.a, node.b, &picked);
    int64_t* slots[kCombinationsMax];
    for (int s = 0; s < n; ++s) picked.slots[s] = slots[s] = arena_.New<int64_t>(rows_.n);
    const int32_t *parent = ListsAt(axis.a).offsets, *offsets = ListsAt(node.a).offsets;
    const int32_t* right = axis.op == Op::kCross ? ListsAt(axis.b).offsets : nullptr;
    for (int64_t r = 0; r < rows_.n; ++r) {
      int64_t set[kCombinationsMax] = {};
      if (picked.valid == nullptr || picked.valid[r]) {
        const int64_t place = picked.element[r] - offsets[r];
        if (right != nullptr) {
          set[0] = place / (right[r + 1] - right[r]);
          set[1] = place % (right[r + 1] - right[r]);
        } else {
          SetAt(place, parent[r + 1] - parent[r], n, set);
        }
      }
      for (int s = 0; s < n; ++s) slots[s][r] = set[s];
    }
  }
  value->data = reinterpret_cast<const uint8_t*>(picked.slots[node.imm]);
  value->n = rows_.n;
  value->valid = picked.valid;
}

}  // namespace skyhook
