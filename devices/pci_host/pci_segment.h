// SPDX-License-Identifier: Apache-2.0

#ifndef PASSTHRU_DEVICES_PCI_HOST_PCI_SEGMENT_H_
#define PASSTHRU_DEVICES_PCI_HOST_PCI_SEGMENT_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/btree_map.h"
#include "absl/container/flat_hash_map.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/types/span.h"
#include "passthru/devices/pci_host/function_bus.h"
#include "passthru/devices/pci_host/pci_bridge.h"
#include "passthru/devices/pci_host/pci_function.h"
#include "passthru/pci/bdf.h"

namespace passthru::pci_host {

// The functions of one PCI segment group, by bus, device and function number.
// Both ways into configuration space, PciConfigIo and PciConfigMmio, lead here.
//
// Whether a device is multi-function depends on the functions that share its
// slot, and not on the function's place in the host. The segment therefore
// controls bit 7 of the header type (PCI 3.0, 6.2.1). It sets the bit if a slot
// holds more than one function and clears it otherwise.
//
// Bus 0 is the root bus. An access to a function of another bus that was not
// added goes to the bridge that forwards this bus. If the guest let several
// bridges forward it, the one with the lowest address gets the access.
//
// Thread-safe. The segment holds no lock while it calls a function.
class PciSegment final : public FunctionBus {
 public:
  // The size of a function's extended configuration space.
  static constexpr uint16_t kConfigSize = 4096;

  // `number` is the segment group of every Bdf that the caller adds.
  explicit PciSegment(uint16_t number = 0);
  // No access may be in flight.
  ~PciSegment() override;

  PciSegment(const PciSegment&) = delete;
  PciSegment& operator=(const PciSegment&) = delete;

  uint16_t number() const { return number_; }

  // Adds a function. Returns kInvalidArgument for a null function or a Bdf of
  // another segment, and kAlreadyExists for a place that is taken. A guest
  // looks for functions 1 to 7 only if it found function 0, so the caller must
  // add one there.
  absl::Status Add(pci::Bdf bdf,
                   std::shared_ptr<PciFunction> function) override;

  // Adds a bridge in the same way. The functions behind it are its own.
  absl::Status AddBridge(pci::Bdf bdf, std::shared_ptr<PciBridge> bridge);

  // Removes the function at `bdf`. Returns only when no other thread is in a
  // call to it. From inside such a call, Remove() does not wait for that call.
  // Returns kNotFound for a place that is empty.
  absl::Status Remove(pci::Bdf bdf) override;

  // Performs a guest access of any length and alignment to one function's
  // configuration space. It is cut into naturally aligned pieces of at most 4
  // bytes, low addresses first. Registers of an absent function, and those
  // beyond kConfigSize, read as all ones and ignore writes.
  void ConfigRead(pci::Bdf bdf, uint16_t offset, absl::Span<uint8_t> data);
  void ConfigWrite(pci::Bdf bdf, uint16_t offset,
                   absl::Span<const uint8_t> data);

  // Returns function 0 of the first slot of bus 0 that has no function. Returns
  // kResourceExhausted if there is none.
  absl::StatusOr<pci::Bdf> FreeSlot() const;

  // Returns the addresses of all functions, in ascending order.
  std::vector<pci::Bdf> Functions() const;

  // Calls `visit` for each function, in ascending order of the addresses. A
  // function that another thread removes meanwhile is visited or not. Its
  // removal waits for the visit.
  void ForEach(absl::FunctionRef<void(PciFunction&)> visit);

 private:
  struct Entry;
  struct Access;

  absl::Status Insert(pci::Bdf bdf, std::shared_ptr<PciFunction> function,
                      PciBridge* bridge);

  // Finds the function, or the bridge that leads to it, and enters its gate.
  // `access` stays empty if there is none.
  void Enter(pci::Bdf bdf, Access& access);
  Entry* FindBridge(uint8_t bus) const ABSL_SHARED_LOCKS_REQUIRED(mutex_);

  const uint16_t number_;

  mutable absl::Mutex mutex_;
  absl::btree_map<pci::Bdf, std::shared_ptr<Entry>> entries_
      ABSL_GUARDED_BY(mutex_);
  // The key is the routing ID without the function number.
  absl::flat_hash_map<uint16_t, int> functions_in_slot_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace passthru::pci_host

#endif  // PASSTHRU_DEVICES_PCI_HOST_PCI_SEGMENT_H_
