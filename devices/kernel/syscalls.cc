// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/kernel/syscalls.h"

namespace passthru::kernel {

Syscalls::~Syscalls() = default;

}  // namespace passthru::kernel
