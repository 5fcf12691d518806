// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_DEVICES_ROOT_PORT_PORT_INTERRUPT_H_
#define PASSTHRU_DEVICES_ROOT_PORT_PORT_INTERRUPT_H_

#include <memory>

#include "passthru/devices/interrupts/interrupt_controller.h"
#include "passthru/devices/interrupts/interrupt_line.h"
#include "passthru/devices/kernel/failure_log.h"
#include "passthru/pci/msi_capability.h"

namespace passthru::root_port {

// The one interrupt of a port, which reports its events by MSI, or by INTx
// while MSI is off (PCIe 6.0 6.7.3.4). MSI is sent when the condition becomes
// true, which includes that the guest enabled it. INTx has the level of the
// condition.
//
// Thread-compatible. The port calls it under its mutex.
class PortInterrupt {
 public:
  // What the port's registers say.
  struct State {
    bool event = false;  // an event whose interrupt is enabled
    bool bus_master = false;
    bool intx_disabled = false;
    pci::MsiState msi;
  };

  // `line` may be null. `controller` and `failures` must outlive this object.
  PortInterrupt(interrupts::InterruptController* controller,
                std::unique_ptr<interrupts::InterruptLine> line,
                kernel::FailureLog* failures);

  // Sends and sets what follows from the registers.
  void Update(const State& state);

  bool has_line() const { return line_ != nullptr; }
  // Returns the pending bit of the MSI capability. It is set if the message was
  // due while it was masked.
  bool msi_pending() const { return msi_pending_; }

 private:
  void Send(const pci::MsiMessage& message);

  interrupts::InterruptController* const controller_;
  const std::unique_ptr<interrupts::InterruptLine> line_;
  kernel::FailureLog* const failures_;
  // Whether the condition for a message was true at the last Update().
  bool msi_condition_ = false;
  bool msi_pending_ = false;
};

}  // namespace passthru::root_port

#endif  // PASSTHRU_DEVICES_ROOT_PORT_PORT_INTERRUPT_H_
