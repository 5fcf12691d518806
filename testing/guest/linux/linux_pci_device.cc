// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/guest/linux/linux_pci_device.h"

#include <cstdint>
#include <vector>

namespace passthru::guest {
namespace {

uint16_t Find(const std::vector<GuestCapability>& list, uint16_t id) {
  for (const GuestCapability& capability : list) {
    if (capability.id == id) return capability.offset;
  }
  return 0;
}

}  // namespace

uint16_t LinuxPciDevice::FindCapability(uint8_t id) const {
  return Find(info.capabilities, id);
}

uint16_t LinuxPciDevice::FindExtendedCapability(uint16_t id) const {
  return Find(info.extended_capabilities, id);
}

const GuestBar* LinuxPciDevice::FindBar(int index) const {
  for (const GuestBar& bar : info.bars) {
    if (bar.index == index) return &bar;
  }
  return nullptr;
}

GuestBar* LinuxPciDevice::FindBar(int index) {
  return const_cast<GuestBar*>(
      static_cast<const LinuxPciDevice*>(this)->FindBar(index));
}

}  // namespace passthru::guest
