// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_VMM_DEVICE_MANAGER_H_
#define PASSTHRU_VMM_DEVICE_MANAGER_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "passthru/allocator/address_allocator.h"
#include "passthru/devices/interrupts/interrupt_budget.h"
#include "passthru/devices/interrupts/shared_lines.h"
#include "passthru/devices/kernel/failure_log.h"
#include "passthru/devices/passthrough/device_set.h"
#include "passthru/devices/passthrough/group_dma_space.h"
#include "passthru/devices/root_port/root_port.h"
#include "passthru/devices/vfio/iommu_info.h"
#include "passthru/devices/vfio/vfio_paths.h"
#include "passthru/devices/vfio_pci/vfio_pci_device.h"
#include "passthru/pci/bar.h"
#include "passthru/pci/bar_index.h"
#include "passthru/pci/bdf.h"
#include "passthru/vmm/bar_windows.h"
#include "passthru/vmm/machine.h"
#include "passthru/vmm/root_ports.h"

namespace passthru::vmm {

struct DeviceManagerOptions {
  vfio::VfioPaths paths;
  // Whether the interrupt pins of devices are wired, each to IntxGsi() of its
  // slot. A VMM sets this if its tables (ACPI's _PRT) tell the guest so.
  // Otherwise the guest sees no pins.
  bool intx = false;
  // The root ports, numbered from 0, behind which devices may sit and be
  // plugged while the guest runs.
  std::vector<RootPortOptions> root_ports;
  // Whether the devices may do DMA to the BARs of one another (peer-to-peer).
  bool peer_to_peer = false;
  // Called when the host wants the device at `guest` back. The VMM should
  // Detach() it, or the host waits until the VM ends. Of a device behind a root
  // port, the manager has asked the guest for it (RequestUnplug()), and the VMM
  // should give the guest some time.
  std::function<void(pci::Bdf guest)> on_unplug_request;
  // Called when the guest lets go of the device at `guest`, for which
  // RequestUnplug() asked it. The VMM should Detach() it. Runs on the thread of
  // the vCPU or of RequestUnplug(), or in the machine's event loop, and must
  // not call the manager, so it tells another thread.
  std::function<void(pci::Bdf guest)> on_unplug_permitted;
  // Called when the device at `guest` reported an uncorrectable error. This and
  // on_unplug_request run in the machine's event loop and must not call the
  // manager, so they tell another thread.
  std::function<void(pci::Bdf guest)> on_error;
};

// Where the guest first finds the BARs of a device. By default it is the first
// place with room.
struct BarPlacement {
  // Puts BARs at these addresses.
  std::map<pci::BarIndex, uint64_t> fixed;
  // Puts the other memory BARs where the host has them, for devices that reach
  // one another without the IOMMU (below a switch without ACS), and so by the
  // host's addresses.
  bool as_on_host = false;
};

// The passed-through devices of a machine. It does what firmware does on
// hardware: it finds a place on the PCI bus for each device, and first
// addresses for its BARs. passthrough::DeviceSet does the rest.
//
// A device behind a root port has the name that firmware gives it, which is
// function 0 of device 0 on the port's bus, whatever the guest makes of the
// bus numbers.
//
// Thread-safe. Attach() and Detach() serialize.
class DeviceManager {
 public:
  // `machine` must outlive the manager.
  static absl::StatusOr<std::unique_ptr<DeviceManager>> Create(
      Machine* machine, DeviceManagerOptions options = {});
  // Detaches the devices that are left.
  ~DeviceManager();

  DeviceManager(const DeviceManager&) = delete;
  DeviceManager& operator=(const DeviceManager&) = delete;

  struct AttachOptions {
    pci::Bdf host;  // the host device
    // Where the guest finds it, on bus 0. By default it is function 0 of the
    // first free slot. Function 0 of a slot must be attached before the others,
    // because a guest finds them only through it. The functions of a slot share
    // an interrupt pin's GSI.
    std::optional<pci::Bdf> guest;
    // The root port behind which the device sits. `guest` is then a function on
    // its bus, by default 0.
    std::optional<size_t> root_port;
    // Whether the device is plugged while the guest runs, as function 0 of an
    // empty root port. The guest then assigns the addresses of its BARs.
    bool hot_plug = false;
    BarPlacement bars;
    std::string vf_token;  // as in passthrough::DeviceSet::AttachOptions
    // As in passthrough::DeviceSet::AttachOptions. The manager fills in the GSI
    // and the callbacks that are not set here, as DeviceManagerOptions say.
    vfio_pci::VfioPciDevice::Options device;
  };

  // Passes the host's `device` to the guest, and returns where. Returns
  // AlreadyExists if the guest's place is taken and InvalidArgument if the
  // guest could not find the device there. After a failure, which names the
  // device, nothing of it is left. A BAR that `bars` names and that cannot be
  // there is a failure. Another BAR that fits nowhere is a warning, stays
  // unplaced, and does not answer until the guest places it.
  absl::StatusOr<pci::Bdf> Attach(AttachOptions options);
  absl::StatusOr<pci::Bdf> Attach(pci::Bdf device) {
    return Attach(AttachOptions{.host = device});
  }

  // Takes the device at `guest` away. Continues after a failure and returns the
  // first one. Behind a root port this takes the card out, with all of its
  // functions. If the guest did not permit that, it is a surprise removal.
  absl::Status Detach(pci::Bdf guest);

  // Asks the guest for the device at `guest`, which is behind a root port, or
  // takes that back (RootPort::RequestRemoval(), CancelRemoval()). The guest's
  // answer is on_unplug_permitted. A guest need not answer, so that the VMM
  // should Detach() the device after a time of its choice. Return NotFound if
  // there is no device behind a port there.
  absl::Status RequestUnplug(pci::Bdf guest);
  absl::Status CancelUnplug(pci::Bdf guest);

  // Resets all devices for a reset of the machine, and writes the first
  // addresses into their BARs again, as firmware does. A device that
  // RequestUnplug() asked for is detached, because no driver has it any more.
  // No vCPU may run. Continues after a failure and returns the first one.
  absl::Status Reset();

  // The root ports, of which there may be none.
  RootPorts& root_ports() { return *root_ports_; }

  // Removes the memory slots that should not be there. For
  // VcpuRunner::Options::on_memory_fault.
  void OnMemoryFault();

  // Returns the device at `guest`, or null.
  std::shared_ptr<vfio_pci::VfioPciDevice> Find(pci::Bdf guest) const {
    return devices_.Find(guest);
  }

  // Returns the BARs of the device at `guest` for which there was no room.
  std::vector<pci::BarIndex> UnplacedBars(pci::Bdf guest) const;

  // Returns how many BAR areas of the guest devices cannot reach now, although
  // DeviceManagerOptions::peer_to_peer asks for it.
  size_t unreachable_bars() const { return dma_.unreachable_bars(); }

  // Returns where the devices' DMA goes.
  passthrough::GroupDmaReport DescribeDma() const { return dma_.Describe(); }

  // Returns failures of this manager that no caller received as a status.
  const kernel::FailureLog& failures() const { return failures_; }

  // Returns where the guest has devices, in ascending order.
  std::vector<pci::Bdf> Devices() const { return devices_.Devices(); }

 private:
  // The first addresses of a device's BARs. A guest may move its BARs, which
  // concerns only the guest and the buses.
  struct Place {
    pci::BarIndex bar;
    allocator::AddressAllocation address;
  };
  struct Places {
    std::vector<Place> taken;
    std::vector<pci::BarIndex> unplaced;
  };

  DeviceManager(Machine* machine, DeviceManagerOptions options,
                uint32_t event_fds);

  absl::Status CreateRootPorts();
  // Returns where the guest will find the device.
  absl::StatusOr<pci::Bdf> ChoosePlace(const AttachOptions& options) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<pci::Bdf> ChoosePlaceBehind(const AttachOptions& options) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void AddCallbacks(pci::Bdf guest, std::optional<size_t> port,
                    vfio_pci::VfioPciDevice::Options& device);
  absl::StatusOr<root_port::RootPort*> PortWithDevice(pci::Bdf guest);
  void ResetBehind(size_t port);
  absl::Status DetachLocked(pci::Bdf guest)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status ClearBars(vfio_pci::VfioPciDevice& device);
  absl::Status PlaceBars(vfio_pci::VfioPciDevice& device,
                         const AttachOptions& options, Places& places);
  absl::StatusOr<allocator::AddressAllocation> FindPlace(
      const pci::Bar& bar, const AttachOptions& options,
      const std::optional<vfio::IommuInfo>& iommu, bool* required);
  absl::Status CheckPlace(pci::Bdf guest) const;

  Machine* const machine_;
  const DeviceManagerOptions options_;
  std::unique_ptr<BarWindows> windows_;
  kernel::FailureLog failures_{"device manager"};
  interrupts::SharedLines lines_;
  std::unique_ptr<RootPorts> root_ports_;
  interrupts::InterruptBudget budget_;
  passthrough::GroupDmaSpace dma_;
  passthrough::DeviceSet devices_;

  // Acquired before the lock of devices_.
  mutable absl::Mutex mutex_;
  std::map<pci::Bdf, Places> places_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace passthru::vmm

#endif  // PASSTHRU_VMM_DEVICE_MANAGER_H_
