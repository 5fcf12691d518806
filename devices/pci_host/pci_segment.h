// SPDX-License-Identifier: Apache-2.0

#ifndef PASSTHRU_DEVICES_PCI_HOST_PCI_SEGMENT_H_
#define PASSTHRU_DEVICES_PCI_HOST_PCI_SEGMENT_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/btree_map.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/types/span.h"
#include "passthru/devices/pci_host/pci_function.h"
#include "passthru/pci/bdf.h"

namespace passthru::pci_host {

// The functions of one PCI segment group by bus, device and function number:
// what both doors to configuration space, PciConfigIo and PciConfigMmio, lead
// to.
//
// Whether a device is multi-function depends on what shares its slot, not on
// what the function was in the host. So bit 7 of the header type (PCI 3.0,
// 6.2.1) is the segment's: set where a slot holds more than one function,
// clear otherwise.
//
// Thread-safe. No lock is held while a function is called.
class PciSegment {
 public:
  // The size of a function's extended configuration space.
  static constexpr uint16_t kConfigSize = 4096;

  // `number` is the segment group that the Bdfs added here must have.
  explicit PciSegment(uint16_t number = 0);
  // No access may be in flight.
  ~PciSegment();

  PciSegment(const PciSegment&) = delete;
  PciSegment& operator=(const PciSegment&) = delete;

  uint16_t number() const { return number_; }

  // kInvalidArgument for another segment or no function, kAlreadyExists for a
  // place that is taken. A guest looks for functions 1 to 7 only where it
  // found function 0; it is the caller's to put one there.
  absl::Status Add(pci::Bdf bdf, std::shared_ptr<PciFunction> function);

  // Returns only when no other thread is in a call to the function there. From
  // within such a call it does not wait for that one. kNotFound for a place
  // that is empty.
  absl::Status Remove(pci::Bdf bdf);

  // A guest access of any length and alignment to one function's space, cut
  // into naturally aligned pieces of at most 4 bytes, low addresses first. What
  // is absent, or beyond kConfigSize, reads as all ones.
  void ConfigRead(pci::Bdf bdf, uint16_t offset, absl::Span<uint8_t> data);
  void ConfigWrite(pci::Bdf bdf, uint16_t offset,
                   absl::Span<const uint8_t> data);

  // Where functions are, in order.
  std::vector<pci::Bdf> Functions() const;

 private:
  struct Entry;
  struct Access;

  // Finds the function and enters its gate.
  void Enter(pci::Bdf bdf, Access& access);

  const uint16_t number_;

  mutable absl::Mutex mutex_;
  absl::btree_map<pci::Bdf, std::shared_ptr<Entry>> entries_
      ABSL_GUARDED_BY(mutex_);
  // By routing ID without the function number.
  absl::flat_hash_map<uint16_t, int> functions_in_slot_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace passthru::pci_host

#endif  // PASSTHRU_DEVICES_PCI_HOST_PCI_SEGMENT_H_
