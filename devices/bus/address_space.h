// SPDX-License-Identifier: Apache-2.0

#ifndef PASSTHRU_DEVICES_BUS_ADDRESS_SPACE_H_
#define PASSTHRU_DEVICES_BUS_ADDRESS_SPACE_H_

#include <compare>
#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "passthru/devices/bus/bus_device.h"

namespace passthru::bus {

// Identifies one range in an AddressSpace. A handle is never reused after the
// range was removed. A default handle identifies no range.
class RangeHandle {
 public:
  constexpr RangeHandle() = default;
  constexpr explicit RangeHandle(uint64_t id) : id_(id) {}

  constexpr uint64_t id() const { return id_; }

  friend constexpr auto operator<=>(RangeHandle, RangeHandle) = default;

 private:
  uint64_t id_ = 0;
};

// A user of whole pages around its range, which it shares with no other range.
// A BAR smaller than a page is mapped into the guest with all of its page.
class PageHolder {
 public:
  virtual ~PageHolder() = default;

  // Another range comes into the pages around `own`. When this returns, the
  // holder uses nothing of them but that range.
  virtual void LeavePages(RangeHandle own) = 0;
};

// The guest memory or I/O ports in which devices register the ranges that they
// answer. The interface is narrow so that a VMM with its own bus can implement
// it. Bus is the implementation of this library.
//
// Devices call Add() and Remove() from inside a guest access. A guest that
// moves a BAR writes to configuration space, which is itself a device of an
// address space, and the write removes and adds ranges. An implementation must
// therefore hold no lock, not even a shared one, while it calls a device.
//
// Implementations are thread-safe.
class AddressSpace {
 public:
  // The guest may move a PCI BAR on top of anything, even another BAR. A VMM
  // must therefore give a higher priority than kBarPriority to everything that
  // has to stay reachable, such as ECAM and the interrupt controllers.
  static constexpr int kBarPriority = 0;
  static constexpr int kPlatformPriority = 100;

  virtual ~AddressSpace() = default;

  // Routes guest accesses to [base, base + size) to `device`. Ranges may
  // overlap. The range of the highest priority answers, and among equals the
  // one that was added first. Makes holders (HoldPages()) leave what the new
  // range reaches into, before it answers.
  virtual absl::StatusOr<RangeHandle> Add(uint64_t base, uint64_t size,
                                          std::shared_ptr<BusDevice> device,
                                          int priority) = 0;

  // Removes a range. Returns only when no other thread is inside a call into
  // it, so that the caller may then destroy what the device needs. The caller
  // must not hold a lock that the device takes in Read() or Write(). From
  // inside a call into the range itself, Remove() does not wait for that call.
  // It ignores a handle that identifies no range, or whose range was removed
  // before. Ends what HoldPages() gave.
  virtual void Remove(RangeHandle handle) = 0;

  // Gives `holder` the pages [base, base + size), which contain the range
  // `own`, if no other range reaches into them. Returns whether it did. From
  // then on Add() makes the holder leave before it adds a range there. Add()
  // calls the holder on its own thread and holds no lock then. Holders belong
  // to devices, so a VMM that adds ranges while it has devices holds the VM's
  // LayoutLock, as the devices do.
  //
  // An address space need not know. By default no holder gets anything, and
  // BARs smaller than a page are trapped.
  virtual bool HoldPages(RangeHandle /*own*/, uint64_t /*base*/,
                         uint64_t /*size*/, PageHolder* /*holder*/) {
    return false;
  }
};

}  // namespace passthru::bus

#endif  // PASSTHRU_DEVICES_BUS_ADDRESS_SPACE_H_
