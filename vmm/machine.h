// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_VMM_MACHINE_H_
#define PASSTHRU_VMM_MACHINE_H_

#include <linux/kvm.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "passthru/allocator/id_allocator.h"
#include "passthru/allocator/memory_slot.h"
#include "passthru/devices/bus/bus.h"
#include "passthru/devices/interrupts/gsi_router.h"
#include "passthru/devices/kernel/epoll_event_loop.h"
#include "passthru/devices/kernel/mapped_region.h"
#include "passthru/devices/kernel/syscalls.h"
#include "passthru/devices/kvm/kvm_vcpu.h"
#include "passthru/devices/kvm/kvm_vm.h"
#include "passthru/devices/kvm/slot_listener.h"
#include "passthru/devices/memory/guest_memory_map.h"
#include "passthru/devices/memory/layout_lock.h"
#include "passthru/devices/pci_host/pci_segment.h"
#include "passthru/vmm/guest_layout.h"

namespace passthru::vmm {

// A virtual machine without devices of its own but a host bridge: the VM with
// its in-kernel interrupt controllers and vCPUs, RAM, the two address spaces,
// the PCI segment behind both of its doors, the routing table and the event
// loop. It is what VfioPciDevice needs from a VMM, put together from the parts
// in devices/; a VMM that has some of them brings its own.
//
// Immutable after Create(); the parts state their own thread contracts. The
// event loop runs on a thread of its own until destruction. Guest memory
// outlives everything but must not be in use by a running vCPU any more when
// the machine goes.
class Machine {
 public:
  struct Options {
    kernel::Syscalls* syscalls = nullptr;  // Outlives the machine.
    uint64_t ram_size = uint64_t{64} << 20;
    // Where RAM below 4 GiB ends at most. The rest is from 4 GiB on.
    uint64_t low_ram_end = kMaxLowRamSize;
    // A file that is the RAM, such as a memfd of `ram_size` bytes. The caller
    // may close it after Create(). By default RAM is anonymous memory.
    int ram_fd = -1;
    unsigned vcpu_count = 1;
    // Called with each byte that the guest writes to the reset control register
    // (kResetPort), if it is set.
    std::function<void(uint8_t)> on_reset_control;
  };
  static absl::StatusOr<std::unique_ptr<Machine>> Create(
      const Options& options);
  ~Machine();

  Machine(const Machine&) = delete;
  Machine& operator=(const Machine&) = delete;

  kernel::Syscalls* syscalls() const { return syscalls_; }
  kvm::KvmVm& vm() { return *vm_; }
  kvm::KvmVcpu& vcpu(unsigned index) { return *vcpus_[index]; }
  unsigned vcpu_count() const { return static_cast<unsigned>(vcpus_.size()); }

  bus::Bus& mmio() { return mmio_; }
  bus::Bus& pio() { return pio_; }
  pci_host::PciSegment& segment() { return *segment_; }
  memory::GuestMemoryMap& memory() { return memory_; }
  interrupts::GsiRouter& router() { return *router_; }
  const kvm::KvmSlotListener& slots() const { return *slot_listener_; }
  kernel::EpollEventLoop& loop() { return *loop_; }

  // Guest RAM below 4 GiB, from guest-physical 0 on.
  absl::Span<uint8_t> ram() {
    return {static_cast<uint8_t*>(ram_.data()), low_ram_size_};
  }
  // The RAM from kHighRamBase on, in bytes.
  uint64_t high_ram_size() const { return ram_.size() - low_ram_size_; }

  // How many bits of a physical address the vCPUs have.
  unsigned physical_address_bits() const;
  // Returns the CPU features that KVM supports. What the vCPUs get of them is
  // for who runs them to set (kvm::SetCpuid()).
  absl::Span<const kvm_cpuid_entry2> cpuid() const { return cpuid_; }

  // Serializes changes of what is where in the guest: the outermost lock.
  memory::LayoutLock& layout_lock() { return layout_lock_; }

 private:
  explicit Machine(kernel::Syscalls* syscalls);

  absl::Status CreateVm();
  absl::Status CreateMemory(const Options& options);
  absl::Status AddRam(uint64_t base, uint64_t size, uint64_t offset,
                      const char* name);
  absl::Status CreateVcpus(unsigned count);
  absl::Status CreatePciHost(const Options& options);

  kernel::Syscalls* const syscalls_;
  memory::LayoutMutex layout_lock_;
  bus::Bus mmio_{"memory"};
  bus::Bus pio_{"ports"};

  // Declared before vm_, and so destroyed after it, because KVM may still use
  // these.
  kernel::MappedRegion ram_;
  uint64_t low_ram_size_ = 0;
  // Refuses areas over ECAM and the interrupt controllers.
  memory::GuestMemoryMap memory_;
  std::unique_ptr<kvm::KvmVm> vm_;
  std::vector<kvm_cpuid_entry2> cpuid_;
  std::unique_ptr<allocator::MemorySlotAllocator> slots_;
  std::unique_ptr<kvm::KvmSlotListener> slot_listener_;
  std::shared_ptr<pci_host::PciSegment> segment_;
  std::unique_ptr<interrupts::GsiRouter> router_;
  std::unique_ptr<kernel::EpollEventLoop> loop_;
  std::vector<std::unique_ptr<kvm::KvmVcpu>> vcpus_;
  std::vector<memory::AreaId> ram_areas_;
  bool listening_ = false;
};

}  // namespace passthru::vmm

#endif  // PASSTHRU_VMM_MACHINE_H_
