// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_DEVICES_KVM_CPUID_H_
#define PASSTHRU_DEVICES_KVM_CPUID_H_

#include <linux/kvm.h>

#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "passthru/devices/kernel/syscalls.h"
#include "passthru/devices/kvm/kvm_vcpu.h"

namespace passthru::kvm {

// Returns every CPU feature that KVM supports on this host
// (KVM_GET_SUPPORTED_CPUID).
absl::StatusOr<std::vector<kvm_cpuid_entry2>> SupportedCpuid(
    kernel::Syscalls* syscalls);

// Gives `vcpu` the features in `entries` (KVM_SET_CPUID2), which are those of
// SupportedCpuid(), or what a VMM makes of them, such as the numbers of several
// vCPUs (cpu_topology.h). A vCPU without CPUID has no long mode. Must be called
// before the vCPU's first Run().
absl::Status SetCpuid(kernel::Syscalls* syscalls, KvmVcpu& vcpu,
                      absl::Span<const kvm_cpuid_entry2> entries);

// Returns how many bits of a physical address a vCPU has with `entries` (leaf
// 0x80000008). It is the smaller of what the CPU has and of what KVM maps for a
// guest, which Linux reports since 6.10 (GuestPhysAddrSize), and at most 52.
// Returns 36, the least that a CPU in long mode has, without the leaf.
unsigned GuestPhysicalAddressBits(absl::Span<const kvm_cpuid_entry2> entries);

}  // namespace passthru::kvm

#endif  // PASSTHRU_DEVICES_KVM_CPUID_H_
