#include "kernels.h"

namespace skyhook {

namespace base {
const KernelTable& Table();
}
#ifdef SKYHOOK_HAVE_V3
namespace v3 {
const KernelTable& Table();
}
#endif

const KernelTable& Kernels() {
#ifdef SKYHOOK_HAVE_V3
  static const bool has_v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2") &&
                             __builtin_cpu_supports("bmi") && __builtin_cpu_supports("fma");
  if (has_v3) return v3::Table();
#endif
  return base::Table();
}

}  // namespace skyhook
