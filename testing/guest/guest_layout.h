// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_GUEST_GUEST_LAYOUT_H_
#define PASSTHRU_TESTING_GUEST_GUEST_LAYOUT_H_

#include <cstdint>

namespace passthru::guest {

// A range of guest-physical addresses or ports. It is empty if `size` is 0.
struct GuestRange {
  uint64_t base = 0;
  uint64_t size = 0;

  bool Contains(uint64_t address, uint64_t length) const {
    return address >= base && address - base <= size &&
           length <= size - (address - base);
  }
  friend bool operator==(const GuestRange&, const GuestRange&) = default;
};

// What firmware tables tell a guest about its machine, and the memory that its
// drivers may use. All addresses are guest-physical.
struct GuestLayout {
  // RAM for queues and buffers, page aligned. Devices with narrow DMA masks
  // (edu has 28 bits) need it at low addresses.
  GuestRange dma_memory;

  // The ECAM window of bus 0 (MCFG). If it is empty, the guest reaches only the
  // first 256 bytes of a configuration space.
  GuestRange ecam;
  // Whether ports 0xCF8 to 0xCFF exist. A guest needs the ports or ECAM.
  bool config_ports = true;

  // The host bridge's windows (_CRS), from which the guest assigns BARs.
  GuestRange io_window;
  GuestRange memory32_window;
  GuestRange memory64_window;

  // The local APIC that takes messages, and the first of its vectors that the
  // guest gives to devices.
  uint8_t apic_id = 0;
  uint8_t first_vector = 0x30;
};

}  // namespace passthru::guest

#endif  // PASSTHRU_TESTING_GUEST_GUEST_LAYOUT_H_
