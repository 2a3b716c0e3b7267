// The part of a kernel table that kernels_sets.cc makes.
#pragma once

#include "kernels.h"

namespace skyhook::SKYHOOK_KERNELS {

void AddSetKernels(KernelTable* table);

}  // namespace skyhook::SKYHOOK_KERNELS
