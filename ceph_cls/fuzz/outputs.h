// The result that a program's outputs fit.
#pragma once

#include <algorithm>
#include <utility>
#include <vector>

#include "engine/result.h"
#include "engine/scan.h"

namespace skyhook {

inline Result ResultFor(const Program& program) {
  std::vector<DType> dtypes;
  std::vector<int> groups, axes;
  for (int32_t output : program.outputs) {
    const Node& node = program.nodes[static_cast<size_t>(output)];
    dtypes.push_back(node.dtype);
    groups.push_back(-1);
    if (node.axis < 0) continue;
    auto found = std::find(axes.begin(), axes.end(), node.axis);
    if (found == axes.end()) found = axes.insert(axes.end(), node.axis);
    groups.back() = static_cast<int>(found - axes.begin());
  }
  return Result(std::move(dtypes), groups, true);
}

}  // namespace skyhook
