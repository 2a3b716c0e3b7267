// The part of a kernel table that kernels_float64.cc makes.
#pragma once

#include "kernels.h"

namespace skyhook::SKYHOOK_KERNELS {

void AddFloat64Kernels(KernelTable* table);

}  // namespace skyhook::SKYHOOK_KERNELS
