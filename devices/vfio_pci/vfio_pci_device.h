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

// A host PCI device that is passed through to the guest. It provides the
// guest's view of the configuration space, the BARs in the guest's address
// spaces, and the interrupts.
//
// It combines ConfigShadow (what a configuration access means), InterruptMode
// (INTx, MSI or MSI-X), MsixTableTrap (the emulated table) and BarMapper (slots
// and traps), and orders their steps and those of the device:
//  - A BAR's slots are removed before the write that turns its decode off
//    (COMMAND, D3hot, a reset), and added after the write that turns it on.
//  - MSI and MSI-X are turned on by INTx off, SET_IRQS and the device's enable
//    bit, in this order, and turned off in the reverse order.
//  - Detach() releases slots, mappings, interrupts and device, in this order.
//
// If the device or the kernel refuses a call after Create(), the guest sees
// what dead hardware would show (reads are all ones, writes are dropped). The
// refusal is counted and logged.
//
// Thread-safe. Three kinds of locks are acquired in this order:
//  - The VM's topology mutex is held during every change of what is mapped or
//    trapped where.
//  - The control mutex guards the shadow and the interrupt mode. The device
//    calls the router, the interrupt controller and EventLoop::Add() under it,
//    but never the address spaces or the guest memory.
//  - The mutexes of the interrupt classes come last.
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
    // Serializes changes of the VM's memory and port layout. Callers of this
    // class's methods must not hold it.
    absl::Mutex* topology_mutex = nullptr;

    // The name in messages. If empty, the host address is used.
    std::string name;
    // Whether the guest finds the device on the root bus. A PCI Express
    // endpoint has no link there, so it is shown as integrated into the root
    // complex.
    bool on_root_bus = true;
    // The GSI that INTx is wired to. Without it the guest sees no interrupt
    // pin.
    std::optional<allocator::Gsi> intx_gsi;
    interrupts::InterruptBudget* budget = nullptr;  // no limits if null
    CapabilityPolicy policy;
    // Called when the host wants the device back (VFIO_PCI_REQ_IRQ_INDEX) and
    // when it reports an uncorrectable error (VFIO_PCI_ERR_IRQ_INDEX). Both
    // run in the event loop with no lock held.
    std::function<void()> on_unplug_request;
    std::function<void()> on_error;
  };

  // Attaches the device. After a failure everything is released, including
  // `options.device`.
  static absl::StatusOr<std::shared_ptr<VfioPciDevice>> Create(Options options);

  VfioPciDevice(const VfioPciDevice&) = delete;
  VfioPciDevice& operator=(const VfioPciDevice&) = delete;
  ~VfioPciDevice() override;  // Calls Detach().

  uint32_t ConfigRead(uint16_t offset, unsigned width) override;
  void ConfigWrite(uint16_t offset, absl::Span<const uint8_t> bytes) override;

  // The implemented BARs in order of index, with type and size as at attach,
  // for placement. Describe() has their current addresses.
  absl::Span<const pci::Bar> bars() const { return bars_; }

  // Writes an address into a BAR, as firmware does. Returns kNotFound if the
  // BAR is not implemented, kInvalidArgument if it cannot hold the address, and
  // kFailedPrecondition after Detach().
  absl::Status SetBarAddress(pci::BarIndex index, uint64_t address);

  // Resets the device for a reset of the machine. Calls VFIO_DEVICE_RESET if
  // the device supports it, and returns the guest's view to its state after
  // power-on. Returns kFailedPrecondition after Detach().
  absl::Status Reset();

  // Repairs the slots after KVM_RUN failed with EFAULT. In that case the guest
  // touched a slot whose device does not answer, because the slot could not be
  // deleted in time or because the device stopped decoding without a guest
  // access. Reads what the device decodes, and retries to delete the slots that
  // do not belong.
  void ReconcileBars();

  // Removes the device from the guest, leaves nothing of it in the VM, and
  // closes it. Continues after a failure and returns the first one. Returns OK
  // at once if the device is detached or another thread is still detaching it.
  // From then on configuration reads are all ones.
  //
  // After it returns, the device uses nothing that Options points to except the
  // topology mutex, which methods other than ConfigRead(), Detach() and the
  // destructor may still lock.
  //
  // Waits for running callbacks. Do not call it from an event-loop callback
  // (on_unplug_request and on_error excepted) or while holding a lock that such
  // a callback takes.
  absl::Status Detach();

  DeviceReport Describe() const;
  const std::string& name() const { return name_; }

 private:
  explicit VfioPciDevice(Options options);

  // The steps of Create(), in order (vfio_pci_device.cc). They store what they
  // make in members, so that the destructor can undo a half-made device.
  absl::Status ReadImage();
  void DecodeBars();
  void CreateVectorGroups();
  uint32_t VectorsToShow(InterruptKind kind, uint32_t device_vectors);
  absl::Status CreateShadow();
  void CreateBars();
  void StartInterrupts();
  absl::Status ConnectEvents();

  // Guest accesses and resets (vfio_pci_device_config.cc).
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

  // The MSI or MSI-X vectors that the device has and that the guest is shown.
  struct Vectors {
    uint16_t device = 0;
    uint16_t shown = 0;
    std::string limited_by;  // why fewer are shown, or none
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
  std::vector<std::string> problems_;  // defects of the device
  // The device's own capability, whether or not the guest is shown it.
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
  // A write to COMMAND failed, or the device does not decode memory although it
  // should. No BAR answers while this is set.
  bool command_lost_ ABSL_GUARDED_BY(mutex_) = false;
  bool detached_ ABSL_GUARDED_BY(mutex_) = false;
  ConfigCounters counters_ ABSL_GUARDED_BY(mutex_);
  uint64_t resets_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace passthru::vfio_pci

#endif  // PASSTHRU_DEVICES_VFIO_PCI_VFIO_PCI_DEVICE_H_
