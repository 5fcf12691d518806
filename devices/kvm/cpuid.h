// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_DEVICES_KVM_CPUID_H_
#define PASSTHRU_DEVICES_KVM_CPUID_H_

#include "absl/status/status.h"
#include "passthru/devices/kernel/syscalls.h"
#include "passthru/devices/kvm/kvm_vcpu.h"

namespace passthru::kvm {

// Gives `vcpu` every CPU feature that KVM supports here: what
// KVM_GET_SUPPORTED_CPUID answers goes to KVM_SET_CPUID2 as it is. Without any
// CPUID a vCPU has no long mode. Before the vCPU's first run.
absl::Status SetSupportedCpuid(kernel::Syscalls* syscalls, KvmVcpu& vcpu);

}  // namespace passthru::kvm

#endif  // PASSTHRU_DEVICES_KVM_CPUID_H_
