// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_DEVICES_KVM_KVM_VM_H_
#define PASSTHRU_DEVICES_KVM_KVM_VM_H_

#include <linux/kvm.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "passthru/allocator/gsi.h"
#include "passthru/allocator/memory_slot.h"
#include "passthru/devices/interrupts/interrupt_controller.h"
#include "passthru/devices/interrupts/interrupt_line.h"
#include "passthru/devices/interrupts/routing_table.h"
#include "passthru/devices/kernel/file_descriptor.h"
#include "passthru/devices/kernel/syscalls.h"
#include "passthru/devices/memory/guest_address.h"
#include "passthru/pci/msi_message.h"

namespace passthru::kvm {

// One virtual machine. It owns KVM's VM descriptor and makes calls on it. It
// keeps no record of slots or routes, which its users must keep track of
// (KvmSlotListener, interrupts::GsiRouter).
//
// Thread-safe. Each call is one ioctl (VcpuMmapSize() also opens /dev/kvm).
class KvmVm final : public interrupts::InterruptController,
                    public interrupts::LineController,
                    public interrupts::RoutingTable {
 public:
  // Opens /dev/kvm, checks the API version and the capabilities that
  // passthrough needs, and creates a VM with neither CPUs nor memory.
  static absl::StatusOr<std::unique_ptr<KvmVm>> Create(
      kernel::Syscalls* syscalls);

  // Takes over the VM descriptor of a VMM that has created its VM itself, with
  // its interrupt controllers. The VMM may pass a dup(2) of its descriptor.
  // Checks the same capabilities, and finds out where the IOAPIC is.
  static absl::StatusOr<std::unique_ptr<KvmVm>> Adopt(
      kernel::Syscalls* syscalls, kernel::FileDescriptor vm);

  // Calls KVM_CHECK_EXTENSION for a KVM_CAP_*. Returns 0 if KVM lacks the
  // capability, or else the value that the capability defines.
  absl::StatusOr<int> CheckExtension(int capability) const;

  // The number of GSIs and of entries that SetGsiRouting() accepts
  // (KVM_CAP_IRQ_ROUTING), and the number of slots (KVM_CAP_NR_MEMSLOTS).
  uint32_t MaxRoutes() const { return max_routes_; }
  uint32_t MaxSlots() const { return max_slots_; }

  // Returns whether PIC and IOAPIC are in the kernel. They are not with a split
  // irqchip (KVM_CAP_SPLIT_IRQCHIP), in a VM without CreateIrqchip(), and on a
  // kernel that is built without them (CONFIG_KVM_IOAPIC). MSI and MSI-X work
  // there if the local APICs are in the kernel, but INTx does not.
  bool has_kernel_ioapic() const { return has_kernel_ioapic_; }

  // Returns the entries that a routing table of this VM needs besides those for
  // MSIs, for GsiRouter::Options::base_routes. With the IOAPIC in the kernel
  // they are interrupts::DefaultIrqchipRoutes(). Otherwise there are none, and
  // KVM refuses a table that has any (kvm_set_routing_entry()).
  std::vector<kvm_irq_routing_entry> BaseRoutes() const;

  // Creates PIC, IOAPIC and local APICs in the kernel (KVM_CREATE_IRQCHIP) and
  // the timer (KVM_CREATE_PIT2). Call CreateIrqchip() before the first vCPU is
  // created, and CreatePit() after CreateIrqchip().
  absl::Status CreateIrqchip();
  absl::Status CreatePit();

  // Set the addresses of the three pages of the TSS and of the page of the
  // identity map. Intel's VMX needs them for real mode on CPUs without
  // unrestricted guest mode. They must lie below 4 GiB and must not overlap RAM
  // or devices. Set the identity map before the first vCPU is created.
  absl::Status SetTssAddress(memory::GuestAddress address);
  absl::Status SetIdentityMapAddress(memory::GuestAddress address);

  // Sets or deletes a slot (KVM_SET_USER_MEMORY_REGION). Setting a slot that is
  // in use can only move it to another guest address. Callers must delete it
  // before any other change. With `read_only`, a guest write exits as MMIO.
  absl::Status SetMemorySlot(allocator::MemorySlot slot,
                             memory::GuestAddress guest, uint64_t size,
                             void* host, bool read_only);
  absl::Status DeleteMemorySlot(allocator::MemorySlot slot);

  // interrupts::InterruptController, interrupts::LineController (KVM_IRQ_LINE)
  // and interrupts::RoutingTable.
  absl::Status AssignIrqfd(int event_fd, allocator::Gsi gsi) override;
  absl::Status CheckResampleIrqfd() const override;
  absl::Status AssignResampleIrqfd(int event_fd, int resample_fd,
                                   allocator::Gsi gsi) override;
  absl::Status DeassignIrqfd(int event_fd, allocator::Gsi gsi) override;
  absl::Status SetGsiRouting(
      absl::Span<const kvm_irq_routing_entry> entries) override;
  absl::Status SignalMsi(const pci::MsiMessage& message) override;
  absl::Status SetLine(allocator::Gsi gsi, bool asserted) override;

  // For KvmVcpu and KvmVfioDevice. VcpuMmapSize() returns the size in bytes of
  // a vCPU's shared mapping. It opens /dev/kvm for KVM_GET_VCPU_MMAP_SIZE.
  absl::StatusOr<size_t> VcpuMmapSize() const;
  kernel::Syscalls* syscalls() const { return syscalls_; }
  int fd() const { return vm_.get(); }

 private:
  KvmVm(kernel::Syscalls* syscalls, kernel::FileDescriptor vm)
      : syscalls_(syscalls), vm_(std::move(vm)) {}

  // Checks capabilities and reads limits, as the last step of creation.
  absl::Status Initialize();
  // Sets has_kernel_ioapic_ (KVM_GET_IRQCHIP).
  absl::Status FindIoapic();
  absl::Status SetIrqfd(const kvm_irqfd& irqfd, std::string_view what);

  kernel::Syscalls* const syscalls_;
  const kernel::FileDescriptor vm_;
  uint32_t max_routes_ = 0;
  uint32_t max_slots_ = 0;
  bool has_kernel_ioapic_ = false;
};

}  // namespace passthru::kvm

#endif  // PASSTHRU_DEVICES_KVM_KVM_VM_H_
