// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_DEVICES_INTERRUPTS_INTERRUPT_LINE_H_
#define PASSTHRU_DEVICES_INTERRUPTS_INTERRUPT_LINE_H_

#include "absl/status/status.h"
#include "passthru/allocator/gsi.h"

namespace passthru::interrupts {

// The pins of one VM's interrupt controllers, as user space drives them.
// kvm::KvmVm implements it by KVM_IRQ_LINE. Whoever shares a pin with others
// needs SharedLines.
//
// Implementations are thread-safe and do not call back.
class LineController {
 public:
  virtual ~LineController() = default;

  // Asserts or deasserts `gsi`.
  virtual absl::Status SetLine(allocator::Gsi gsi, bool asserted) = 0;
};

// The level-triggered interrupt line of one emulated device.
//
// Implementations are thread-safe and do not call back.
class InterruptLine {
 public:
  virtual ~InterruptLine() = default;

  // Asserts or deasserts the line. Setting the level that it has is allowed.
  virtual absl::Status Set(bool asserted) = 0;
};

}  // namespace passthru::interrupts

#endif  // PASSTHRU_DEVICES_INTERRUPTS_INTERRUPT_LINE_H_
