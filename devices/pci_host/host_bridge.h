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

// The emulated host bridge at 00:00.0, with the ids of Intel's 82G33 memory
// controller, the one of QEMU's q35. Guests want a host bridge to be there
// before they believe that a PCI bus is (Linux: pci_sanity_check() in
// arch/x86/pci/direct.c). It has no BAR, no capability and no effect; only the
// command register holds what is written to it.
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
