// SPDX-License-Identifier: Apache-2.0

#ifndef PASSTHRU_DEVICES_BUS_BUS_H_
#define PASSTHRU_DEVICES_BUS_BUS_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/types/span.h"
#include "passthru/devices/bus/address_space.h"
#include "passthru/devices/bus/bus_device.h"
#include "passthru/devices/bus/flat_view.h"
#include "passthru/devices/bus/published.h"

namespace passthru::bus {

// Counters of a Bus. Reads and writes count guest accesses. Misses and failures
// count pieces of accesses, because the bus may cut an access into several.
struct BusStats {
  uint64_t reads = 0;
  uint64_t writes = 0;
  uint64_t misses = 0;
  uint64_t failures = 0;

  friend bool operator==(const BusStats&, const BusStats&) = default;
};

// One address space of the guest. It finds the device for an access that left
// guest mode (KVM_EXIT_MMIO, KVM_EXIT_IO). A machine has one Bus for memory and
// one for ports.
//
// Devices report failures, and the bus turns them into what a PCI bus does with
// an access that no device claims. A read returns all ones and a write is
// dropped. The bus counts and logs both. It limits the rate of the log, because
// a guest can cause them at will.
//
// Thread-safe. The bus holds no lock while it calls a device, so several
// threads may be in one device at once. An access takes no lock either, and
// never waits for Add() or Remove().
class Bus final : public AddressSpace {
 public:
  // `name` appears in log and error messages.
  explicit Bus(std::string name);
  // No call may be in flight.
  ~Bus() override;

  Bus(const Bus&) = delete;
  Bus& operator=(const Bus&) = delete;

  // Performs a guest access of any length. Bytes that no range covers read as
  // all ones. An access that crosses from one range into another is cut there,
  // and the lower addresses come first. Addresses do not wrap, so bytes beyond
  // 2^64 - 1 are misses.
  void Read(uint64_t address, absl::Span<uint8_t> data);
  void Write(uint64_t address, absl::Span<const uint8_t> data);

  absl::StatusOr<RangeHandle> Add(uint64_t base, uint64_t size,
                                  std::shared_ptr<BusDevice> device,
                                  int priority) override;
  void Remove(RangeHandle handle) override;
  bool HoldPages(RangeHandle own, uint64_t base, uint64_t size,
                 PageHolder* holder) override;

  const std::string& name() const { return name_; }
  BusStats stats() const;

 private:
  struct Range;
  struct Piece;
  struct View;

  // Fills `piece` with the first part of an access at `address` that belongs to
  // one range, or to none. Enters the gate of the range, if there is one.
  void Enter(uint64_t address, size_t length, Piece& piece);
  // Calls visit(range or null, address, position in the access, length) for
  // each piece of an access.
  template <typename Visitor>
  void ForEachPiece(uint64_t address, size_t length, Visitor visit);
  void Missed(std::string_view access, uint64_t address, size_t length);
  void Failed(std::string_view access, const Range& range, uint64_t address,
              size_t length, const absl::Status& status);
  void RebuildView() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Returns a range whose holder has pages that `span` reaches into, or null.
  Range* FindHeld(const FlatView::Range& span)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const std::string name_;

  mutable absl::Mutex mutex_;
  uint64_t next_id_ ABSL_GUARDED_BY(mutex_) = 1;
  // Sorted by handle.
  std::vector<std::shared_ptr<Range>> ranges_ ABSL_GUARDED_BY(mutex_);
  // What accesses see of ranges_. Replaced under mutex_.
  Published<View> view_;

  std::atomic<uint64_t> reads_ = 0;
  std::atomic<uint64_t> writes_ = 0;
  std::atomic<uint64_t> misses_ = 0;
  std::atomic<uint64_t> failures_ = 0;
};

}  // namespace passthru::bus

#endif  // PASSTHRU_DEVICES_BUS_BUS_H_
