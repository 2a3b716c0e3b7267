// A Python object's bytes, held for reading.
#pragma once

#include <nanobind/nanobind.h>

#include "engine/bytes.h"

namespace skyhook {

class ReadBuffer {
 public:
  explicit ReadBuffer(nanobind::handle object) {
    if (PyObject_GetBuffer(object.ptr(), &view_, PyBUF_SIMPLE) != 0) throw nanobind::python_error();
  }
  ReadBuffer(const ReadBuffer&) = delete;
  ReadBuffer& operator=(const ReadBuffer&) = delete;
  ~ReadBuffer() { PyBuffer_Release(&view_); }
  Bytes bytes() const { return {static_cast<const uint8_t*>(view_.buf), static_cast<size_t>(view_.len)}; }

 private:
  Py_buffer view_{};
};

}  // namespace skyhook
