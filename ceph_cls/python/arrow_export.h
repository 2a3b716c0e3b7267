// Results as Arrow record batches, through the C data interface.
//
// https://arrow.apache.org/docs/format/CDataInterface.html
#pragma once

#include <nanobind/nanobind.h>

#include <utility>
#include <vector>

#include "engine/result.h"

namespace skyhook {

// A field of a record batch: one output on its own, or a list of structs of all outputs of one group.
using WireField = std::pair<bool, std::vector<int>>;  // whether it is a list; numbers of the outputs

// Calls `take` with the address of an ArrowArray, which it takes over, and returns what it returns. That is a
// record batch of the events [start, stop) of a result, which it keeps alive, with these fields, and last the
// events' numbers if the result keeps them. Values are not copied, except bool (packed to bits) and offsets
// (made int32).
//
// Throws Error: kInvalidRequest if there is no such output or event, kResourceExhausted if a list has more
// elements than int32 counts.
nanobind::object WireBatchOf(nanobind::handle_t<Result> result, const std::vector<WireField>& fields,
                             int64_t start, int64_t stop, nanobind::callable take);

}  // namespace skyhook
