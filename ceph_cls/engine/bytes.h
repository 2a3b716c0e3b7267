// Little-endian fields, half-open byte ranges, and memory that is not cleared before use.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <span>
#include <type_traits>
#include <utility>

#include "status.h"

namespace skyhook {

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the object format is read in place");

using Bytes = std::span<const uint8_t>;

// `start` is in, `stop` is out; both count from the start of the object.
struct ByteRange {
  uint64_t start = 0;
  uint64_t stop = 0;
  uint64_t size() const { return stop - start; }
};

template <typename T>
T Load(const uint8_t* from) {
  static_assert(std::is_trivially_copyable_v<T>);
  T value;
  std::memcpy(&value, from, sizeof(T));
  return value;
}

// Bytes that may be read (and, in an arena, written) past the end of any value: kernels work on whole
// vectors.
inline constexpr size_t kSlackBytes = 64;

// A growable block of uninitialised bytes, aligned to 64, with slack behind it. Never shrinks.
class Buffer {
 public:
  Buffer() = default;
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  Buffer(Buffer&& other) noexcept { *this = std::move(other); }
  Buffer& operator=(Buffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(capacity_, other.capacity_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~Buffer() { std::free(data_); }

  // Makes the buffer `size` bytes long; old contents are lost.
  uint8_t* Renew(size_t size) {
    if (size + kSlackBytes > capacity_) {
      const size_t wanted = (size + size / 4 + 2 * kSlackBytes + 63) & ~size_t{63};
      void* memory = std::aligned_alloc(64, wanted);
      if (memory == nullptr) throw std::bad_alloc();
      std::free(data_);
      data_ = static_cast<uint8_t*>(memory);
      capacity_ = wanted;
    }
    size_ = size;
    return data_;
  }
  // Hands the block over to the caller, who must free() it.
  uint8_t* Release() {
    size_ = capacity_ = 0;
    return std::exchange(data_, nullptr);
  }
  uint8_t* data() { return data_; }
  const uint8_t* data() const { return data_; }
  size_t size() const { return size_; }
  Bytes bytes() const { return {data_, size_}; }

 private:
  uint8_t* data_ = nullptr;
  size_t capacity_ = 0;
  size_t size_ = 0;
};

}  // namespace skyhook
