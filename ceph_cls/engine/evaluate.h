// Runs the nodes of a program over a block of rows of one chunk.
#pragma once

#include <chrono>
#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include "arena.h"
#include "program.h"

namespace skyhook {

// Rows of one block; more are never evaluated at once.
inline constexpr int64_t kBlockRows = 2048;
// Elements that a block's combinations may have before the block is cut in two.
inline constexpr int64_t kBlockElements = 1 << 13;
// The same of combinations of which no value is written down.
inline constexpr int64_t kUnlistedElements = 1 << 16;
// Elements that the combinations of a single event may have.
inline constexpr int64_t kEventElementsMax = 1 << 24;

// A stored column's values of the whole chunk (of a list: its elements, or int32 offsets).
struct ColumnValues {
  const uint8_t* data = nullptr;
  int64_t n = 0;
};

// Rows of a chunk: `index[0..n)`, or `first` and the n - 1 rows behind it if `index` is null.
struct Rows {
  const int32_t* index;
  int64_t first;
  int64_t n;
};

struct Value {
  const uint8_t* data = nullptr;
  const uint8_t* valid = nullptr;  // null: every value is there
  int64_t n = 0;
  bool constant = false;  // one element stands for all
};

struct Lists {
  const int32_t* offsets = nullptr;   // n_rows + 1, from 0
  int64_t n = 0;                      // elements in all
  const int32_t* index = nullptr;     // of a filter: the elements kept, by number in the parent
  int64_t first = 0;                  // of a stored list in one run of rows: its first element
  const int32_t* runs = nullptr;      // of a cross, if a value asks for it: where each first part begins
  std::vector<const int32_t*> slots;  // of sets, if a value asks for them: elements by slot
};

class Evaluator {
 public:
  explicit Evaluator(const Program& program);

  // The nodes that `roots` need, in the order to run them.
  std::vector<int> Order(const std::vector<int32_t>& roots) const;

  // Evaluates `order` for `rows` of the chunk that `columns` (by column number) hold. Returns false,
  // with nothing evaluated, if the block should be tried with fewer rows.
  // Throws Error: kCorruptObject for offsets that contradict their elements, kInvalidRequest for lists
  // that should have but have not equal lengths, kResourceExhausted.
  bool Run(const std::vector<int>& order, const std::vector<ColumnValues>& columns, const Rows& rows);

  // Makes Run and CheckTime throw Error(kStore) from then on: whoever asked may compute it elsewhere. Looked
  // at before each node of each block.
  void GiveUpAt(std::chrono::steady_clock::time_point when) { give_up_at_ = when; }
  void CheckTime() const;

  // Valid until the next Run. Constants are expanded to one value per row.
  const Value& ValueOf(int32_t node);
  const Lists& ListsOf(int32_t axis) const { return lists_[static_cast<size_t>(axis)]; }

 private:
  // A node that is the mass of the sums of some elements: computed at once, without the nodes between.
  struct Mass {
    int32_t axis = -1;    // their combinations; -1: the node is none
    int32_t filter = -1;  // which of them are taken; -1: all
    int32_t parts[4]{};   // px, py, pz and e of the elements
  };
  // A node that says which mass is nearest to another, or how near that is.
  struct Nearest {
    int32_t mass = -1;  // a node; -1: it says nothing of the kind
    double target = 0;
    int32_t twin = -1;  // the node that says the other; -1 if there is none
  };
  // One element per event: shared by all nodes that index lists of one axis by one value.
  struct Place {
    bool made = false;
    const uint8_t* valid = nullptr;            // null: there always is one
    const int32_t* element = nullptr;          // by number in the block; 0 if there is none
    const int64_t* slots[kCombinationsMax]{};  // of kPick: where the parts stand in their lists
  };
  // evaluate_order.cc: what can be shared or left out, found once for each program.
  void FindTwins();
  void FindLeaders();
  void FindSources();
  void WantOperands(int number, std::vector<bool>* wanted) const;

  // evaluate.cc
  void FindListed(const std::vector<int>& order);
  bool RunNode(int number);
  Value New(DType dtype, int axis);
  const uint8_t* BothValid(const Value& a, const Value& b, int64_t n);
  const uint8_t* Truth(int32_t number);

  // evaluate_lists.cc
  bool RunAxis(int number, const Node& node);
  void RunList(const Node& node, Lists* lists);
  void RunFilter(const Node& node, Lists* lists);

  // evaluate_sets.cc
  void FindSets();
  Mass FindMass(int32_t number) const;
  int32_t SquareOfSum(int32_t number, Mass* mass) const;
  Nearest FindNearest(int32_t number) const;
  bool Fits(int32_t axis, int64_t elements) const;
  bool RunCombinations(int number, const Node& node, Lists* lists);
  bool RunCross(int number, const Node& node, Lists* lists);
  const std::vector<const int32_t*>& Slots(int32_t axis);
  const int32_t* CrossRuns(int32_t axis);
  void RunMass(const Mass& mass, const Node& node, Value* value);
  bool RunNearest(int number, const Node& node, Value* value);
  const int32_t* ByLength(const int32_t* offsets);
  const double* const* PartsOf(const Mass& mass, const double** parts);
  void RunComponent(const Node& node, Value* value);
  void RunPick(int number, const Node& node, Value* value);

  // evaluate_values.cc
  void RunLoad(const Node& node, Value* value);
  void RunUnary(int number, const Node& node, Value* value);
  void RunBinary(const Node& node, Value* value);
  void RunOther(int number, const Node& node, Value* value);
  void RunSpread(const Node& node, Value* value);
  void RunFill(const Node& node, Value* value);
  void RunInside(const Node& node, Value* value);
  void RunWhere(const Node& node, Value* value);

  // evaluate_reduce.cc
  // The lists that a reduction reduces: `n` of them with `offsets`.
  struct Runs {
    const int32_t* offsets;
    int64_t n;
  };
  Runs RunsOf(const Node& node);
  void RunReduce(int number, const Node& node, Value* value);
  bool RunTruths(const Node& node, const Runs& runs, Value* value);

  // evaluate_elements.cc
  void Locate(int32_t axis, int32_t index, Place* place);
  void RunIndex(int number, const Node& node, Value* value);
  void RunRemap(const Node& node, Value* value);

  Value& At(int32_t number) { return values_[static_cast<size_t>(number)]; }
  Lists& ListsAt(int32_t number) { return lists_[static_cast<size_t>(number)]; }
  const Node& NodeAt(int32_t number) const { return program_.nodes[static_cast<size_t>(number)]; }
  int64_t Length(int axis) const { return axis >= 0 ? lists_[static_cast<size_t>(axis)].n : rows_.n; }
  // `valid`, or null if all n are there.
  static const uint8_t* Missing(const uint8_t* valid, int64_t n) {
    return n > 0 && std::memchr(valid, 0, static_cast<size_t>(n)) != nullptr ? valid : nullptr;
  }
  template <typename T>
  static const T* Read(const Value& value) {
    return reinterpret_cast<const T*>(value.data);
  }
  // The values were just made by New: they may be written.
  template <typename T = uint8_t>
  static T* Write(const Value& value) {
    return reinterpret_cast<T*>(const_cast<uint8_t*>(value.data));
  }

  const Program& program_;
  const std::vector<ColumnValues>* columns_ = nullptr;
  Rows rows_{};
  std::chrono::steady_clock::time_point give_up_at_ = std::chrono::steady_clock::time_point::max();
  std::vector<Value> values_;
  std::vector<Lists> lists_;
  std::vector<Mass> masses_;      // by node
  std::vector<Nearest> nearest_;  // by node
  std::vector<int32_t> twins_;    // of a sine the cosine of the same, and the other way round; else -1
  std::vector<int32_t> leaders_;  // of an index or pick the first node that asks for the same place
  std::vector<int32_t> sources_;  // of an index the node whose elements it gets, through takes and components
  std::vector<Place> places_;     // by leader, of this Run
  std::vector<bool> listed_;      // axes of which this Run writes values down
  std::vector<bool> in_order_;    // of this Run
  std::vector<bool> made_;        // in this Run, with its twin
  Arena arena_;
};

}  // namespace skyhook
