// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_VMM_PLATFORM_POWER_H_
#define PASSTHRU_VMM_PLATFORM_POWER_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "passthru/devices/bus/bus_device.h"

namespace passthru::vmm {

// The event and control registers of ACPI's fixed hardware (ACPI 6.5, 4.8.3),
// from kPm1EventPort on. No event ever occurs. The sleep type of S5 turns the
// power off.
//
// Thread-safe.
class PowerRegisters final : public bus::BusDevice {
 public:
  // `on_power_off` is called from the vCPU's thread.
  explicit PowerRegisters(std::function<void()> on_power_off)
      : on_power_off_(std::move(on_power_off)) {}

  std::string_view name() const override { return "ACPI registers"; }
  absl::Status Read(uint64_t offset, absl::Span<uint8_t> data) override;
  absl::Status Write(uint64_t offset, absl::Span<const uint8_t> data) override;

 private:
  const std::function<void()> on_power_off_;
  std::atomic<uint16_t> enable_ = 0;
  std::atomic<uint16_t> control_ = 0;
};

// The command port of the keyboard controller (i8042), of which only the pulse
// on the CPUs' reset line is there.
//
// Thread-safe.
class KeyboardController final : public bus::BusDevice {
 public:
  // `on_reset` is called from the vCPU's thread.
  explicit KeyboardController(std::function<void()> on_reset)
      : on_reset_(std::move(on_reset)) {}

  std::string_view name() const override { return "keyboard controller"; }
  absl::Status Read(uint64_t offset, absl::Span<uint8_t> data) override;
  absl::Status Write(uint64_t offset, absl::Span<const uint8_t> data) override;

 private:
  const std::function<void()> on_reset_;
};

}  // namespace passthru::vmm

#endif  // PASSTHRU_VMM_PLATFORM_POWER_H_
