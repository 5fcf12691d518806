// SPDX-License-Identifier: Apache-2.0

#ifndef PASSTHRU_DEVICES_BUS_BUS_DEVICE_H_
#define PASSTHRU_DEVICES_BUS_BUS_DEVICE_H_

#include <cstdint>
#include <string_view>

#include "absl/status/status.h"
#include "absl/types/span.h"

namespace passthru::bus {

// Something that answers guest accesses to a range of an address space.
//
// Called by several vCPU threads at once, with no lock of the address space
// held. Data is little-endian as the guest sees it. An access stays inside the
// range that was registered, but its length and alignment are the guest's: an
// access that crosses the end of a range arrives cut to the part inside.
class BusDevice {
 public:
  virtual ~BusDevice() = default;

  // For log messages, e.g. "0000:00:04.0 BAR 0".
  virtual std::string_view name() const = 0;

  // `offset` counts from the base of the registered range. A failure is
  // logged and counted by the address space and becomes all ones for the
  // guest, whatever `data` holds by then.
  virtual absl::Status Read(uint64_t offset, absl::Span<uint8_t> data) = 0;

  // A failure is logged and counted by the address space; the write is lost.
  virtual absl::Status Write(uint64_t offset,
                             absl::Span<const uint8_t> data) = 0;
};

}  // namespace passthru::bus

#endif  // PASSTHRU_DEVICES_BUS_BUS_DEVICE_H_
