// SHA-256, which names objects, in steps: the state may travel between them.
#pragma once

#include <array>
#include <cstdint>

#include "bytes.h"

namespace skyhook {

class Sha256 {
 public:
  static constexpr size_t kBlockBytes = 64;
  using State = std::array<uint32_t, 8>;

  // Before the first byte, or after bytes that `state` stands for.
  Sha256();
  explicit Sha256(const State& state) : state_(state) {}

  // REQUIRES: data.size() is a multiple of kBlockBytes.
  void Add(Bytes data);
  // Adds the last data.size() of `total` bytes. Then state() is the digest, each number big endian.
  void Finish(Bytes data, uint64_t total);
  const State& state() const { return state_; }

 private:
  State state_;
};

// Two ways to the same state; the second needs a processor with SHA instructions. For tests.
void Sha256BlocksPlain(Sha256::State* state, const uint8_t* data, size_t blocks);
void Sha256BlocksFast(Sha256::State* state, const uint8_t* data, size_t blocks);
bool HasSha256Instructions();

}  // namespace skyhook
