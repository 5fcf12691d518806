// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_DEVICES_KVM_CPU_TOPOLOGY_H_
#define PASSTHRU_DEVICES_KVM_CPU_TOPOLOGY_H_

#include <linux/kvm.h>

#include <cstdint>
#include <vector>

#include "absl/types/span.h"

namespace passthru::kvm {

// What CPUID says about one vCPU of several.
struct CpuNumbers {
  uint32_t apic_id = 0;  // KVM's is the vCPU's ID
  uint32_t vcpu_count = 1;
  // Whether KVM has the timer (KVM_CAP_TSC_DEADLINE_TIMER), which older kernels
  // do not say in KVM_GET_SUPPORTED_CPUID.
  bool tsc_deadline_timer = false;
};

// Returns the entries of a vCPU. They are `supported`, which is that of the
// host's CPU, with the numbers of this vCPU in the place of those of the
// host's. The vCPUs are the cores of one package, with one thread each, and
// share the last level of the caches.
//
// It follows the Intel SDM (CPUID) and AMD's APM, volume 3, appendix E.
std::vector<kvm_cpuid_entry2> CpuidOf(
    const CpuNumbers& numbers, absl::Span<const kvm_cpuid_entry2> supported);

}  // namespace passthru::kvm

#endif  // PASSTHRU_DEVICES_KVM_CPU_TOPOLOGY_H_
