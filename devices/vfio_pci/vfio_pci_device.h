// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_DEVICES_VFIO_PCI_VFIO_PCI_DEVICE_H_
#define PASSTHRU_DEVICES_VFIO_PCI_VFIO_PCI_DEVICE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/types/span.h"
#include "passthru/allocator/gsi.h"
#include "passthru/devices/bus/address_space.h"
#include "passthru/devices/interrupts/interrupt_budget.h"
#include "passthru/devices/interrupts/interrupt_controller.h"
#include "passthru/devices/interrupts/msi_router.h"
#include "passthru/devices/interrupts/msix_vector_group.h"
#include "passthru/devices/kernel/event_loop.h"
#include "passthru/devices/kernel/failure_log.h"
#include "passthru/devices/kernel/syscalls.h"
#include "passthru/devices/memory/guest_memory.h"
#include "passthru/devices/pci_host/pci_function.h"
#include "passthru/devices/vfio/vfio_device.h"
#include "passthru/devices/vfio/vfio_irq_index.h"
#include "passthru/devices/vfio_pci/bar_mapper.h"
#include "passthru/devices/vfio_pci/bar_trap.h"
#include "passthru/devices/vfio_pci/capability_policy.h"
#include "passthru/devices/vfio_pci/config_shadow.h"
#include "passthru/devices/vfio_pci/device_events.h"
#include "passthru/devices/vfio_pci/device_report.h"
#include "passthru/devices/vfio_pci/interrupt_mode.h"
#include "passthru/devices/vfio_pci/intx_line.h"
#include "passthru/devices/vfio_pci/msix_table_trap.h"
#include "passthru/devices/vfio_pci/vfio_adapters.h"
#include "passthru/pci/bar.h"
#include "passthru/pci/bar_index.h"
#include "passthru/pci/msix_capability.h"
#include "passthru/pci/power_management.h"

namespace passthru::vfio_pci {

// A host PCI device in the guest's hands: the guest's view of its
// configuration space, its BARs in the guest's address spaces, its interrupts.
//
// It joins ConfigShadow (what a configuration access means), InterruptMode
// (INTx, MSI or MSI-X), MsixTableTrap (the emulated table) and BarMapper (slots
// and traps), and keeps the orders between them and the device:
//  - a BAR's slots go before the write that turns its decode off (COMMAND,
//    D3hot, a reset), and come after the one that turns it on;
//  - MSI(-X) on: INTx off, SET_IRQS, the device's enable bit; off: the reverse;
//  - Detach: slots, mappings, interrupts, device.
//
// What the device or the kernel refuses later becomes for the guest what dead
// hardware would be (reads all ones, writes dropped), is counted and logged.
//
// Thread-safe. Three locks, in this order: the topology mutex of the VM, held
// over every change of what is mapped or trapped where; the control mutex,
// over the shadow and the interrupt mode; the interrupts' own. Under the
// control mutex the router, the interrupt controller and EventLoop::Add() are
// called, but not the address spaces and the guest memory.
class VfioPciDevice final : public pci_host::PciFunction {
 public:
  struct Options {
    kernel::Syscalls* syscalls = nullptr;
    std::unique_ptr<vfio::VfioDevice> device;
    bus::AddressSpace* mmio = nullptr;
    bus::AddressSpace* pio = nullptr;
    memory::GuestMemory* memory = nullptr;
    interrupts::MsiRouter* router = nullptr;
    interrupts::InterruptController* controller = nullptr;
    kernel::EventLoop* loop = nullptr;
    // Serializes changes of the VM's memory and port layout. Never held by the
    // caller of a method here.
    absl::Mutex* topology_mutex = nullptr;

    // For messages; the host address if empty.
    std::string name;
    // Whether the guest finds it on the root bus, where a PCI Express endpoint
    // is shown as integrated into the root complex: it has no link there.
    bool on_root_bus = true;
    // Where its INTx is wired; without one the guest sees no interrupt pin.
    std::optional<allocator::Gsi> intx_gsi;
    interrupts::InterruptBudget* budget = nullptr;  // no limits if null
    CapabilityPolicy policy;
    // The host wants the device back (VFIO_PCI_REQ_IRQ_INDEX), or reported an
    // uncorrectable error (VFIO_PCI_ERR_IRQ_INDEX). From the event loop, with
    // no lock held.
    std::function<void()> on_unplug_request;
    std::function<void()> on_error;
  };

  // After a failure everything is given back, the device included.
  static absl::StatusOr<std::shared_ptr<VfioPciDevice>> Create(Options options);

  VfioPciDevice(const VfioPciDevice&) = delete;
  VfioPciDevice& operator=(const VfioPciDevice&) = delete;
  ~VfioPciDevice() override;  // As Detach().

  uint32_t ConfigRead(uint16_t offset, unsigned width) override;
  void ConfigWrite(uint16_t offset, absl::Span<const uint8_t> bytes) override;

  // The implemented BARs in order, as at attach: type and size, for placement.
  // Their addresses are in Describe().
  absl::Span<const pci::Bar> bars() const { return bars_; }

  // What firmware does: puts an address into a BAR. kNotFound for a BAR that
  // is not implemented, kInvalidArgument for an address it cannot hold.
  absl::Status SetBarAddress(pci::BarIndex index, uint64_t address);

  // A reset of the machine: VFIO_DEVICE_RESET, if the device can, and the
  // guest's view as after power-on.
  absl::Status Reset();

  // KVM_RUN failed with EFAULT: the guest touched a slot whose device does not
  // answer, because the slot could not be deleted in time or because the device
  // left the guest behind our back. Looks at what the device decodes, and tries
  // again to delete what does not belong.
  void ReconcileBars();

  // Takes the device out of the guest and closes it; nothing of it is left in
  // the VM. Returns the first failure but goes on; OK if it was, or is being,
  // detached by somebody else. Configuration reads are all ones from then on.
  // What Options points to is needed until then, not after.
  //
  // Waits for callbacks that are running: not from one of the event loop's,
  // other than on_unplug_request and on_error, and not under a lock that these
  // take.
  absl::Status Detach();

  DeviceReport Describe() const;
  const std::string& name() const { return name_; }

 private:
  explicit VfioPciDevice(Options options);

  // The steps of Create(), in order; what they make goes into the members, so
  // that the destructor unwinds a half-made device. (vfio_pci_device.cc)
  absl::Status ReadImage();
  void DecodeBars();
  void CreateVectorGroups();
  uint32_t VectorsToShow(InterruptKind kind, uint32_t device_vectors);
  absl::Status CreateShadow();
  void CreateBars();
  void StartInterrupts();
  absl::Status ConnectEvents();

  // Accesses. (vfio_pci_device_config.cc)
  void WriteTopology(uint16_t offset, absl::Span<const uint8_t> bytes)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(*topology_mutex_);
  void WriteLocked(uint16_t offset, absl::Span<const uint8_t> bytes)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void RefreshDecode() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool WriteDevice(uint16_t offset, absl::Span<const uint8_t> bytes)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool ReadDevice(uint16_t offset, absl::Span<uint8_t> data)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void RefreshPowerState(pci::PowerState written)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void LeavePowerSaving() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void RefreshMsiPending(uint16_t offset, uint32_t size)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void UpdateInterrupts() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void WriteEnableBit(InterruptKind kind, bool enable)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void ResetFunction(absl::FunctionRef<void()> reset_device)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(*topology_mutex_);
  BarAddresses Decoded(const ConfigShadow& shadow, pci::PowerState power) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  VectorGroupReport DescribeGroup(InterruptKind kind) const;

  // MSI or MSI-X: what the device has, and what the guest is shown of it.
  struct Vectors {
    uint16_t device = 0;
    uint16_t shown = 0;
    std::string limited_by;  // why fewer, or none
    std::unique_ptr<vfio::VfioIrqIndex> host;
    std::unique_ptr<interrupts::MsixVectorGroup> group;
  };

  // Immutable after Create().
  Options options_;  // without the device
  absl::Mutex* const topology_mutex_;
  std::string name_;
  kernel::FailureLog failures_;
  std::unique_ptr<vfio::VfioDevice> device_;  // until Detach()
  std::unique_ptr<VfioRegions> regions_;
  std::vector<uint8_t> image_;  // the configuration space at attach
  std::vector<pci::Bar> bars_;
  std::vector<std::string> problems_;  // what was wrong with the device
  // The device's own, shown or not.
  std::optional<pci::MsixCapability> device_msix_;
  interrupts::InterruptBudget::Reservation reservation_;
  Vectors msi_;
  Vectors msix_;
  std::unique_ptr<MsixTableTrap> msix_table_;
  std::unique_ptr<VfioIntxHost> intx_host_;
  std::unique_ptr<IntxLine> intx_;
  std::vector<std::shared_ptr<BarTrap>> traps_;
  std::unique_ptr<DeviceEvent> request_event_;
  std::unique_ptr<DeviceEvent> error_event_;

  mutable absl::Mutex mutex_ ABSL_ACQUIRED_AFTER(*topology_mutex_);
  std::unique_ptr<BarMapper> mapper_ ABSL_PT_GUARDED_BY(*topology_mutex_);
  std::optional<ConfigShadow> shadow_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<InterruptMode> mode_ ABSL_PT_GUARDED_BY(mutex_);
  pci::PowerState power_state_ ABSL_GUARDED_BY(mutex_) = pci::PowerState::kD0;
  // A write to COMMAND failed, or the device does not decode what it should:
  // nothing of it answers until the next write.
  bool command_lost_ ABSL_GUARDED_BY(mutex_) = false;
  bool detached_ ABSL_GUARDED_BY(mutex_) = false;
  ConfigCounters counters_ ABSL_GUARDED_BY(mutex_);
  uint64_t resets_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace passthru::vfio_pci

#endif  // PASSTHRU_DEVICES_VFIO_PCI_VFIO_PCI_DEVICE_H_
