// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_DEVICES_KVM_KVM_VM_H_
#define PASSTHRU_DEVICES_KVM_KVM_VM_H_

#include <linux/kvm.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "passthru/allocator/gsi.h"
#include "passthru/allocator/memory_slot.h"
#include "passthru/devices/interrupts/interrupt_controller.h"
#include "passthru/devices/kernel/file_descriptor.h"
#include "passthru/devices/kernel/syscalls.h"
#include "passthru/devices/memory/guest_address.h"
#include "passthru/pci/msi_message.h"

namespace passthru::kvm {

// One virtual machine: KVM's VM descriptor and the calls on it. It keeps no
// state of its own; which slots and routes exist is its users' to know
// (KvmSlotListener, interrupts::GsiRouter).
//
// Thread-safe: each call is one ioctl.
class KvmVm final : public interrupts::InterruptController {
 public:
  // Opens /dev/kvm, checks the API version and the capabilities that
  // passthrough needs, and creates a VM with neither CPUs nor memory.
  static absl::StatusOr<std::unique_ptr<KvmVm>> Create(
      kernel::Syscalls* syscalls);

  // Takes over the VM descriptor of a VMM that has created its VM itself (it
  // may hand in a dup(2) of its own). The same capabilities are checked.
  static absl::StatusOr<std::unique_ptr<KvmVm>> Adopt(
      kernel::Syscalls* syscalls, kernel::FileDescriptor vm);

  // KVM_CHECK_EXTENSION of a KVM_CAP_*: 0 if absent, else what that capability
  // defines.
  absl::StatusOr<int> CheckExtension(int capability) const;

  // KVM_CAP_IRQ_ROUTING: how many entries SetGsiRouting() takes, and the
  // number of GSIs. KVM_CAP_NR_MEMSLOTS: how many slots there are.
  uint32_t MaxRoutes() const { return max_routes_; }
  uint32_t MaxSlots() const { return max_slots_; }

  // KVM_CREATE_IRQCHIP: PIC, IOAPIC and local APICs in the kernel. Before the
  // first vCPU. KVM_CREATE_PIT2 comes after it.
  absl::Status CreateIrqchip();
  absl::Status CreatePit();

  // Three pages, and one, below 4 GiB that Intel's VMX needs for real mode on
  // CPUs without unrestricted guest mode; away from RAM and devices. The
  // identity map is set before the first vCPU.
  absl::Status SetTssAddress(memory::GuestAddress address);
  absl::Status SetIdentityMapAddress(memory::GuestAddress address);

  // KVM_SET_USER_MEMORY_REGION. A slot that is in use only moves or stays as
  // it is: any other change is a deletion first. With `read_only`, a guest
  // write exits as MMIO.
  absl::Status SetMemorySlot(allocator::MemorySlot slot,
                             memory::GuestAddress guest, uint64_t size,
                             void* host, bool read_only);
  absl::Status DeleteMemorySlot(allocator::MemorySlot slot);

  // interrupts::InterruptController.
  absl::Status AssignIrqfd(int event_fd, allocator::Gsi gsi) override;
  absl::Status AssignResampleIrqfd(int event_fd, int resample_fd,
                                   allocator::Gsi gsi) override;
  absl::Status DeassignIrqfd(int event_fd, allocator::Gsi gsi) override;
  absl::Status SetGsiRouting(
      absl::Span<const kvm_irq_routing_entry> entries) override;
  absl::Status SignalMsi(const pci::MsiMessage& message) override;

  // For KvmVcpu and KvmVfioDevice: the size of a vCPU's shared mapping
  // (KVM_GET_VCPU_MMAP_SIZE, a question to /dev/kvm), and what a call needs.
  absl::StatusOr<size_t> VcpuMmapSize() const;
  kernel::Syscalls* syscalls() const { return syscalls_; }
  int fd() const { return vm_.get(); }

 private:
  KvmVm(kernel::Syscalls* syscalls, kernel::FileDescriptor vm)
      : syscalls_(syscalls), vm_(std::move(vm)) {}

  // Finds out limits and checks capabilities; the last step of creation.
  absl::Status Initialize();
  absl::Status SetIrqfd(const kvm_irqfd& irqfd, std::string_view what);

  kernel::Syscalls* const syscalls_;
  const kernel::FileDescriptor vm_;
  uint32_t max_routes_ = 0;
  uint32_t max_slots_ = 0;
};

}  // namespace passthru::kvm

#endif  // PASSTHRU_DEVICES_KVM_KVM_VM_H_
