// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/models/device_platform.h"

#include <linux/pci_regs.h>

#include <algorithm>
#include <cstdint>

namespace passthru::models {
namespace {

// If a list has more capabilities than fit in 192 bytes, it has a cycle.
constexpr int kMaxCapabilities = 48;

}  // namespace

InterruptMode DevicePlatform::ReadInterruptMode() {
  if ((ReadConfig(PCI_STATUS, 2) & PCI_STATUS_CAP_LIST) == 0) {
    return InterruptMode::kIntx;
  }
  bool msi_enabled = false;
  uint32_t offset = ReadConfig(PCI_CAPABILITY_LIST, 1) & 0xfc;
  for (int i = 0; i < kMaxCapabilities && offset >= PCI_STD_HEADER_SIZEOF;
       ++i) {
    const uint16_t at = static_cast<uint16_t>(offset);
    const uint32_t header = ReadConfig(at, 2);
    const uint8_t id = header & 0xff;
    if (id == PCI_CAP_ID_MSIX &&
        (ReadConfig(at + 2, 2) & PCI_MSIX_FLAGS_ENABLE) != 0) {
      return InterruptMode::kMsix;
    }
    if (id == PCI_CAP_ID_MSI &&
        (ReadConfig(at + 2, 2) & PCI_MSI_FLAGS_ENABLE) != 0) {
      msi_enabled = true;
    }
    offset = (header >> 8) & 0xfc;
  }
  return msi_enabled ? InterruptMode::kMsi : InterruptMode::kIntx;
}

void DevicePlatform::ReadBarMemory(pci::BarIndex, uint64_t,
                                   absl::Span<uint8_t> data) {
  std::fill(data.begin(), data.end(), uint8_t{0xff});
}

absl::Status UnconnectedHost::DmaRead(uint64_t, absl::Span<uint8_t>) {
  return absl::FailedPreconditionError("the device model has no host");
}

absl::Status UnconnectedHost::DmaWrite(uint64_t, absl::Span<const uint8_t>) {
  return absl::FailedPreconditionError("the device model has no host");
}

}  // namespace passthru::models
