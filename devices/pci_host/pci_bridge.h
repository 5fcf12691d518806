// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_DEVICES_PCI_HOST_PCI_BRIDGE_H_
#define PASSTHRU_DEVICES_PCI_HOST_PCI_BRIDGE_H_

#include <cstdint>

#include "absl/types/span.h"
#include "passthru/devices/pci_host/pci_function.h"
#include "passthru/pci/bdf.h"

namespace passthru::pci_host {

// A function with a bus behind it. PciSegment forwards to it the configuration
// accesses to the buses whose numbers the guest gave it.
//
// Implementations are thread-safe.
class PciBridge : public PciFunction {
 public:
  // Returns whether accesses to `bus` go through the bridge, which are those
  // from its secondary to its subordinate bus number (PCI to PCI Bridge 1.2,
  // 3.2.5.2 to 3.2.5.4). PciSegment calls it under its lock, so it takes none
  // that is held during a call.
  virtual bool Forwards(uint8_t bus) const = 0;

  // Performs an access to a function on a bus that the bridge forwards. `data`
  // is within the function's 4096 bytes, and is all ones before a read.
  virtual void ForwardRead(pci::Bdf bdf, uint16_t offset,
                           absl::Span<uint8_t> data) = 0;
  virtual void ForwardWrite(pci::Bdf bdf, uint16_t offset,
                            absl::Span<const uint8_t> data) = 0;
};

// The addresses at which the functions behind a bridge can answer. A function
// is told of changes by PciFunction::OnUpstreamChange().
//
// Implementations are thread-safe. They take no lock that is held during a
// call.
class Upstream {
 public:
  virtual ~Upstream() = default;

  // Return whether the bridge forwards accesses to all of
  // [address, address + size) now.
  virtual bool ForwardsMemory(uint64_t address, uint64_t size) const = 0;
  virtual bool ForwardsIo(uint64_t address, uint64_t size) const = 0;
};

}  // namespace passthru::pci_host

#endif  // PASSTHRU_DEVICES_PCI_HOST_PCI_BRIDGE_H_
