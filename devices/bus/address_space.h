// SPDX-License-Identifier: Apache-2.0

#ifndef PASSTHRU_DEVICES_BUS_ADDRESS_SPACE_H_
#define PASSTHRU_DEVICES_BUS_ADDRESS_SPACE_H_

#include <compare>
#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "passthru/devices/bus/bus_device.h"

namespace passthru::bus {

// Names one range that was added to an AddressSpace. Never used again after
// its removal. A default handle names nothing.
class RangeHandle {
 public:
  constexpr RangeHandle() = default;
  constexpr explicit RangeHandle(uint64_t id) : id_(id) {}

  constexpr uint64_t id() const { return id_; }

  friend constexpr auto operator<=>(RangeHandle, RangeHandle) = default;

 private:
  uint64_t id_ = 0;
};

// Where a device puts the ranges that it wants to be asked for: guest memory
// or I/O ports. Narrow, so that a VMM that has a bus of its own can implement
// it; Bus is ours.
//
// Implementations are thread-safe.
class AddressSpace {
 public:
  // PCI BARs may be laid by the guest over anything, itself included: a VMM
  // gives what must stay reachable (ECAM, the interrupt controllers) a higher
  // priority than kBarPriority.
  static constexpr int kBarPriority = 0;
  static constexpr int kPlatformPriority = 100;

  virtual ~AddressSpace() = default;

  // Routes guest accesses of [base, base + size) to `device`. Ranges may
  // overlap: the one of the higher priority answers, among equals the one that
  // was added first.
  virtual absl::StatusOr<RangeHandle> Add(uint64_t base, uint64_t size,
                                          std::shared_ptr<BusDevice> device,
                                          int priority) = 0;

  // Returns only when no other thread is inside a call into this range, so
  // that the caller may take away what the device needs. Hence no lock may be
  // held here that the device takes in Read() or Write(). Called from within a
  // call into the range itself, it does not wait for that call.
  // A handle that names nothing, or was removed before, is ignored.
  virtual void Remove(RangeHandle handle) = 0;
};

}  // namespace passthru::bus

#endif  // PASSTHRU_DEVICES_BUS_ADDRESS_SPACE_H_
