#include "codec.h"

#include <lz4frame.h>
#include <zstd.h>

#include "kernels.h"

namespace skyhook {

struct Decoder::Contexts {
  LZ4F_dctx* lz4 = nullptr;
  ZSTD_DCtx* zstd = nullptr;
  ~Contexts() {
    if (lz4 != nullptr) LZ4F_freeDecompressionContext(lz4);
    if (zstd != nullptr) ZSTD_freeDCtx(zstd);
  }
};

Decoder::Decoder() : contexts_(std::make_unique<Contexts>()) {}
Decoder::~Decoder() = default;

void CheckStored(Bytes stored, const ChunkEntry& entry) {
  if (stored.size() != entry.stored_bytes || Checksum(stored) != entry.checksum) {
    Corrupt("stored bytes do not match their checksum");
  }
}

namespace {

// An IPC body buffer may be padded to a multiple of 64 bytes before it is compressed.
constexpr uint64_t kPaddingMax = 64;

}  // namespace

Bytes Decoder::InPlace(Bytes stored, const ChunkEntry& entry, Codec codec, DType dtype) {
  if (dtype == DType::kBool || entry.n_values == 0) return {};
  if (codec == Codec::kNone) return stored.first(entry.raw_bytes);
  if (stored.size() >= 8 + uint64_t{entry.raw_bytes} && Load<int64_t>(stored.data()) == -1) {
    return stored.subspan(8, entry.raw_bytes);
  }
  return {};
}

void Decoder::Decode(Bytes stored, const ChunkEntry& entry, Codec codec, DType dtype, uint8_t* to) {
  if (entry.n_values == 0) return;
  Bytes raw;
  bool done = false;
  if (codec == Codec::kNone) {
    raw = stored.first(entry.raw_bytes);
  } else {
    if (stored.size() < 8) Corrupt("a compressed buffer is cut short");
    const int64_t length = Load<int64_t>(stored.data());
    if (length == -1) {
      if (stored.size() - 8 < entry.raw_bytes) Corrupt("a stored buffer is cut short");
      raw = stored.subspan(8, entry.raw_bytes);
    } else {
      if (length < static_cast<int64_t>(entry.raw_bytes) ||
          length > static_cast<int64_t>(entry.raw_bytes + kPaddingMax)) {
        Corrupt("a compressed buffer has the wrong length");
      }
      const bool direct = dtype != DType::kBool && length == static_cast<int64_t>(entry.raw_bytes);
      uint8_t* place = direct ? to : scratch_.Renew(static_cast<size_t>(length));
      Inflate(stored.subspan(8), codec, place, static_cast<uint64_t>(length));
      done = direct;
      raw = {place, entry.raw_bytes};
    }
  }
  if (done) return;
  if (dtype == DType::kBool) {
    Kernels().unpack_bits(raw.data(), entry.n_values, to);
  } else {
    std::memcpy(to, raw.data(), raw.size());
  }
}

void Decoder::Inflate(Bytes frame, Codec codec, uint8_t* to, uint64_t size) {
  if (codec == Codec::kZstd) {
    if (contexts_->zstd == nullptr) contexts_->zstd = ZSTD_createDCtx();
    if (contexts_->zstd == nullptr) throw std::bad_alloc();
    const size_t made = ZSTD_decompressDCtx(contexts_->zstd, to, size, frame.data(), frame.size());
    if (ZSTD_isError(made) || made != size) Corrupt("a zstd buffer does not decode");
    return;
  }
  if (contexts_->lz4 == nullptr &&
      LZ4F_isError(LZ4F_createDecompressionContext(&contexts_->lz4, LZ4F_VERSION))) {
    throw std::bad_alloc();
  }
  LZ4F_resetDecompressionContext(contexts_->lz4);
  LZ4F_decompressOptions_t options{};
  options.stableDst = 1;
  uint64_t in = 0, out = 0;
  size_t more = 1;  // 0 after the frame's end mark
  while (in < frame.size() && more != 0) {
    size_t taken = frame.size() - in, made = size - out;
    more = LZ4F_decompress(contexts_->lz4, to + out, &made, frame.data() + in, &taken, &options);
    if (LZ4F_isError(more)) Corrupt("an LZ4 buffer does not decode");
    in += taken;
    out += made;
    if (taken == 0 && made == 0) break;
  }
  if (more != 0 || out != size) Corrupt("an LZ4 buffer decodes to the wrong length");
}

}  // namespace skyhook
