// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/kvm/fake_kvm_caps.h"

#include <linux/kvm.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>

#include "passthru/testing/kernel/kernel_version.h"

namespace passthru::fake {

// 7.2 was not measured, and has the configuration of 6.12.
uint32_t KvmMaxVcpus(KernelVersion version) {
  return version == KernelVersion::k6_12 || version == KernelVersion::k7_2
             ? 4096
             : 1024;
}

// KVM_VCPU_ID_RATIO is 4.
uint32_t KvmMaxVcpuIds(KernelVersion version) {
  return 4 * KvmMaxVcpus(version);
}

int KvmCapability(KernelVersion version, unsigned long capability) {
  switch (capability) {
    case KVM_CAP_IRQCHIP:
    case KVM_CAP_USER_MEMORY:
    case KVM_CAP_SET_TSS_ADDR:
    case KVM_CAP_EXT_CPUID:
    case KVM_CAP_SYNC_MMU:
    case KVM_CAP_IRQFD:
    case KVM_CAP_PIT2:
    case KVM_CAP_IOEVENTFD:
    case KVM_CAP_SET_IDENTITY_MAP_ADDR:
    case KVM_CAP_SIGNAL_MSI:
    case KVM_CAP_READONLY_MEM:
    case KVM_CAP_IRQFD_RESAMPLE:
    case KVM_CAP_ENABLE_CAP_VM:
    case KVM_CAP_CHECK_EXTENSION_VM:
    case KVM_CAP_SPLIT_IRQCHIP:
    case KVM_CAP_IOEVENTFD_ANY_LENGTH:
    case KVM_CAP_IMMEDIATE_EXIT:
    case KVM_CAP_MP_STATE:
    case KVM_CAP_DESTROY_MEMORY_REGION_WORKS:
    case KVM_CAP_JOIN_MEMORY_REGIONS_WORKS:
    case KVM_CAP_PIT_STATE2:
    case KVM_CAP_INTERNAL_ERROR_DATA:
    case KVM_CAP_VCPU_EVENTS:
    case KVM_CAP_DEBUGREGS:
    case KVM_CAP_X86_ROBUST_SINGLESTEP:
    case KVM_CAP_XSAVE:
      return 1;
    case KVM_CAP_MCE:
      return kKvmMceBanks;
    case KVM_CAP_ADJUST_CLOCK:
      return KVM_CLOCK_TSC_STABLE | KVM_CLOCK_REALTIME | KVM_CLOCK_HOST_TSC;
    case KVM_CAP_NR_MEMSLOTS:
      return kKvmSlotCount;
    case KVM_CAP_IRQ_ROUTING:
      return kKvmMaxIrqRoutes;
    case KVM_CAP_MAX_VCPUS:
      return static_cast<int>(KvmMaxVcpus(version));
    case KVM_CAP_NR_VCPUS:
      // kvm_vm_ioctl_check_extension() answers num_online_cpus().
      return std::min(static_cast<int>(::sysconf(_SC_NPROCESSORS_ONLN)),
                      static_cast<int>(KvmMaxVcpus(version)));
    case KVM_CAP_MAX_VCPU_ID:
      return static_cast<int>(KvmMaxVcpuIds(version));
    case KVM_CAP_X2APIC_API:
      return KVM_X2APIC_API_USE_32BIT_IDS |
             KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK;
    // 6.1 answers 0 here, although KVM_CREATE_DEVICE works there.
    case KVM_CAP_DEVICE_CTRL:
    case KVM_CAP_USER_MEMORY2:
    case KVM_CAP_MEMORY_FAULT_INFO:
      return version >= KernelVersion::k6_12 ? 1 : 0;
    case KVM_CAP_GUEST_MEMFD:
      return version >= KernelVersion::k6_18 ? 1 : 0;
    case KVM_CAP_MULTI_ADDRESS_SPACE:
      return version == KernelVersion::k6_18 ? 0 : 2;
    default:
      return 0;
  }
}

}  // namespace passthru::fake
