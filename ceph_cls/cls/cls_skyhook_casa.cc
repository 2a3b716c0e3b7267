// The RADOS object class: the engine inside the OSD. See doc/wire.md and docs/administrators.md.
//
// A loaded class is not replaced until the OSD restarts, so the version of the wire format is part of
// its name and old and new ones can lie side by side. Nothing may escape from a method: an exception
// would kill the OSD.
//
// If a request kills its OSD all the same, librados sends it to the next replica, and to every OSD in
// turn. So a request names the OSD process that may run it, and any other refuses.
#include <rados/objclass.h>
#include <sys/random.h>

#include <chrono>
#include <cstring>
#include <string>

#include "engine/wire.h"

CLS_VER(1, 0)
CLS_NAME(skyhook_casa_1)

namespace {

using skyhook::ByteRange;
using skyhook::Bytes;

// Bytes before a request: the number of the process that may run it.
constexpr size_t kProcessBytes = 8;

// A number that no other process has, nor the next one of this OSD.
uint64_t ThisProcess() {
  static const uint64_t number = [] {
    uint64_t drawn = 0;
    if (getrandom(&drawn, sizeof(drawn), GRND_NONBLOCK) != sizeof(drawn)) {
      drawn = static_cast<uint64_t>(std::chrono::system_clock::now().time_since_epoch().count());
    }
    return drawn;
  }();
  return number;
}

// Reads ranges of the object; the bytes stay until the next one. What the OSD has in memory in one piece is
// not copied.
class ObjectReader {
 public:
  explicit ObjectReader(cls_method_context_t context) : context_(context) {}
  Bytes Read(ByteRange range) {
    if (range.size() == 0) return {};  // to the OSD, no length means the whole object
    data_.clear();
    const int read =
        cls_cxx_read(context_, static_cast<int>(range.start), static_cast<int>(range.size()), &data_);
    if (read < 0) {
      failed_ = read;
      throw skyhook::Error(skyhook::Kind::kStore,
                           "the OSD cannot read the object: errno " + std::to_string(-read));
    }
    if (data_.length() != range.size()) skyhook::Corrupt("the object is shorter than its directory says");
    return {reinterpret_cast<const uint8_t*>(data_.c_str()), data_.length()};
  }
  int failed() const { return failed_; }

 private:
  cls_method_context_t context_;
  ceph::bufferlist data_;
  int failed_ = 0;
};

using Answer = skyhook::Buffer (*)(Bytes request, const skyhook::ReadRange& read) noexcept;

// Hands a request to the engine. Errors that the caller can understand are frames too; an errno is for
// the OSD alone.
int Run(cls_method_context_t context, ceph::bufferlist* in, ceph::bufferlist* out, Answer answer) noexcept {
  try {
    if (in->length() < kProcessBytes) return -EINVAL;
    if (in->length() > kProcessBytes + skyhook::kRequestBytesMax) return -E2BIG;
    const auto* data = reinterpret_cast<const uint8_t*>(in->c_str());
    uint64_t process = 0;
    std::memcpy(&process, data, kProcessBytes);
    if (process != ThisProcess()) return -ESTALE;
    ObjectReader reader(context);
    skyhook::Buffer frame = answer(Bytes(data + kProcessBytes, in->length() - kProcessBytes),
                                   [&reader](ByteRange range) { return reader.Read(range); });
    if (frame.size() == 0) return -ENOMEM;
    if (reader.failed() == -EOPNOTSUPP) return -EOPNOTSUPP;  // erasure-coded: nobody has a whole object
    const auto size = static_cast<unsigned>(frame.size());
    out->append(ceph::bufferptr(ceph::buffer::claim_malloc(size, reinterpret_cast<char*>(frame.Release()))));
    return 0;
  } catch (...) {
    return -EIO;
  }
}

int ScanMethod(cls_method_context_t context, ceph::bufferlist* in, ceph::bufferlist* out) {
  return Run(context, in, out, skyhook::AnswerScan);
}

int VerifyMethod(cls_method_context_t context, ceph::bufferlist* in, ceph::bufferlist* out) {
  return Run(context, in, out, skyhook::AnswerVerify);
}

// Tells the wire version, the number of this process, to which requests are then addressed, and what the
// class can do that earlier ones of this version could not.
int InfoMethod(cls_method_context_t, ceph::bufferlist*, ceph::bufferlist* out) {
  try {
    out->append("skyhook_casa wire " + std::to_string(skyhook::kWireVersion) + " process " +
                std::to_string(ThisProcess()) + " can " + skyhook::kAbilities);
    return 0;
  } catch (...) {
    return -ENOMEM;
  }
}

}  // namespace

CLS_INIT(skyhook_casa_1) {
  cls_handle_t handle;
  cls_method_handle_t method;
  // Unlike other calls it returns true if all is well.
  if (cls_register("skyhook_casa_1", &handle) == 0) return;
  cls_register_cxx_method(handle, "scan", CLS_METHOD_RD, ScanMethod, &method);
  cls_register_cxx_method(handle, "verify", CLS_METHOD_RD, VerifyMethod, &method);
  cls_register_cxx_method(handle, "info", CLS_METHOD_RD, InfoMethod, &method);
}
