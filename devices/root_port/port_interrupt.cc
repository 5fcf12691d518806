// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/root_port/port_interrupt.h"

#include <memory>
#include <utility>

#include "absl/log/check.h"
#include "absl/status/status.h"
#include "passthru/pci/msi_message.h"
#include "passthru/pci/vector_index.h"

namespace passthru::root_port {

PortInterrupt::PortInterrupt(interrupts::InterruptController* controller,
                             std::unique_ptr<interrupts::InterruptLine> line,
                             kernel::FailureLog* failures)
    : controller_(controller), line_(std::move(line)), failures_(failures) {
  CHECK(controller_ != nullptr);
}

void PortInterrupt::Update(const State& state) {
  const bool condition = state.event && state.msi.enabled && state.bus_master;
  // A message that was due is not sent for an event that the guest has seen
  // (PCIe 6.0 7.7.1.8).
  if (!condition) {
    msi_pending_ = false;
  } else if (!msi_condition_) {
    msi_pending_ = true;
  }
  msi_condition_ = condition;
  constexpr pci::VectorIndex kVector(0);
  if (msi_pending_ && !state.msi.masked(kVector)) {
    msi_pending_ = false;
    Send(state.msi.message(kVector));
  }
  if (line_ == nullptr) return;
  const absl::Status status =
      line_->Set(state.event && !state.msi.enabled && !state.intx_disabled);
  if (!status.ok()) failures_->Add("INTx keeps its level", status);
}

void PortInterrupt::Send(const pci::MsiMessage& message) {
  absl::Status status = pci::ValidateMsiMessage(message);
  if (status.ok()) status = controller_->SignalMsi(message);
  if (!status.ok()) failures_->Add("a hot-plug interrupt is lost", status);
}

}  // namespace passthru::root_port
