// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_KVM_FAKE_KVM_CAPS_H_
#define PASSTHRU_TESTING_KVM_FAKE_KVM_CAPS_H_

#include <cstddef>
#include <cstdint>

#include "passthru/testing/kernel/kernel_version.h"

namespace passthru::fake {

// KVM_GET_VCPU_MMAP_SIZE on x86: one page each for struct kvm_run, the port I/O
// data and the coalesced MMIO ring.
inline constexpr size_t kVcpuMmapSize = 12288;

// kvm_caps.supported_mce_cap (MCG_CTL_P and MCG_SER_P), and KVM_MAX_MCE_BANKS.
inline constexpr uint64_t kKvmMceCapabilities = 0x1000100;
inline constexpr uint32_t kKvmMceBanks = 32;
inline constexpr uint32_t kKvmSlotCount = 32764;    // KVM_USER_MEM_SLOTS
inline constexpr uint32_t kKvmMaxIrqRoutes = 4096;  // KVM_MAX_IRQ_ROUTES
inline constexpr uint64_t kKvmPageSize = 4096;      // PAGE_SIZE of x86

// KVM_MAX_VCPUS of Debian's kernels, whose configuration sets it, and
// KVM_MAX_VCPU_IDS.
uint32_t KvmMaxVcpus(KernelVersion version);
uint32_t KvmMaxVcpuIds(KernelVersion version);

// Returns the answer of KVM_CHECK_EXTENSION as measured on that kernel
// (Debian's builds, of which the one of 6.18 lacked SMM). Returns 0 for a
// capability that the fake does not implement.
int KvmCapability(KernelVersion version, unsigned long capability);

}  // namespace passthru::fake

#endif  // PASSTHRU_TESTING_KVM_FAKE_KVM_CAPS_H_
