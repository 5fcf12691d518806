// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_VMM_GUEST_LAYOUT_H_
#define PASSTHRU_VMM_GUEST_LAYOUT_H_

#include <cstdint>

namespace passthru::vmm {

// The guest-physical address map. It follows QEMU's q35 unless a comment gives
// another reason. Addresses and sizes are in bytes.

inline constexpr uint64_t kRamBase = 0;
// RAM ends below ECAM. What a guest has more is at kHighRamBase.
inline constexpr uint64_t kMaxLowRamSize = uint64_t{2} << 30;
inline constexpr uint64_t kHighRamBase = uint64_t{4} << 30;

// ECAM has 1 MiB for each of 256 buses (PCI Express Base 6.0, 7.2.2).
inline constexpr uint64_t kEcamBase = 0xb0000000;
inline constexpr uint64_t kEcamSize = uint64_t{256} << 20;

// The window of the 32-bit BARs ends at the IOAPIC page. The addresses above
// belong to the platform, which has there the IOAPIC, the local APIC with its
// MSI window, and KVM's TSS and identity map pages.
inline constexpr uint64_t kMmio32Base = 0xc0000000;
inline constexpr uint64_t kMmio32Size = 0xfec00000 - kMmio32Base;

// The first window of the 64-bit BARs fits into 39 bits, which every IOMMU and
// nearly every CPU with EPT or NPT reaches. An Intel IOMMU with three levels
// reaches no more. BarWindows has the other windows.
inline constexpr uint64_t kMmio64Base = uint64_t{256} << 30;
inline constexpr uint64_t kMmio64Size = uint64_t{256} << 30;
// RAM above 4 GiB ends below that window.
inline constexpr uint64_t kMaxHighRamSize = kMmio64Base - kHighRamBase;

// The platform's addresses, from the end of the 32-bit BARs to 4 GiB.
inline constexpr uint64_t kPlatformBase = kMmio32Base + kMmio32Size;
inline constexpr uint64_t kPlatformSize = (uint64_t{4} << 30) - kPlatformBase;
inline constexpr uint32_t kIoapicBase = 0xfec00000;
inline constexpr uint32_t kLocalApicBase = 0xfee00000;

// The window of the I/O BARs is above the legacy ports and those of the
// configuration mechanism.
inline constexpr uint64_t kPioBase = 0x1000;
inline constexpr uint64_t kPioSize = 0x10000 - kPioBase;
inline constexpr uint64_t kPciConfigPort = 0xcf8;
inline constexpr uint64_t kPciConfigPortSize = 8;

// The first serial port of a PC, and its interrupt.
inline constexpr uint16_t kSerialPort = 0x3f8;
inline constexpr uint8_t kSerialPortSize = 8;
inline constexpr uint8_t kSerialGsi = 4;

// The ACPI fixed hardware (ACPI 6.5, 4.8.3), the type of sleep that turns the
// power off, and the interrupt of ACPI events, which never occurs here.
inline constexpr uint16_t kPm1EventPort = 0x600;
inline constexpr uint8_t kPm1EventSize = 4;
inline constexpr uint16_t kPm1ControlPort = kPm1EventPort + kPm1EventSize;
inline constexpr uint8_t kPm1ControlSize = 2;
inline constexpr uint8_t kSleepTypeS5 = 5;
inline constexpr uint8_t kSciGsi = 9;

// The reset control register of Intel's chipsets, which is among the ports of
// the configuration mechanism, with the bit that resets the CPUs, and the value
// that asks for a hard reset. The keyboard controller can reset, too.
inline constexpr uint16_t kResetPort = 0xcf9;
inline constexpr uint8_t kResetCpus = 1 << 2;
inline constexpr uint8_t kResetValue = kResetCpus | 1 << 1;
inline constexpr uint16_t kKeyboardControllerPort = 0x64;

// Where the VMM puts the ACPI tables. An operating system looks for them here
// (ACPI 6.5, 5.2.5.1).
inline constexpr uint64_t kAcpiBase = 0xe0000;
inline constexpr uint64_t kAcpiSize = 0x20000;

// INTx uses the IOAPIC's pins above those of the legacy interrupts. The slots
// share them in turn. PCI Firmware 3.3, 4.6.1 leaves the choice to the
// platform.
inline constexpr uint32_t kIntxBase = 16;
inline constexpr uint32_t kIntxCount = 8;
constexpr uint32_t IntxGsi(uint8_t slot) {
  return kIntxBase + slot % kIntxCount;
}

// The pages for KVM_SET_IDENTITY_MAP_ADDR (one) and KVM_SET_TSS_ADDR (three),
// which Intel hosts need. They are below 4 GiB and have no other use.
inline constexpr uint64_t kIdentityMapAddress = 0xfeffc000;
inline constexpr uint64_t kTssAddress = 0xfeffd000;

}  // namespace passthru::vmm

#endif  // PASSTHRU_VMM_GUEST_LAYOUT_H_
