// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/platform/power.h"

#include <algorithm>
#include <cstdint>

#include "passthru/pci/little_endian.h"
#include "passthru/vmm/guest_layout.h"

namespace passthru::vmm {
namespace {

// The registers, which are words.
constexpr uint64_t kEnableOffset = 2;
constexpr uint64_t kControlOffset = kPm1EventSize;

// Bits of the control register (ACPI 6.5, table 4.13).
constexpr uint16_t kSciEnable = 1 << 0;
constexpr uint16_t kSleepTypeMask = 7 << 10;
constexpr uint16_t kSleepEnable = 1 << 13;
constexpr uint16_t kS5 = kSleepTypeS5 << 10;

constexpr uint8_t kPulseReset = 0xfe;

}  // namespace

absl::Status PowerRegisters::Read(uint64_t offset, absl::Span<uint8_t> data) {
  // The status register is always 0.
  uint8_t registers[kPm1EventSize + kPm1ControlSize] = {};
  const absl::Span<uint8_t> all = absl::MakeSpan(registers);
  pci::StoreLittleEndian<uint16_t>(all, kEnableOffset, enable_.load());
  pci::StoreLittleEndian<uint16_t>(all, kControlOffset,
                                   control_.load() | kSciEnable);
  for (uint8_t& byte : data) {
    byte = offset < all.size() ? all[offset] : 0xff;
    ++offset;
  }
  return absl::OkStatus();
}

absl::Status PowerRegisters::Write(uint64_t offset,
                                   absl::Span<const uint8_t> data) {
  // Operating systems write whole registers (ACPI 6.5, 4.8.3). Others are
  // ignored.
  if (data.size() != sizeof(uint16_t)) return absl::OkStatus();
  const auto value = pci::LoadLittleEndian<uint16_t>(data, 0);
  if (offset == kEnableOffset) enable_.store(value);
  if (offset != kControlOffset) return absl::OkStatus();
  control_.store(value & kSleepTypeMask);
  if ((value & kSleepEnable) != 0 && (value & kSleepTypeMask) == kS5) {
    on_power_off_();
  }
  return absl::OkStatus();
}

absl::Status KeyboardController::Read(uint64_t, absl::Span<uint8_t> data) {
  // Both buffers are empty.
  std::fill(data.begin(), data.end(), 0);
  return absl::OkStatus();
}

absl::Status KeyboardController::Write(uint64_t,
                                       absl::Span<const uint8_t> data) {
  if (data[0] == kPulseReset) on_reset_();
  return absl::OkStatus();
}

}  // namespace passthru::vmm
