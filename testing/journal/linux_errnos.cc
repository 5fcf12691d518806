// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/journal/linux_errnos.h"

#include <linux/kvm.h>
#include <linux/vfio.h>
#include <sys/epoll.h>

#include <cerrno>
#include <cstdint>
#include <string_view>
#include <vector>

#include "absl/base/no_destructor.h"
#include "absl/strings/match.h"
#include "passthru/testing/journal/vfio_offset.h"

namespace passthru::journal {
namespace {

int64_t Number(const Call& call, std::string_view field) {
  const CallField* const found = call.Find(field);
  return found == nullptr ? -1 : found->number;
}

bool IsVfioDevice(const Call& call) {
  return absl::StartsWith(call.subject, "vfio-device");
}
bool IsConfigAccess(const Call& call) {
  return IsVfioDevice(call) &&
         RegionOf(static_cast<uint64_t>(Number(call, "offset"))) ==
             VFIO_PCI_CONFIG_REGION_INDEX;
}
bool IsGroupNode(const Call& call) {
  return absl::StartsWith(call.subject, "/dev/vfio/") &&
         call.subject != "/dev/vfio/vfio";
}
bool IsBarInfo(const Call& call) {
  return Number(call, "index") <= VFIO_PCI_BAR5_REGION_INDEX;
}
bool IsSlotDeletion(const Call& call) {
  return Number(call, "memory_size") == 0;
}
bool IsIrqfdDeassign(const Call& call) {
  return (Number(call, "flags") & KVM_IRQFD_FLAG_DEASSIGN) != 0;
}
bool IsGroupRemoval(const Call& call) {
  return Number(call, "attr") == KVM_DEV_VFIO_GROUP_DEL;
}
bool IsEpollDelete(const Call& call) {
  return Number(call, "op") == EPOLL_CTL_DEL;
}
// Returns whether the call sets no eventfd, because it carries none or takes
// away that of INTx, ERR or REQ. The kernel then allocates nothing.
bool IsIrqRelease(const Call& call) {
  return (Number(call, "flags") & VFIO_IRQ_SET_DATA_EVENTFD) == 0 ||
         (Number(call, "count") == 1 && Number(call, "fd[0]") == -1 &&
          Number(call, "index") != VFIO_PCI_MSI_IRQ_INDEX &&
          Number(call, "index") != VFIO_PCI_MSIX_IRQ_INDEX);
}

}  // namespace

absl::Span<const LinuxErrnos> LinuxErrnoTable() {
  static const absl::NoDestructor<std::vector<LinuxErrnos>> kTable({
      // Files.
      {"open",
       IsGroupNode,
       {EBUSY, EACCES, ENODEV, EMFILE, ENOMEM},
       "vfio_group_fops_open(): opened already; no driver bound any more"},
      {"open",
       nullptr,
       {ENOENT, EACCES, EMFILE, ENFILE, ENOMEM},
       "do_sys_openat2(): alloc_fd(), alloc_empty_file()"},
      {"readlink",
       nullptr,
       {ENOENT, EACCES, ENOMEM},
       "kernfs_iop_get_link(): the device was removed"},
      {"readdir",
       nullptr,
       {ENOENT, EACCES, EMFILE, ENOMEM},
       "kernfs_fop_readdir()"},
      {"eventfd", nullptr, {EMFILE, ENFILE, ENOMEM}, "do_eventfd()"},
      {"getrlimit", nullptr, {}, "do_prlimit() of a limit that exists"},
      {"pthread_create",
       nullptr,
       {EAGAIN},
       "copy_process(): RLIMIT_NPROC, the pids cgroup; pthread_create() makes "
       "EAGAIN of ENOMEM"},
      {"epoll_create", nullptr, {EMFILE, ENFILE, ENOMEM}, "do_epoll_create()"},
      {"epoll_ctl", IsEpollDelete, {}, "ep_remove() frees"},
      {"epoll_ctl",
       nullptr,
       {ENOMEM, ENOSPC},
       "ep_insert(): epi_cache, max_user_watches"},
      {"epoll_wait", nullptr, {EINTR}, "ep_poll()"},
      {"poll", nullptr, {EINTR, ENOMEM}, "do_sys_poll()"},
      {"close", nullptr, {}, "filp_close() of these files has no flush"},
      {"munmap", nullptr, {}, "of whole mappings: nothing is split"},
      {"mmap",
       IsVfioDevice,
       {EBUSY, ENOMEM},
       "vfio_pci_core_mmap(): pci_request_selected_regions(), pci_iomap()"},
      {"mmap", nullptr, {ENOMEM}, "mmap_region()"},
      // An eventfd never blocks here, and its counter does not overflow.
      {"pread",
       IsConfigAccess,
       {EIO, ENODEV},
       "vfio_pci_rw(): pm_runtime_resume_and_get(); pci_user_read_config_*()"},
      {"pread",
       nullptr,
       {EIO, ENOMEM, EBUSY},
       "vfio_pci_bar_rw(): memory disabled; vfio_pci_core_setup_barmap()"},
      {"pwrite",
       IsConfigAccess,
       {EIO, ENODEV},
       "vfio_pci_rw(); pci_user_write_config_*()"},
      {"pwrite", nullptr, {EIO, ENOMEM, EBUSY}, "vfio_pci_bar_rw()"},
      {"read", nullptr, {}, "eventfd_read(): empty is EAGAIN, nothing else"},
      {"write", nullptr, {}, "eventfd_write()"},

      // VFIO.
      {"VFIO_GET_API_VERSION", nullptr, {}, "vfio_fops_unl_ioctl()"},
      {"VFIO_CHECK_EXTENSION", nullptr, {}, "vfio_ioctl_check_extension()"},
      {"VFIO_SET_IOMMU",
       nullptr,
       {EPERM, ENODEV, EINVAL, ENOMEM, EBUSY},
       "vfio_iommu_type1_attach_group(): no isolated MSIs; "
       "iommu_attach_group()"},
      {"VFIO_IOMMU_GET_INFO", nullptr, {ENOMEM}, "vfio_info_add_capability()"},
      {"VFIO_IOMMU_MAP_DMA",
       nullptr,
       {ENOMEM, EFAULT, ENOSPC},
       "vfio_pin_pages_remote(): RLIMIT_MEMLOCK; dma_entry_limit"},
      {"VFIO_IOMMU_UNMAP_DMA",
       nullptr,
       {},
       "vfio_dma_do_unmap() of what was mapped, without dirty tracking"},
      {"VFIO_GROUP_GET_STATUS",
       nullptr,
       {ENODEV},
       "vfio_group_ioctl_get_status(): the last device is gone"},
      {"VFIO_GROUP_SET_CONTAINER",
       nullptr,
       {EPERM, EBUSY, ENODEV, ENOMEM},
       "vfio_container_attach_group(): "
       "iommu_group_claim_dma_owner(), attach_group()"},
      {"VFIO_GROUP_UNSET_CONTAINER",
       nullptr,
       {},
       "vfio_group_ioctl_unset_container(): no device is open"},
      {"VFIO_GROUP_GET_DEVICE_FD",
       nullptr,
       {ENODEV, EIO, ENOMEM, EMFILE, EACCES},
       "vfio_pci_core_enable(): pci_enable_device(); anon_inode_getfile()"},
      // Each call on a device wakes the device, so each may fail with the EIO
      // of vfio_device_pm_runtime_get().
      {"VFIO_DEVICE_GET_INFO", nullptr, {EIO}, "vfio_device_fops_unl_ioctl()"},
      {"VFIO_DEVICE_GET_REGION_INFO",
       IsBarInfo,
       {EIO, ENOMEM},
       "msix_mmappable_cap(): vfio_info_add_capability()"},
      {"VFIO_DEVICE_GET_REGION_INFO", nullptr, {EIO}, "no capabilities"},
      {"VFIO_DEVICE_GET_IRQ_INFO",
       nullptr,
       {EIO},
       "vfio_pci_ioctl_get_irq_info()"},
      {"VFIO_DEVICE_SET_IRQS",
       IsIrqRelease,
       {EIO},
       "vfio_pci_set_irqs_ioctl(): frees"},
      {"VFIO_DEVICE_SET_IRQS",
       nullptr,
       {ENOMEM, EBUSY, ENOSPC, EIO},
       "vfio_msi_enable(): pci_alloc_irq_vectors(); "
       "vfio_msi_set_vector_signal(): request_irq()"},
      {"VFIO_DEVICE_GET_PCI_HOT_RESET_INFO",
       nullptr,
       {ENODEV, EPERM, ENOMEM, EIO},
       "vfio_pci_ioctl_get_pci_hot_reset_info(): vfio_pci_fill_devs()"},
      {"VFIO_DEVICE_PCI_HOT_RESET",
       nullptr,
       {EINVAL, EBUSY, ENOTTY, ENOMEM, EIO},
       "vfio_pci_dev_set_hot_reset(): pci_reset_bus()"},
      {"VFIO_DEVICE_RESET",
       nullptr,
       {EAGAIN, EIO, ENOTTY},
       "pci_try_reset_function()"},

      // KVM.
      {"KVM_GET_API_VERSION", nullptr, {}, "kvm_dev_ioctl()"},
      {"KVM_CHECK_EXTENSION", nullptr, {}, "kvm_vm_ioctl_check_extension()"},
      {"KVM_GET_VCPU_MMAP_SIZE", nullptr, {}, "kvm_dev_ioctl()"},
      {"KVM_CREATE_VM",
       nullptr,
       {ENOMEM, EMFILE, EBUSY, EINTR},
       "kvm_create_vm(): kvm_enable_virtualization()"},
      {"KVM_SET_TSS_ADDR", nullptr, {ENOMEM}, "__x86_set_memory_region()"},
      {"KVM_SET_IDENTITY_MAP_ADDR", nullptr, {}, "vmx_set_identity_map_addr()"},
      {"KVM_CREATE_IRQCHIP", nullptr, {ENOMEM}, "kvm_ioapic_init()"},
      {"KVM_CREATE_PIT2", nullptr, {ENOMEM}, "kvm_create_pit()"},
      {"KVM_CREATE_VCPU",
       nullptr,
       {ENOMEM, EMFILE, EIO},
       "kvm_vm_ioctl_create_vcpu()"},
      {"KVM_GET_SUPPORTED_CPUID",
       nullptr,
       {ENOMEM},
       "kvm_dev_ioctl_get_cpuid()"},
      {"KVM_SET_USER_MEMORY_REGION",
       IsSlotDeletion,
       {ENOMEM},
       "kvm_set_memslot(): the slot that is invalid meanwhile"},
      {"KVM_SET_USER_MEMORY_REGION",
       nullptr,
       {ENOMEM, EEXIST, EINVAL},
       "kvm_alloc_memslot_metadata(); overlap with KVM's own; beyond the "
       "guest's physical addresses"},
      {"KVM_SET_GSI_ROUTING",
       nullptr,
       {ENOMEM, EINVAL},
       "kvm_set_irq_routing(): vmemdup_user(), kzalloc()"},
      {"KVM_IRQFD", IsIrqfdDeassign, {}, "kvm_irqfd_deassign() frees"},
      {"KVM_IRQFD",
       nullptr,
       {ENOMEM, EBUSY},
       "kvm_irqfd_assign(): another irqfd has the eventfd"},
      {"KVM_SIGNAL_MSI",
       nullptr,
       {},
       "kvm_send_userspace_msi(): EPERM says that no CPU is addressed"},
      {"KVM_CREATE_DEVICE",
       nullptr,
       {ENODEV, ENOMEM, EMFILE, EBUSY},
       "kvm_ioctl_create_device(), kvm_vfio_create()"},
      {"KVM_SET_DEVICE_ATTR", IsGroupRemoval, {}, "kvm_vfio_file_del() frees"},
      {"KVM_SET_DEVICE_ATTR", nullptr, {ENOMEM}, "kvm_vfio_file_add()"},
      {"KVM_RUN", nullptr, {EINTR}, "kvm_arch_vcpu_ioctl_run(): a signal"},
  });
  return *kTable;
}

const LinuxErrnos* FindLinuxErrnos(const Call& call) {
  for (const LinuxErrnos& row : LinuxErrnoTable()) {
    if (row.call == call.name &&
        (row.applies == nullptr || row.applies(call))) {
      return &row;
    }
  }
  return nullptr;
}

}  // namespace passthru::journal
