#include "arena.h"

#include <algorithm>

namespace skyhook {

uint8_t* Arena::NewBytes(size_t size) {
  constexpr size_t kBlock = size_t{1} << 20;
  size = (size + kSlackBytes + 63) & ~size_t{63};
  total_ += size;
  if (total_ > kBlockBytesMax) {
    throw Error(Kind::kResourceExhausted, "the query needs more than 1 GiB for one block of events");
  }
  while (block_ < blocks_.size() && used_ + size > blocks_[block_].size()) {
    ++block_;
    used_ = 0;
  }
  if (block_ == blocks_.size()) {
    blocks_.emplace_back();
    blocks_.back().Renew(std::max(size, kBlock));
    used_ = 0;
  }
  uint8_t* place = blocks_[block_].data() + used_;
  used_ += size;
  return place;
}

void Arena::Reset() { block_ = used_ = total_ = 0; }

}  // namespace skyhook
