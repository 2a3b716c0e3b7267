// Random tables, and random programs that are valid for them. Everything follows from the seed.
#pragma once

#include <map>
#include <random>
#include <string>
#include <vector>

#include "object_maker.h"
#include "program_maker.h"

namespace skyhook::test {

using Random = std::mt19937_64;

// Columns of every dtype per event ("e_int32") and in the lists A and B ("A_int32"); list T has as many
// elements as A in each event. Values of a chunk are sometimes close to each other, sometimes extreme.
Table RandomTable(Random* random, int n_chunks, uint32_t events_max, int length_max);

class RandomProgram {
 public:
  explicit RandomProgram(Random* random) : random_(*random) {}

  // Adds nodes for a value of `dtype` on `axis` (an axis node or kEventAxis) and returns its number.
  int Value(int axis, DType dtype, int depth, bool may_be_constant = false);
  int Axis(int depth);
  DType AnyDType() { return static_cast<DType>(Below(kDTypes)); }
  int Below(int n) { return static_cast<int>(random_() % static_cast<uint64_t>(n)); }

  ProgramMaker maker;

 private:
  struct Known {
    int axis;
    bool optional;
    int64_t length_max;
  };
  int Note(int node, int axis, bool optional, int64_t length_max = 0);
  int Choose(int axis, DType dtype, int depth);
  int Leaf(int axis, DType dtype);
  int Constant(DType dtype);
  int Truth(int axis, int depth);
  int Arithmetic(int axis, DType dtype, int depth);
  int Inside(int axis, int depth);
  int FromList(DType dtype, int depth);
  int FromCross(int axis, DType dtype, int depth);
  int OnList(int axis, DType dtype, int depth);
  int Pair(Op op, int axis, DType dtype, int depth);
  const Known& At(int node) const { return known_.at(node); }

  Random& random_;
  std::map<int, Known> known_;
  std::vector<int> axes_;
  std::map<std::string, int> lists_;
};

// A program with some terms and outputs.
ProgramMaker MakeRandomProgram(Random* random, int terms_max = 2, int outputs_max = 4, int depth = 3);

extern const char* const kDTypeNames[kDTypes];

}  // namespace skyhook::test
