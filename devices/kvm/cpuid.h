// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_DEVICES_KVM_CPUID_H_
#define PASSTHRU_DEVICES_KVM_CPUID_H_

#include "absl/status/status.h"
#include "passthru/devices/kernel/syscalls.h"
#include "passthru/devices/kvm/kvm_vcpu.h"

namespace passthru::kvm {

// Gives `vcpu` every CPU feature that KVM supports on this host. It passes the
// result of KVM_GET_SUPPORTED_CPUID to KVM_SET_CPUID2 unchanged. A vCPU without
// CPUID has no long mode. Must be called before the vCPU's first Run().
absl::Status SetSupportedCpuid(kernel::Syscalls* syscalls, KvmVcpu& vcpu);

}  // namespace passthru::kvm

#endif  // PASSTHRU_DEVICES_KVM_CPUID_H_
