// Results as Arrow record batches, through the C data interface and its PyCapsules.
//
// https://arrow.apache.org/docs/format/CDataInterface.html
// https://arrow.apache.org/docs/format/CDataInterface/PyCapsuleInterface.html
#pragma once

#include <nanobind/nanobind.h>

#include <string>
#include <vector>

#include "engine/result.h"

namespace skyhook {

// Returns an object with __arrow_c_schema__ and __arrow_c_array__ that keeps the result alive.
nanobind::object RecordBatchOf(nanobind::handle_t<Result> result, const std::vector<std::string>& names);

void BindRecordBatch(nanobind::module_& m);

}  // namespace skyhook
