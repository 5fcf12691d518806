// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/kvm/fake_kvm_pins.h"

#include <cstdint>

namespace passthru::fake {
namespace {

constexpr uint32_t kCascadePin = 2;

// Returns the level of the line, like __kvm_irq_line_state().
bool Drive(unsigned& sources, IrqSource source, bool level) {
  const unsigned bit = 1u << static_cast<unsigned>(source);
  sources = level ? sources | bit : sources & ~bit;
  return sources != 0;
}

}  // namespace

int FakeKvmPins::SetIoapic(IrqSource source, uint32_t pin, bool level) {
  const uint32_t bit = 1u << pin;
  if (!Drive(ioapic_sources_[pin], source, level)) {
    ioapic_requests_ &= ~bit;
    return 1;
  }
  // After a reset, pins are edge-triggered.
  if ((ioapic_requests_ & bit) != 0) return 0;
  ioapic_requests_ |= bit;
  return -1;  // ioapic_service() finds it masked.
}

int FakeKvmPins::SetPic(IrqSource source, uint32_t pin, bool level) {
  const bool line = Drive(pic_sources_[pin], source, level);
  const int result = SetPicPin(pics_[pin / kPicPins], pin % kPicPins, line);
  // As pic_update_irq() does, the second PIC interrupts the first one.
  if (pics_[1].requests != 0) {
    SetPicPin(pics_[0], kCascadePin, true);
    SetPicPin(pics_[0], kCascadePin, false);
  }
  return result;
}

// Answers like pic_set_irq1() for an edge-triggered pin that is not masked.
int FakeKvmPins::SetPicPin(Pic& pic, uint32_t pin, bool level) {
  const auto bit = static_cast<uint8_t>(1u << pin);
  int result = 1;
  if (!level) {
    pic.last &= static_cast<uint8_t>(~bit);
    return result;
  }
  if ((pic.last & bit) == 0) {
    result = (pic.requests & bit) != 0 ? 0 : 1;
    pic.requests |= bit;
  }
  pic.last |= bit;
  return result;
}

}  // namespace passthru::fake
