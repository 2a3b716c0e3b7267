// A second evaluator: one event after the other, one element after the other, plain loops.
//
// Only the arithmetic of single numbers is the engine's (the base kernels, which have tests of their own).
#pragma once

#include <cstdint>
#include <vector>

#include "engine/kernels.h"
#include "engine/program.h"
#include "engine/result.h"
#include "object_maker.h"

namespace skyhook {
namespace base {
const KernelTable& Table();
}
#ifdef SKYHOOK_HAVE_V3
namespace v3 {
const KernelTable& Table();
}
#endif
}  // namespace skyhook

namespace skyhook::test {

struct Cell {
  uint64_t bits = 0;  // the value's bytes
  bool valid = true;
};

class Naive {
 public:
  Naive(const Program& program, const Table& table);

  // Computes every node for one event.
  void Evaluate(size_t chunk, uint32_t row);
  // One cell for a value per event or a constant, else one per element.
  const std::vector<Cell>& ValueOf(int32_t node) const { return values_[static_cast<size_t>(node)]; }
  bool Truth(int32_t node) const { return ValueOf(node)[0].valid && ValueOf(node)[0].bits != 0; }

  // What a scan of an object made from the table must deliver; of the report what each term leaves.
  Result Scan(Result result);

 private:
  using Sets = std::vector<std::vector<int32_t>>;  // per element: numbers of elements of the operands
  void Axis(const Node& node, Sets* sets) const;
  std::vector<Cell> Compute(int number, const Node& node) const;
  std::vector<Cell> Stored(const Node& node) const;
  std::vector<Cell> ElementWise(const Node& node) const;
  std::vector<Cell> Reduced(const Node& node) const;
  Cell Reduced(const Node& node, const std::vector<Cell>& x) const;
  Cell Inside(const Node& node, const Cell& x) const;
  Cell Moved(const Node& node, const Cell& index) const;
  const Cell& Element(int32_t node, size_t i) const;
  int32_t OffsetAt(int column, uint32_t row) const;
  size_t Length(int axis) const { return axis >= 0 ? axes_[static_cast<size_t>(axis)].size() : 1; }
  const Node& NodeAt(int32_t number) const { return program_.nodes[static_cast<size_t>(number)]; }

  const Program& program_;
  const Table& table_;
  std::vector<int> columns_;  // of the table, by column of the program
  size_t chunk_ = 0;
  uint32_t row_ = 0;
  std::vector<std::vector<Cell>> values_;
  std::vector<Sets> axes_;
};

}  // namespace skyhook::test
