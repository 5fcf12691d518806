// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_RIG_PASSTHROUGH_RIG_H_
#define PASSTHRU_TESTING_RIG_PASSTHROUGH_RIG_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "passthru/allocator/id_allocator.h"
#include "passthru/allocator/memory_slot.h"
#include "passthru/devices/bus/bus.h"
#include "passthru/devices/interrupts/gsi_router.h"
#include "passthru/devices/kernel/epoll_event_loop.h"
#include "passthru/devices/kernel/syscalls.h"
#include "passthru/devices/kvm/kvm_vcpu.h"
#include "passthru/devices/kvm/kvm_vm.h"
#include "passthru/devices/kvm/slot_listener.h"
#include "passthru/devices/memory/guest_memory_map.h"
#include "passthru/devices/memory/layout_lock.h"
#include "passthru/devices/vfio_pci/vfio_pci_device.h"
#include "passthru/pci/bdf.h"
#include "passthru/pci/msi_message.h"
#include "passthru/testing/fixture/device.pb.h"
#include "passthru/testing/host/fake_kernel.h"
#include "passthru/testing/host/simulated_host.h"
#include "passthru/testing/kernel/leak_check.h"

namespace passthru::fake {

// A VM on the simulated host with one passed-through device, for tests. The
// test acts as the guest. Its accesses take the way through the buses that the
// exit loop would take, on the test's thread. The event loop runs only inside
// the methods below that say so.
//
// CHECK-fails if a step fails that is not the test's subject.
class PassthroughRig {
 public:
  struct Options {
    std::string fixture = "nvme";
    SimulatedHost::Options host;
    uint32_t msi_vectors_available = 32;
    uint32_t msix_vectors_available = 2048;
    // Change the fixture, and the options that the device is created with.
    std::function<void(fixture::PciDevice&)> edit_fixture;
    std::function<void(vfio_pci::VfioPciDevice::Options&)> edit_options;
    // Makes a Syscalls through which the device's calls reach the kernel.
    std::function<std::unique_ptr<kernel::Syscalls>(kernel::Syscalls* kernel)>
        wrap_calls;
  };
  PassthroughRig() : PassthroughRig(Options()) {}
  explicit PassthroughRig(Options options);
  ~PassthroughRig();

  // Opens the group and the device and creates the VfioPciDevice.
  absl::Status Attach();
  vfio_pci::VfioPciDevice& device() { return *device_; }
  std::shared_ptr<vfio_pci::VfioPciDevice>& device_pointer() { return device_; }

  // Access the configuration space.
  uint32_t Read(uint16_t offset, unsigned width) {
    return device_->ConfigRead(offset, width) & Mask(width);
  }
  void Write(uint16_t offset, unsigned width, uint32_t value);
  // Return the offset of the capability in the guest's view, or 0.
  uint16_t FindCapability(uint8_t id);
  uint16_t FindExtendedCapability(uint16_t id);

  // Make trapped accesses. Tests check mapped areas with Slots() instead.
  uint64_t Load(uint64_t address, unsigned width);
  void Store(uint64_t address, unsigned width, uint64_t value);

  // Puts BAR `index` at `address` and turns memory decode and bus mastering on.
  void PlaceBar(uint8_t index, uint64_t address);
  static constexpr uint64_t kBarAddress = 0xe0000000;

  // Write the MSI-X table in a BAR at kBarAddress, and Message Control.
  void WriteVector(uint16_t vector, uint32_t data, bool masked);
  void SetMsixControl(bool enable, bool function_mask);
  static pci::MsiMessage Message(uint32_t data) {
    return {.address = 0xfee00000, .data = data};
  }

  // Raise an interrupt in the device, and then run the event loop.
  void RaiseMsix(uint16_t vector);
  void RaiseMsi(uint16_t vector);
  void SetIntx(bool asserted);
  void RunLoop();
  // Returns the data of the MSIs that arrived since the last call.
  std::vector<uint32_t> TakeMessages();

  SimulatedHost& host() { return *host_; }
  FakeKernel& kernel() { return host_->kernel(); }
  bus::Bus& mmio() { return mmio_; }
  bus::Bus& pio() { return pio_; }
  memory::GuestMemoryMap& memory() { return memory_; }
  interrupts::GsiRouter& router() { return *router_; }
  kernel::EpollEventLoop& loop() { return *loop_; }
  memory::LayoutLock& layout_lock() { return layout_lock_; }
  const pci::Bdf& bdf() const { return bdf_; }
  // Returns the resources held beyond those of the VM itself.
  LeakReport Leaks() { return kernel().CheckLeaks(before_); }
  // Returns a string like "0xe0000000+0x2000" for each memory slot.
  std::vector<std::string> Slots();

 private:
  static uint32_t Mask(unsigned width) {
    return width >= 4 ? ~uint32_t{0} : (uint32_t{1} << 8 * width) - 1;
  }

  const Options options_;
  std::unique_ptr<SimulatedHost> host_;
  pci::Bdf bdf_;
  memory::GuestMemoryMap memory_;  // Outlives the VM, as in a VMM.
  std::unique_ptr<kvm::KvmVm> vm_;
  std::unique_ptr<kvm::KvmVcpu> vcpu_;  // Its APIC takes messages.
  std::unique_ptr<interrupts::GsiRouter> router_;
  std::unique_ptr<allocator::MemorySlotAllocator> slots_;
  std::unique_ptr<kvm::KvmSlotListener> slot_listener_;
  bus::Bus mmio_{"memory"};
  bus::Bus pio_{"ports"};
  memory::LayoutMutex layout_lock_;
  std::unique_ptr<kernel::EpollEventLoop> loop_;
  ResourceSnapshot before_;
  std::unique_ptr<kernel::Syscalls> wrapped_calls_;
  std::shared_ptr<vfio_pci::VfioPciDevice> device_;
  size_t messages_taken_ = 0;
};

// Where most tests put the BAR, and what the fixture `nvme` has in it.
inline constexpr uint64_t kBar = PassthroughRig::kBarAddress;
inline constexpr uint64_t kNvmeTable = kBar + 0x2000;
inline constexpr uint64_t kNvmePba = kBar + 0x3000;

}  // namespace passthru::fake

#endif  // PASSTHRU_TESTING_RIG_PASSTHROUGH_RIG_H_
