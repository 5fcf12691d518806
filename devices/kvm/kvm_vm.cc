// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/kvm/kvm_vm.h"

#include <fcntl.h>
#include <linux/kvm.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/types/span.h"
#include "passthru/allocator/gsi.h"
#include "passthru/allocator/memory_slot.h"
#include "passthru/devices/interrupts/routing_entries.h"
#include "passthru/devices/kernel/errors.h"
#include "passthru/devices/kernel/file_descriptor.h"
#include "passthru/devices/kernel/flex_array.h"
#include "passthru/devices/kernel/status_macros.h"
#include "passthru/devices/kernel/syscalls.h"
#include "passthru/devices/memory/guest_address.h"
#include "passthru/pci/msi_message.h"

namespace passthru::kvm {
namespace {

using kernel::ErrnoError;
using kernel::SyscallResult;

constexpr char kDevKvm[] = "/dev/kvm";

// A capability without which this code does not work. Every kernel of the last
// ten years has all of them.
struct RequiredCapability {
  int capability;
  const char* name;
};
constexpr RequiredCapability kRequired[] = {
    {KVM_CAP_USER_MEMORY, "KVM_CAP_USER_MEMORY"},
    {KVM_CAP_IRQCHIP, "KVM_CAP_IRQCHIP"},
    {KVM_CAP_IRQFD, "KVM_CAP_IRQFD"},
    {KVM_CAP_SIGNAL_MSI, "KVM_CAP_SIGNAL_MSI"},
};

absl::StatusOr<kernel::FileDescriptor> OpenKvm(kernel::Syscalls* syscalls) {
  const SyscallResult<int> opened = syscalls->Open(kDevKvm, O_RDWR | O_CLOEXEC);
  switch (opened.error) {
    case 0:
      return kernel::FileDescriptor(syscalls, opened.value);
    case ENOENT:
    case ENODEV:
    case ENXIO:
      return kernel::ExplainedErrnoError(
          opened.error,
          "there is no /dev/kvm: enable VT-x or AMD-V in the firmware's setup "
          "and run `modprobe kvm_intel` or `modprobe kvm_amd` (as root)");
    case EACCES:
      return kernel::ExplainedErrnoError(
          opened.error,
          "no permission to open /dev/kvm: add this user to the group kvm "
          "(`usermod -aG kvm $USER` as root, then log in again)");
    default:
      return ErrnoError(opened.error, "open of /dev/kvm");
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<KvmVm>> KvmVm::Create(
    kernel::Syscalls* syscalls) {
  PASSTHRU_ASSIGN_OR_RETURN(const kernel::FileDescriptor kvm,
                            OpenKvm(syscalls));
  const SyscallResult<int> version =
      syscalls->IoctlInt(kvm.get(), KVM_GET_API_VERSION, 0);
  if (!version.ok()) return ErrnoError(version.error, "KVM_GET_API_VERSION");
  if (version.value != KVM_API_VERSION) {
    return absl::FailedPreconditionError(absl::StrFormat(
        "/dev/kvm speaks version %d of KVM's interface; this program needs %d",
        version.value, KVM_API_VERSION));
  }
  SyscallResult<int> created;
  do {
    // A signal can interrupt the kernel while it creates the VM's threads.
    created = syscalls->IoctlInt(kvm.get(), KVM_CREATE_VM, 0);
  } while (created.error == EINTR);
  if (!created.ok()) return ErrnoError(created.error, "KVM_CREATE_VM");
  std::unique_ptr<KvmVm> vm = absl::WrapUnique(
      new KvmVm(syscalls, kernel::FileDescriptor(syscalls, created.value)));
  PASSTHRU_RETURN_IF_ERROR(vm->Initialize());
  return vm;
}

absl::StatusOr<std::unique_ptr<KvmVm>> KvmVm::Adopt(kernel::Syscalls* syscalls,
                                                    kernel::FileDescriptor vm) {
  std::unique_ptr<KvmVm> adopted =
      absl::WrapUnique(new KvmVm(syscalls, std::move(vm)));
  PASSTHRU_RETURN_IF_ERROR(adopted->Initialize());
  PASSTHRU_RETURN_IF_ERROR(adopted->FindIoapic());
  return adopted;
}

absl::Status KvmVm::Initialize() {
  for (const RequiredCapability& required : kRequired) {
    PASSTHRU_ASSIGN_OR_RETURN(const int value,
                              CheckExtension(required.capability));
    if (value == 0) {
      return absl::FailedPreconditionError(absl::StrCat(
          "this host's KVM lacks ", required.name,
          ", without which devices cannot be passed through: use a newer "
          "kernel"));
    }
  }
  PASSTHRU_ASSIGN_OR_RETURN(const int routes,
                            CheckExtension(KVM_CAP_IRQ_ROUTING));
  PASSTHRU_ASSIGN_OR_RETURN(const int slots,
                            CheckExtension(KVM_CAP_NR_MEMSLOTS));
  if (routes <= 0 || slots <= 0) {
    return absl::FailedPreconditionError(
        absl::StrFormat("this host's KVM has %d interrupt routes and %d memory "
                        "slots, and a device needs both: use a newer kernel",
                        routes, slots));
  }
  max_routes_ = static_cast<uint32_t>(routes);
  max_slots_ = static_cast<uint32_t>(slots);
  return absl::OkStatus();
}

absl::Status KvmVm::FindIoapic() {
  kvm_irqchip chip = {};
  chip.chip_id = KVM_IRQCHIP_IOAPIC;
  const SyscallResult<int> result =
      syscalls_->Ioctl(fd(), KVM_GET_IRQCHIP, &chip);
  // kvm_arch_vm_ioctl() fails with ENXIO unless all of the irqchip is in the
  // kernel. A kernel that is built without an IOAPIC does not know the call.
  if (!result.ok() && result.error != ENXIO && result.error != ENOTTY) {
    return ErrnoError(result.error, "KVM_GET_IRQCHIP(KVM_IRQCHIP_IOAPIC)");
  }
  has_kernel_ioapic_ = result.ok();
  return absl::OkStatus();
}

std::vector<kvm_irq_routing_entry> KvmVm::BaseRoutes() const {
  if (!has_kernel_ioapic_) return {};
  return interrupts::DefaultIrqchipRoutes();
}

absl::StatusOr<int> KvmVm::CheckExtension(int capability) const {
  const SyscallResult<int> value = syscalls_->IoctlInt(
      fd(), KVM_CHECK_EXTENSION, static_cast<uintptr_t>(capability));
  if (!value.ok()) {
    return ErrnoError(value.error,
                      absl::StrCat("KVM_CHECK_EXTENSION(", capability, ")"));
  }
  return value.value;
}

absl::Status KvmVm::CreateIrqchip() {
  const SyscallResult<int> result =
      syscalls_->IoctlInt(fd(), KVM_CREATE_IRQCHIP, 0);
  if (!result.ok()) return ErrnoError(result.error, "KVM_CREATE_IRQCHIP");
  has_kernel_ioapic_ = true;
  return absl::OkStatus();
}

absl::Status KvmVm::CreatePit() {
  kvm_pit_config config = {};
  // Also emulates port 0x61, with which guests calibrate their clocks.
  config.flags = KVM_PIT_SPEAKER_DUMMY;
  const SyscallResult<int> result =
      syscalls_->Ioctl(fd(), KVM_CREATE_PIT2, &config);
  if (!result.ok()) return ErrnoError(result.error, "KVM_CREATE_PIT2");
  return absl::OkStatus();
}

absl::Status KvmVm::SetTssAddress(memory::GuestAddress address) {
  const SyscallResult<int> result =
      syscalls_->IoctlInt(fd(), KVM_SET_TSS_ADDR, address.value());
  if (!result.ok()) {
    return ErrnoError(result.error,
                      absl::StrCat("KVM_SET_TSS_ADDR(", address, ")"));
  }
  return absl::OkStatus();
}

absl::Status KvmVm::SetIdentityMapAddress(memory::GuestAddress address) {
  uint64_t value = address.value();
  const SyscallResult<int> result =
      syscalls_->Ioctl(fd(), KVM_SET_IDENTITY_MAP_ADDR, &value);
  if (!result.ok()) {
    return ErrnoError(result.error,
                      absl::StrCat("KVM_SET_IDENTITY_MAP_ADDR(", address, ")"));
  }
  return absl::OkStatus();
}

absl::Status KvmVm::SetMemorySlot(allocator::MemorySlot slot,
                                  memory::GuestAddress guest, uint64_t size,
                                  void* host, bool read_only) {
  if (size == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("KVM_SET_USER_MEMORY_REGION(slot=", slot,
                     "): a size of 0 would delete the slot"));
  }
  kvm_userspace_memory_region region = {};
  region.slot = slot.value();
  region.flags = read_only ? KVM_MEM_READONLY : 0;
  region.guest_phys_addr = guest.value();
  region.memory_size = size;
  region.userspace_addr = reinterpret_cast<uintptr_t>(host);
  const SyscallResult<int> result =
      syscalls_->Ioctl(fd(), KVM_SET_USER_MEMORY_REGION, &region);
  if (!result.ok()) {
    return ErrnoError(
        result.error,
        absl::StrFormat(
            "KVM_SET_USER_MEMORY_REGION(slot=%v, guest=%v, size=0x%x%s)", slot,
            guest, size, read_only ? ", read-only" : ""));
  }
  return absl::OkStatus();
}

absl::Status KvmVm::DeleteMemorySlot(allocator::MemorySlot slot) {
  kvm_userspace_memory_region region = {};
  region.slot = slot.value();
  const SyscallResult<int> result =
      syscalls_->Ioctl(fd(), KVM_SET_USER_MEMORY_REGION, &region);
  if (!result.ok()) {
    return ErrnoError(
        result.error,
        absl::StrFormat("KVM_SET_USER_MEMORY_REGION(slot=%v, delete)", slot));
  }
  return absl::OkStatus();
}

absl::StatusOr<size_t> KvmVm::VcpuMmapSize() const {
  PASSTHRU_ASSIGN_OR_RETURN(const kernel::FileDescriptor kvm,
                            OpenKvm(syscalls_));
  const SyscallResult<int> size =
      syscalls_->IoctlInt(kvm.get(), KVM_GET_VCPU_MMAP_SIZE, 0);
  if (!size.ok()) return ErrnoError(size.error, "KVM_GET_VCPU_MMAP_SIZE");
  if (static_cast<size_t>(size.value) < sizeof(kvm_run)) {
    return absl::DataLossError(
        absl::StrFormat("KVM_GET_VCPU_MMAP_SIZE: %d bytes cannot hold struct "
                        "kvm_run, which has %d",
                        size.value, sizeof(kvm_run)));
  }
  return static_cast<size_t>(size.value);
}

}  // namespace passthru::kvm
