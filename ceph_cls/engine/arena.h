// Memory for the values of one block.
#pragma once

#include <vector>

#include "bytes.h"

namespace skyhook {

// Memory that one block may take.
inline constexpr size_t kBlockBytesMax = size_t{1} << 30;

// Memory that is handed out in a row, taken back all at once.
class Arena {
 public:
  template <typename T>
  T* New(int64_t n) {
    return reinterpret_cast<T*>(NewBytes(static_cast<size_t>(n) * sizeof(T)));
  }
  uint8_t* NewBytes(size_t size);
  void Reset();

 private:
  std::vector<Buffer> blocks_;
  size_t block_ = 0;
  size_t used_ = 0;
  size_t total_ = 0;
};

}  // namespace skyhook
