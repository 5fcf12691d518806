// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/vfio_pci/bar_sizing.h"

#include <algorithm>
#include <cstdint>

#include "passthru/pci/bar_index.h"

namespace passthru::vfio_pci {
namespace {

constexpr uint32_t kRegisterBytes = 4;

}  // namespace

void BarSizing::OnWrite(uint16_t offset, absl::Span<const uint8_t> bytes,
                        absl::Span<const pci::Bar> bars) {
  const uint32_t end = offset + static_cast<uint32_t>(bytes.size());
  for (const pci::Bar& bar : bars) {
    if (!bar.is_64bit()) continue;
    const uint32_t at = pci::RegisterOf(bar.index).offset;
    if (offset >= at + kRegisterBytes || at >= end) continue;
    const bool whole = offset <= at && at + kRegisterBytes <= end;
    sized_[bar.index.value()] =
        whole && std::all_of(bytes.begin() + (at - offset),
                             bytes.begin() + (at - offset) + kRegisterBytes,
                             [](uint8_t byte) { return byte == 0xff; });
  }
}

}  // namespace passthru::vfio_pci
