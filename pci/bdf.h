// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_PCI_BDF_H_
#define PASSTHRU_PCI_BDF_H_

#include <compare>
#include <cstdint>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace passthru::pci {

// The address of a PCI function, made of segment (the domain, in Linux), bus,
// device and function number. The device number is always below 32 and the
// function number below 8.
//
// ACPI's segments have 16 bits. Linux numbers the domains of controllers that
// firmware does not know from 0x10000 on (vmd_find_free_domain()), so a host's
// segment has up to 32 bits.
//
// An immutable value.
class Bdf {
 public:
  static constexpr unsigned kDevicesPerBus = 32;
  static constexpr unsigned kFunctionsPerDevice = 8;

  constexpr Bdf() = default;
  // Takes numbers that the program itself chose, and dies if `device` or
  // `function` is out of range. Use Parse() for text.
  constexpr Bdf(uint32_t segment, uint8_t bus, uint8_t device, uint8_t function)
      : segment_(segment),
        bus_(bus),
        device_(device < kDevicesPerBus ? device : Invalid("device", device)),
        function_(function < kFunctionsPerDevice
                      ? function
                      : Invalid("function", function)) {}

  // Parses "0000:01:00.0", "10000:01:00.0" or, for segment 0, "01:00.0", the
  // forms that sysfs and lspci print. All numbers are hexadecimal.
  static absl::StatusOr<Bdf> Parse(absl::string_view text);

  // Converts from the 16-bit Routing ID (PCIe 6.0 2.2.4.2), which holds the bus
  // in bits 15:8, the device in 7:3 and the function in 2:0.
  static constexpr Bdf FromRoutingId(uint32_t segment, uint16_t routing_id) {
    return Bdf(segment, static_cast<uint8_t>(routing_id >> 8),
               static_cast<uint8_t>((routing_id >> 3) & 0x1f),
               static_cast<uint8_t>(routing_id & 7));
  }
  constexpr uint16_t routing_id() const {
    return static_cast<uint16_t>(bus_ << 8 | device_ << 3 | function_);
  }

  constexpr uint32_t segment() const { return segment_; }
  constexpr uint8_t bus() const { return bus_; }
  constexpr uint8_t device() const { return device_; }
  constexpr uint8_t function() const { return function_; }

  // Returns for example "0000:01:00.0", the name of the function's directory in
  // sysfs. A segment has four digits, or more if it needs them.
  std::string ToString() const;

  friend constexpr auto operator<=>(const Bdf&, const Bdf&) = default;

  template <typename H>
  friend H AbslHashValue(H h, const Bdf& bdf) {
    return H::combine(std::move(h), bdf.segment_, bdf.routing_id());
  }

  template <typename Sink>
  friend void AbslStringify(Sink& sink, const Bdf& bdf) {
    sink.Append(bdf.ToString());
  }

 private:
  // Is not constexpr, so that a wrong constant does not compile. At run time it
  // terminates the program.
  [[noreturn]] static uint8_t Invalid(const char* what, uint8_t value);

  uint32_t segment_ = 0;
  uint8_t bus_ = 0;
  uint8_t device_ = 0;
  uint8_t function_ = 0;
};

}  // namespace passthru::pci

#endif  // PASSTHRU_PCI_BDF_H_
