// NumPy arrays over memory that something else owns, and the engine's dtypes by their NumPy names.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include "engine/dtype.h"

namespace skyhook {

// A read-only NumPy array over memory of `owner`, which it keeps alive. `data` of no values may be null.
inline nanobind::object ArrayOf(nanobind::handle owner, const void* data, size_t n,
                                nanobind::dlpack::dtype dtype) {
  const size_t shape[1] = {n};
  static const uint64_t nothing = 0;
  return nanobind::cast(nanobind::ndarray<nanobind::numpy, nanobind::ro>(n == 0 ? &nothing : data, 1, shape,
                                                                         owner, nullptr, dtype));
}

inline nanobind::dlpack::dtype DlpackOf(DType dtype) {
  return Dispatch(dtype, []<typename T>(T*) { return nanobind::dtype<T>(); });
}

}  // namespace skyhook
