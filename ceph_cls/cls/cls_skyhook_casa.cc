// The RADOS object class: the engine inside the OSD. See doc/wire.md and docs/administrators.md.
//
// A loaded class is not replaced until the OSD restarts, so the version of the wire format is part of
// its name and old and new ones can lie side by side. Nothing may escape from a method: an exception
// would kill the OSD, and the client's resend its replicas.
#include <rados/objclass.h>

#include <string>

#include "engine/wire.h"

CLS_VER(1, 0)
CLS_NAME(skyhook_casa_1)

namespace {

using skyhook::ByteRange;
using skyhook::Bytes;

void ReadObject(cls_method_context_t context, ByteRange range, uint8_t* to) {
  ceph::bufferlist data;
  const int read =
      cls_cxx_read(context, static_cast<int>(range.start), static_cast<int>(range.size()), &data);
  if (read < 0) {
    throw skyhook::Error(skyhook::Kind::kStore,
                         "the OSD cannot read the object: errno " + std::to_string(-read));
  }
  if (data.length() != range.size()) skyhook::Corrupt("the object is shorter than its directory says");
  data.begin().copy(static_cast<unsigned>(range.size()), reinterpret_cast<char*>(to));
}

using Answer = std::vector<uint8_t> (*)(Bytes request, const skyhook::ReadRange& read) noexcept;

// Hands a request to the engine. Errors that the caller can understand are frames too; an errno is for
// the OSD alone.
int Run(cls_method_context_t context, ceph::bufferlist* in, ceph::bufferlist* out, Answer answer) noexcept {
  try {
    if (in->length() > skyhook::kRequestBytesMax) return -E2BIG;
    const Bytes request(reinterpret_cast<const uint8_t*>(in->c_str()), in->length());
    const std::vector<uint8_t> frame =
        answer(request, [context](ByteRange range, uint8_t* to) { ReadObject(context, range, to); });
    if (frame.empty()) return -ENOMEM;
    out->append(reinterpret_cast<const char*>(frame.data()), static_cast<unsigned>(frame.size()));
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

// Tells the wire version, to find out whether the class is there; touches nothing.
int InfoMethod(cls_method_context_t, ceph::bufferlist*, ceph::bufferlist* out) {
  try {
    out->append("skyhook_casa wire " + std::to_string(skyhook::kWireVersion));
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
