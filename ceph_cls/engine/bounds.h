// What a chunk's zone maps say about an expression, without reading the chunk.
//
// Each node of a program is evaluated over ranges instead of values. The ranges are never too
// narrow: sums and products are widened by a rounding error, and what is not understood may be
// anything. So a term that can only be false here is false for every event of the chunk.
#pragma once

#include <vector>

#include "directory.h"
#include "program.h"

namespace skyhook {

struct Bounds {
  double low;
  double high;
  bool may_nan = false;
  bool may_true() const { return high > 0; }
  bool may_false() const { return low <= 0; }
};

enum class Verdict { kNever, kSometimes, kAlways };

// `rows[i]` is column i's row of the directory, null if it was not read. Returns one verdict a term.
std::vector<Verdict> JudgeTerms(const Program& program, const std::vector<const ColumnRow*>& rows,
                                uint32_t chunk);

}  // namespace skyhook
