// Arrow record batches as NumPy arrays, through the C data interface.
#pragma once

#include <nanobind/nanobind.h>

#include <string>
#include <vector>

#include "engine/dtype.h"
#include "python/arrow_export.h"

namespace skyhook {

// The record batches of an answer, as they travel: made once, taken apart with one call each.
class WireForm {
 public:
  // `fields` as in `WireBatchOf`, `names` one for each of them, to tell of in errors; `dtypes` of the
  // outputs. With `rows` the events' numbers come last.
  //
  // Throws Error: kInvalidRequest if a field names an output that is not there.
  WireForm(std::vector<std::string> names, std::vector<WireField> fields, std::vector<DType> dtypes,
           bool rows);

  // Returns (events, values, valid, offsets, rows) of the record batch that `give` moves to the address of
  // an ArrowArray: of each output its values, and which of them are there (None: all); and of each field the
  // offsets of its lists, from 0, int32 (None: it has no lists). Only bools, and offsets that are not from
  // 0, are copied; the arrays keep the batch alive.
  //
  // All offsets are looked at. What is not looked at, as it cannot be here: that buffers are as large as
  // the lengths and offsets say.
  // REQUIRES: the batch has the types of this form, and Arrow found no contradictions in its sizes.
  //
  // Throws Error: kCorruptObject if lists do not fit their elements, or something is missing that must not.
  nanobind::tuple Open(nanobind::callable give) const;

 private:
  std::vector<std::string> names_;
  std::vector<WireField> fields_;
  std::vector<DType> dtypes_;
  bool rows_;
};

}  // namespace skyhook
