// SPDX-License-Identifier: Apache-2.0

#ifndef PASSTHRU_DEVICES_PCI_HOST_HOST_BRIDGE_H_
#define PASSTHRU_DEVICES_PCI_HOST_HOST_BRIDGE_H_

#include <cstdint>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/types/span.h"
#include "passthru/devices/pci_host/pci_function.h"
#include "passthru/pci/config_space.h"

namespace passthru::pci_host {

// The emulated host bridge at 00:00.0. It has the IDs of Intel's 82G33 memory
// controller, as in QEMU's q35. Guests look for a host bridge before they
// believe that there is a PCI bus (Linux does so in pci_sanity_check() in
// arch/x86/pci/direct.c). The bridge has no BAR, no capability and no effect.
// Only its command register is writable.
//
// Thread-safe.
class HostBridge final : public PciFunction {
 public:
  HostBridge();

  uint32_t ConfigRead(uint16_t offset, unsigned width) override;
  void ConfigWrite(uint16_t offset, absl::Span<const uint8_t> bytes) override;

 private:
  absl::Mutex mutex_;
  pci::ConfigSpace config_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace passthru::pci_host

#endif  // PASSTHRU_DEVICES_PCI_HOST_HOST_BRIDGE_H_
