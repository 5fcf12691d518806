// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_DEVICES_VFIO_PCI_INTERRUPT_KIND_H_
#define PASSTHRU_DEVICES_VFIO_PCI_INTERRUPT_KIND_H_

#include <cstdint>
#include <string_view>

namespace passthru::vfio_pci {

// The kind of interrupt that a device uses. At most one is on at a time.
enum class InterruptKind : uint8_t { kNone, kIntx, kMsi, kMsix };

constexpr std::string_view Name(InterruptKind kind) {
  switch (kind) {
    case InterruptKind::kNone:
      return "none";
    case InterruptKind::kIntx:
      return "INTx";
    case InterruptKind::kMsi:
      return "MSI";
    case InterruptKind::kMsix:
      return "MSI-X";
  }
  return "?";
}

}  // namespace passthru::vfio_pci

#endif  // PASSTHRU_DEVICES_VFIO_PCI_INTERRUPT_KIND_H_
