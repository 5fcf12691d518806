// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_VMM_DEVICE_MANAGER_H_
#define PASSTHRU_VMM_DEVICE_MANAGER_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "passthru/allocator/address_allocator.h"
#include "passthru/devices/interrupts/interrupt_budget.h"
#include "passthru/devices/kvm/kvm_vfio_device.h"
#include "passthru/devices/vfio/dma_listener.h"
#include "passthru/devices/vfio/vfio_container.h"
#include "passthru/devices/vfio/vfio_group_set.h"
#include "passthru/devices/vfio/vfio_paths.h"
#include "passthru/devices/vfio_pci/vfio_pci_device.h"
#include "passthru/pci/bdf.h"
#include "passthru/vmm/machine.h"

namespace passthru::vmm {

struct DeviceManagerOptions {
  vfio::VfioPaths paths;
  // Whether devices' interrupt pins are wired, each to IntxGsi() of its slot:
  // for a VMM whose tables (ACPI's _PRT) tell its guest so. If not, the guest
  // sees no pins.
  bool intx = false;
  // The host wants the device at `guest` back: Detach() it, or the host waits
  // for the VM to end. And: the device at `guest` reported an uncorrectable
  // error. From the machine's event loop, so another thread is told; neither
  // may call the manager.
  std::function<void(pci::Bdf guest)> on_unplug_request;
  std::function<void(pci::Bdf guest)> on_error;
};

// The passed-through devices of a machine: attaches them to its PCI bus, and
// takes them away again. Here is what firmware and host bridge do on hardware
// (a place on the bus, first addresses for the BARs) and what the devices of a
// VM share: one VFIO container whose mappings follow guest memory, the groups,
// and KVM's knowledge of them.
//
// Thread-safe. Attach() and Detach() serialize; device callbacks are not run
// from them.
class DeviceManager {
 public:
  // `machine` outlives it.
  static absl::StatusOr<std::unique_ptr<DeviceManager>> Create(
      Machine* machine, DeviceManagerOptions options = {});
  // Detaches what is left.
  ~DeviceManager();

  DeviceManager(const DeviceManager&) = delete;
  DeviceManager& operator=(const DeviceManager&) = delete;

  // Passes the host's `device` to the guest, on bus 0 in the first free slot,
  // and returns where. After a failure, which names it, nothing of it is left.
  absl::StatusOr<pci::Bdf> Attach(pci::Bdf device);

  // Takes the device at `guest` away: first from the bus, then from the guest's
  // memory, then from this process. Goes on after a failure and returns the
  // first.
  absl::Status Detach(pci::Bdf guest);

  // For VcpuRunner::Options::on_memory_fault: takes away the slots that should
  // not be there.
  void OnMemoryFault();

  // The device at `guest`, or null.
  std::shared_ptr<vfio_pci::VfioPciDevice> Find(pci::Bdf guest) const;

  // Where devices are, in order.
  std::vector<pci::Bdf> Devices() const;

 private:
  // What one device holds.
  struct Attached {
    pci::Bdf host;
    uint32_t group = 0;
    std::shared_ptr<vfio_pci::VfioPciDevice> device;
    // First places of its BARs. A guest may move them; that is between it and
    // the buses.
    std::vector<allocator::AddressAllocation> places;
  };
  // A group in use by at least one device.
  struct GroupInUse {
    std::shared_ptr<vfio::VfioGroup> group;
    int devices = 0;
    bool known_to_kvm = false;
  };

  DeviceManager(Machine* machine, DeviceManagerOptions options);

  absl::StatusOr<pci::Bdf> AttachLocked(pci::Bdf device)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<std::shared_ptr<vfio::VfioGroup>> AcquireGroup(uint32_t number)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status OpenGroup(uint32_t number, GroupInUse& in_use)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status ReleaseGroup(uint32_t number)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // The container's mappings follow guest memory while it has an IOMMU, which
  // the kernel gives it with its first group and takes away with its last.
  absl::Status StartDma() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status StopDma() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  absl::StatusOr<Attached> AttachInGroup(pci::Bdf device, uint32_t number,
                                         pci::Bdf guest)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status PlaceBars(Attached& attached)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<pci::Bdf> FreeSlot() const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status DetachLocked(pci::Bdf guest)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  Machine* const machine_;
  const DeviceManagerOptions options_;
  std::unique_ptr<allocator::AddressAllocator> io_;
  std::unique_ptr<allocator::AddressAllocator> memory32_;
  std::unique_ptr<allocator::AddressAllocator> memory64_;
  std::unique_ptr<interrupts::InterruptBudget> budget_;

  // Above the machine's topology mutex.
  mutable absl::Mutex mutex_;
  std::shared_ptr<vfio::VfioContainer> container_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<kvm::KvmVfioDevice> kvm_vfio_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<vfio::VfioGroupSet> group_set_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<vfio::DmaListener> dma_ ABSL_GUARDED_BY(mutex_);
  std::map<uint32_t, GroupInUse> groups_ ABSL_GUARDED_BY(mutex_);
  std::map<pci::Bdf, Attached> devices_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace passthru::vmm

#endif  // PASSTHRU_VMM_DEVICE_MANAGER_H_
