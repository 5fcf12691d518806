// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_VMM_GUEST_LAYOUT_H_
#define PASSTHRU_VMM_GUEST_LAYOUT_H_

#include <cstdint>

namespace passthru::vmm {

// The guest-physical address map, after QEMU's q35 where nothing else decides.
// Sizes and addresses in bytes.

inline constexpr uint64_t kRamBase = 0;
// RAM ends below ECAM; a guest here never needs more.
inline constexpr uint64_t kMaxRamSize = uint64_t{2} << 30;

// PCI Express Base 6.0, 7.2.2: 1 MiB of ECAM per bus, 256 buses.
inline constexpr uint64_t kEcamBase = 0xb0000000;
inline constexpr uint64_t kEcamSize = uint64_t{256} << 20;

// 32-bit BARs: up to the IOAPIC page. What lies above (IOAPIC, local APIC and
// its MSI window, TSS and identity map pages of KVM) belongs to the platform.
inline constexpr uint64_t kMmio32Base = 0xc0000000;
inline constexpr uint64_t kMmio32Size = 0xfec00000 - kMmio32Base;

// 64-bit BARs: below 39 bits, which every IOMMU and every CPU with EPT or NPT
// reaches (an Intel IOMMU of three levels ends there).
inline constexpr uint64_t kMmio64Base = uint64_t{256} << 30;
inline constexpr uint64_t kMmio64Size = uint64_t{256} << 30;

// From the end of the 32-bit BARs to 4 GiB.
inline constexpr uint64_t kPlatformBase = kMmio32Base + kMmio32Size;
inline constexpr uint64_t kPlatformSize = (uint64_t{4} << 30) - kPlatformBase;

// I/O BARs: above the legacy ports and the configuration mechanism's.
inline constexpr uint64_t kPioBase = 0x1000;
inline constexpr uint64_t kPioSize = 0x10000 - kPioBase;
inline constexpr uint64_t kPciConfigPort = 0xcf8;
inline constexpr uint64_t kPciConfigPortSize = 8;

// INTx: the IOAPIC's pins above the legacy interrupts', one for each slot in
// turn (PCI Firmware 3.3, 4.6.1: the platform says which).
inline constexpr uint32_t kIntxBase = 16;
inline constexpr uint32_t kIntxCount = 8;
constexpr uint32_t IntxGsi(uint8_t slot) {
  return kIntxBase + slot % kIntxCount;
}

// KVM_SET_TSS_ADDR (three pages) and KVM_SET_IDENTITY_MAP_ADDR (one): below
// 4 GiB and nobody else's. Intel hosts need both.
inline constexpr uint64_t kIdentityMapAddress = 0xfeffc000;
inline constexpr uint64_t kTssAddress = 0xfeffd000;

}  // namespace passthru::vmm

#endif  // PASSTHRU_VMM_GUEST_LAYOUT_H_
