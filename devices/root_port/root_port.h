// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_DEVICES_ROOT_PORT_ROOT_PORT_H_
#define PASSTHRU_DEVICES_ROOT_PORT_ROOT_PORT_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/types/span.h"
#include "passthru/devices/interrupts/interrupt_controller.h"
#include "passthru/devices/interrupts/interrupt_line.h"
#include "passthru/devices/kernel/failure_log.h"
#include "passthru/devices/pci_host/function_bus.h"
#include "passthru/devices/pci_host/pci_bridge.h"
#include "passthru/devices/pci_host/pci_function.h"
#include "passthru/devices/pci_host/pci_segment.h"
#include "passthru/devices/root_port/hot_plug_slot.h"
#include "passthru/devices/root_port/port_interrupt.h"
#include "passthru/pci/bdf.h"
#include "passthru/pci/bridge_windows.h"
#include "passthru/pci/config_space.h"
#include "passthru/pci/msi_capability.h"

namespace passthru::root_port {

// A PCI Express root port with a hot-plug slot (PCIe 6.0 7.5.1.3, 7.5.3 and
// 6.7). Behind it is a bus with one device, device 0, whose functions the owner
// adds to bus().
//
// The functions can be reached under the secondary bus number that the guest
// gave the port, while their link is up. A function that is given the port as
// its Upstream answers memory and I/O accesses only within the port's windows.
// Bus mastering of the port decides about its own interrupts, and not about
// what the functions do.
//
// Thread-safe. No lock is held while the port calls a function or one of the
// callbacks.
class RootPort final : public pci_host::PciBridge, public pci_host::Upstream {
 public:
  struct Options {
    std::string name;          // in messages
    uint8_t port_number = 0;   // of each port another one
    uint16_t slot_number = 0;  // 0 to 8191, of each slot another one
    // Takes the messages while the guest uses MSI. Outlives the port.
    interrupts::InterruptController* controller = nullptr;  // required
    // The wire of INTA. Without it the guest sees no interrupt pin.
    std::unique_ptr<interrupts::InterruptLine> line;
    // Called when the guest permits a removal that RequestRemoval() asked for.
    // The owner should take the functions away soon.
    std::function<void()> on_removal_permitted;
    // Resets the functions behind the port, because the guest reset the bus or
    // their link went down. Null if they need no reset.
    std::function<void()> reset_bus;
  };
  explicit RootPort(Options options);
  ~RootPort() override;

  RootPort(const RootPort&) = delete;
  RootPort& operator=(const RootPort&) = delete;

  // The bus behind the port. Of an address, only device and function count. The
  // device must be 0, and a function appears to the guest only with a card.
  pci_host::FunctionBus* bus() { return &bus_; }
  // Returns the numbers of the functions there.
  std::vector<uint8_t> Functions() const;

  // What firmware decides. A plain value.
  struct Resources {
    uint8_t secondary_bus = 0;
    uint8_t subordinate_bus = 0;
    pci::BridgeWindows windows;
  };
  // Returns the port to its state after power-on, programs it as firmware does,
  // and enables it. A card in the slot has power. Returns kInvalidArgument, and
  // changes nothing, for windows that the port cannot have. No vCPU should run.
  absl::Status Reset(const Resources& resources);

  // Puts the card in whose functions are on bus(), or takes it out, which is
  // a surprise removal unless the guest permitted it. When Remove() returns,
  // the functions answer the guest no more.
  void Insert();
  void Remove();
  // Ask the guest for the card, and take the request back (HotPlugSlot).
  absl::Status RequestRemoval();
  absl::Status CancelRemoval();
  // Cuts the card's power after a fault, until the guest turns the slot off.
  void FailPower();

  bool card_present() const;
  bool link_active() const;
  // Returns whether a request for removal waits for the guest.
  bool removal_pending() const;
  // Returns whether the card was asked for, whatever the guest answered.
  bool removal_requested() const;
  // Returns how many interrupts were lost, with the reasons of the last.
  const kernel::FailureLog& failures() const { return failures_; }

  // PciBridge.
  uint32_t ConfigRead(uint16_t offset, unsigned width) override;
  void ConfigWrite(uint16_t offset, absl::Span<const uint8_t> bytes) override;
  bool Forwards(uint8_t bus) const override;
  void ForwardRead(pci::Bdf bdf, uint16_t offset,
                   absl::Span<uint8_t> data) override;
  void ForwardWrite(pci::Bdf bdf, uint16_t offset,
                    absl::Span<const uint8_t> data) override;

  // Upstream.
  bool ForwardsMemory(uint64_t address, uint64_t size) const override;
  bool ForwardsIo(uint64_t address, uint64_t size) const override;

 private:
  // The functions behind the port, under the addresses of bus 0.
  class SecondaryBus final : public pci_host::FunctionBus {
   public:
    absl::Status Add(pci::Bdf bdf,
                     std::shared_ptr<pci_host::PciFunction> function) override;
    absl::Status Remove(pci::Bdf bdf) override;
    pci_host::PciSegment& functions() { return functions_; }
    const pci_host::PciSegment& functions() const { return functions_; }

   private:
    pci_host::PciSegment functions_;
  };

  // What the port forwards now.
  struct Forwarding {
    bool memory = false;
    bool io = false;
    bool isa = false;  // ISA Enable, which takes I/O addresses out
    pci::BridgeWindows windows;
    friend bool operator==(const Forwarding&, const Forwarding&) = default;
  };
  // What is to be done without the mutex.
  struct Actions {
    bool forwarding_changed = false;
    bool reset_bus = false;
    bool removal_permitted = false;
  };

  HotPlugSlot::Controls Controls() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Forwarding CurrentForwarding() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Writes the changes of the slot into the registers, and publishes what
  // follows from registers and slot.
  Actions Publish(const HotPlugSlot::Changes& changes)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void UpdateInterrupt() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Perform(const Actions& actions) ABSL_LOCKS_EXCLUDED(mutex_);

  const std::string name_;
  const uint8_t port_number_;
  const uint16_t slot_number_;
  const std::function<void()> on_removal_permitted_;
  const std::function<void()> reset_bus_;
  kernel::FailureLog failures_;
  SecondaryBus bus_;

  mutable absl::Mutex mutex_;
  PortInterrupt interrupt_ ABSL_GUARDED_BY(mutex_);
  pci::ConfigSpace config_ ABSL_GUARDED_BY(mutex_);
  const pci::MsiCapability msi_;
  HotPlugSlot slot_ ABSL_GUARDED_BY(mutex_);

  // Secondary and subordinate bus number, and whether the bus can be reached.
  // Read without the mutex, because PciSegment asks under its own.
  std::atomic<uint32_t> route_ = 0;

  // A leaf, because devices ask under their mutexes.
  mutable absl::Mutex forwarding_mutex_ ABSL_ACQUIRED_AFTER(mutex_);
  Forwarding forwarding_ ABSL_GUARDED_BY(forwarding_mutex_);
};

}  // namespace passthru::root_port

#endif  // PASSTHRU_DEVICES_ROOT_PORT_ROOT_PORT_H_
