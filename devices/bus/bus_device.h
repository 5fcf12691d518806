// SPDX-License-Identifier: Apache-2.0

#ifndef PASSTHRU_DEVICES_BUS_BUS_DEVICE_H_
#define PASSTHRU_DEVICES_BUS_BUS_DEVICE_H_

#include <cstdint>
#include <string_view>

#include "absl/status/status.h"
#include "absl/types/span.h"

namespace passthru::bus {

// A device that answers guest accesses to a range of an address space.
//
// Several vCPU threads may call it at once, and the address space holds no lock
// meanwhile. Data is little-endian, as the guest sees it. An access stays
// inside the registered range, but the guest chooses its length and alignment.
// If a guest access crosses the end of the range, the device sees only the part
// inside.
class BusDevice {
 public:
  virtual ~BusDevice() = default;

  // Returns a name for log messages, for example "0000:00:04.0 BAR 0".
  virtual std::string_view name() const = 0;

  // Reads at `offset` from the base of the registered range. If this fails, the
  // address space logs and counts the failure, and the guest reads all ones,
  // whatever `data` then holds.
  virtual absl::Status Read(uint64_t offset, absl::Span<uint8_t> data) = 0;

  // Writes at `offset` from the base of the registered range. If this fails,
  // the address space logs and counts the failure, and the write is lost.
  virtual absl::Status Write(uint64_t offset,
                             absl::Span<const uint8_t> data) = 0;
};

}  // namespace passthru::bus

#endif  // PASSTHRU_DEVICES_BUS_BUS_DEVICE_H_
