// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_DEVICES_PASSTHROUGH_DEVICE_SET_H_
#define PASSTHRU_DEVICES_PASSTHROUGH_DEVICE_SET_H_

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "passthru/devices/interrupts/interrupt_budget.h"
#include "passthru/devices/passthrough/dma_space.h"
#include "passthru/devices/pci_host/function_bus.h"
#include "passthru/devices/vfio_pci/bar_retries.h"
#include "passthru/devices/vfio_pci/vfio_pci_device.h"
#include "passthru/devices/vfio_pci/vm_interfaces.h"
#include "passthru/pci/bdf.h"

namespace passthru::passthrough {

// The host devices that are passed through to one VM. It attaches and detaches
// them in the order that kernel and hardware demand, and undoes what was done
// when a step fails.
//
// Attach():
//  1. The DMA address space opens the device, and its DMA reaches guest memory.
//  2. VfioPciDevice::Create() reads the device and prepares traps, host
//  mappings
//     and interrupts. The device decodes nothing yet.
//  3. The caller's place_bars writes first addresses into the BARs, as firmware
//     does on hardware.
//  4. The device appears on the guest's PCI bus.
// Detach() takes the device off the bus, then out of guest memory and this
// process, and then out of the DMA address space.
//
// Thread-safe. Attach() and Detach() serialize. No callback of a device runs
// inside them.
class DeviceSet {
 public:
  // All pointers must outlive the set. Without `vm.bar_retries`, the set brings
  // its own.
  struct Options {
    vfio_pci::VmInterfaces vm;
    DmaSpace* dma = nullptr;
    pci_host::FunctionBus* bus = nullptr;
    interrupts::InterruptBudget* budget = nullptr;  // no limits if null
  };
  struct AttachOptions {
    pci::Bdf host;  // the host device
    // Where the guest finds it. Slot and function are the caller's choice. A
    // guest looks for functions 1 to 7 of a slot only if it found function 0,
    // whose header type says so if the bus is a PciSegment.
    pci::Bdf guest;
    // The bus on which it appears, for a device behind a port. Options::bus if
    // null. Must outlive the set.
    pci_host::FunctionBus* bus = nullptr;
    // Proves to the kernel that the user of the physical function agrees, for a
    // virtual function whose physical function is bound to vfio-pci
    // (VfioDevice::Open()). Empty for others.
    std::string vf_token;
    // Writes first addresses into the device's BARs
    // (VfioPciDevice::SetBarAddress()). Null if the guest or its firmware does
    // so. A failure fails Attach().
    std::function<absl::Status(vfio_pci::VfioPciDevice&)> place_bars;

    // What VfioPciDevice::Create() is given. It says how the guest sees the
    // device, and what it may use of the host. Leave `vm` and `device` empty,
    // because the set fills them in. It fills in its own `budget` if there is
    // none here.
    vfio_pci::VfioPciDevice::Options device;
  };

  explicit DeviceSet(const Options& options);
  // Detaches the devices that are left.
  ~DeviceSet();

  DeviceSet(const DeviceSet&) = delete;
  DeviceSet& operator=(const DeviceSet&) = delete;

  // Passes a device through. Returns AlreadyExists if the host device is
  // attached or the guest's place is taken, and InvalidArgument for options
  // that make no sense. After a failure, which names the device, nothing of it
  // is left in the VM or in this process.
  absl::StatusOr<std::shared_ptr<vfio_pci::VfioPciDevice>> Attach(
      AttachOptions options);

  // Takes away the device that the guest has at `guest`. Continues after a
  // failure and returns the first one. Returns NotFound if there is none.
  absl::Status Detach(pci::Bdf guest);

  // Reset the device that the guest has at `guest`, or all devices for a reset
  // of the machine (VfioPciDevice::Reset() and ResetAll()). A device without a
  // reset of its own is reset with all functions of its slot or bus. Each of
  // these must be in this set, or in the IOMMU group of a device in it. The
  // first firmware that runs then must place the BARs again.
  //
  // No vCPU should run. Nothing is attached or detached meanwhile. Reset()
  // returns NotFound if there is no device. ResetAll() continues after a
  // failure and returns the first one.
  absl::Status Reset(pci::Bdf guest);
  absl::Status ResetAll();

  // Repairs the slots of all devices after KVM_RUN failed with EFAULT. See
  // VfioPciDevice::ReconcileBars().
  void ReconcileBars();

  // Returns the device that the guest has at `guest`, or null.
  std::shared_ptr<vfio_pci::VfioPciDevice> Find(pci::Bdf guest) const;

  // Returns where the guest has devices, in ascending order.
  std::vector<pci::Bdf> Devices() const;

 private:
  struct Attached {
    pci::Bdf host;
    pci_host::FunctionBus* bus = nullptr;
    std::shared_ptr<vfio_pci::VfioPciDevice> device;
  };

  absl::Status AttachLocked(AttachOptions& options)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status Show(AttachOptions& options, Attached& attached)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::vector<vfio_pci::VfioPciDevice*> DevicesLocked() const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status DetachLocked(pci::Bdf guest)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  vfio_pci::BarRetries bar_retries_;
  const Options options_;

  // Acquired before the VM's layout lock.
  mutable absl::Mutex mutex_;
  std::map<pci::Bdf, Attached> devices_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace passthru::passthrough

#endif  // PASSTHRU_DEVICES_PASSTHROUGH_DEVICE_SET_H_
