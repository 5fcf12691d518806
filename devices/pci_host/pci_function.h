// SPDX-License-Identifier: Apache-2.0

#ifndef PASSTHRU_DEVICES_PCI_HOST_PCI_FUNCTION_H_
#define PASSTHRU_DEVICES_PCI_HOST_PCI_FUNCTION_H_

#include <cstdint>

#include "absl/types/span.h"

namespace passthru::pci_host {

// The configuration space of one PCI function, as the guest reaches it.
//
// PciSegment calls it from several vCPU threads at once, without a lock.
// Whatever the guest did, an access that arrives here is 1, 2 or 4 bytes long,
// naturally aligned and within 4096 bytes. PciSegment has cut wider and
// unaligned accesses, as vfio_pci_config_rw_single() in
// drivers/vfio/pci/vfio_pci_config.c does.
class PciFunction {
 public:
  virtual ~PciFunction() = default;

  // Returns the value in the low `width` bytes of the result, little-endian.
  // The caller ignores the other bytes. What cannot be read reads as all ones.
  virtual uint32_t ConfigRead(uint16_t offset, unsigned width) = 0;

  // Writes `bytes`, except for those that cannot be written.
  virtual void ConfigWrite(uint16_t offset,
                           absl::Span<const uint8_t> bytes) = 0;

  // Tells a function behind a bridge that the bridge may forward other
  // addresses than before (Upstream). The function answers by them when this
  // returns. Called with no lock held.
  virtual void OnUpstreamChange() {}
};

}  // namespace passthru::pci_host

#endif  // PASSTHRU_DEVICES_PCI_HOST_PCI_FUNCTION_H_
