// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_KVM_FAKE_KVM_PINS_H_
#define PASSTHRU_TESTING_KVM_FAKE_KVM_PINS_H_

#include <linux/kvm.h>

#include <array>
#include <cstdint>

namespace passthru::fake {

// The source that drives an interrupt line. A line is the OR of all sources
// (KVM_*_IRQ_SOURCE_ID).
enum class IrqSource { kUserSpace, kResampler };

// The pins of a VM's IOAPIC and of its two PICs. No guest of the fake programs
// them, so they are as after a reset: the IOAPIC masks all of its pins, the
// PICs none, and nothing is ever acknowledged.
//
// Set*() drive a pin and return what kvm_set_irq() makes of it: a negative
// number if the pin is masked, 0 if the interrupt was pending before, else 1.
//
// Guarded by the fake kernel's mutex (Thread-compatible).
class FakeKvmPins {
 public:
  // Answers like kvm_ioapic_set_irq(). `pin` is below KVM_IOAPIC_NUM_PINS.
  int SetIoapic(IrqSource source, uint32_t pin, bool level);
  // Answers like kvm_pic_set_irq(). Pins from 8 on are the second PIC's.
  int SetPic(IrqSource source, uint32_t pin, bool level);

  bool IoapicLevel(uint32_t pin) const {
    return pin < ioapic_sources_.size() && ioapic_sources_[pin] != 0;
  }

 private:
  static constexpr uint32_t kPicPins = 8;
  struct Pic {
    uint8_t requests = 0;  // IRR.
    uint8_t last = 0;      // The levels of the pins, of which edges count.
  };

  static int SetPicPin(Pic& pic, uint32_t pin, bool level);

  // By pin, a bit for each source that asserts it.
  std::array<unsigned, KVM_IOAPIC_NUM_PINS> ioapic_sources_ = {};
  std::array<unsigned, 2 * kPicPins> pic_sources_ = {};
  uint32_t ioapic_requests_ = 0;  // IRR.
  std::array<Pic, 2> pics_ = {};
};

}  // namespace passthru::fake

#endif  // PASSTHRU_TESTING_KVM_FAKE_KVM_PINS_H_
