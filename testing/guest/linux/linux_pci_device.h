// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_GUEST_LINUX_LINUX_PCI_DEVICE_H_
#define PASSTHRU_TESTING_GUEST_LINUX_LINUX_PCI_DEVICE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "passthru/pci/bdf.h"
#include "passthru/testing/guest/linux/config_access.h"

namespace passthru::guest {

// A BAR or the expansion ROM as the guest sized it, like Linux's struct
// resource.
struct GuestBar {
  enum class Kind { kIo, kMemory32, kMemory64 };

  int index = 0;  // 0 to 5 for BARs, 6 for the ROM.
  Kind kind = Kind::kMemory32;
  bool prefetchable = false;
  uint64_t size = 0;
  uint64_t address = 0;
  // The register's low bits, with the BAR's type and prefetchable bit or the
  // ROM's enable bit.
  uint32_t flags = 0;

  bool is_rom() const { return index == 6; }
  bool is_io() const { return kind == Kind::kIo; }
  bool is_64bit() const { return kind == Kind::kMemory64; }
  friend bool operator==(const GuestBar&, const GuestBar&) = default;
};

struct GuestCapability {
  uint16_t id = 0;
  uint16_t offset = 0;
  friend bool operator==(const GuestCapability&,
                         const GuestCapability&) = default;
};

// What enumeration found out about a function. It is a plain value, so that the
// report can hold it too.
struct GuestPciInfo {
  pci::Bdf bdf;
  uint16_t vendor_id = 0;
  uint16_t device_id = 0;
  uint16_t subsystem_vendor_id = 0;
  uint16_t subsystem_id = 0;
  uint32_t class_code = 0;  // Base class, subclass, interface, as in 0x010802.
  uint8_t revision = 0;
  uint8_t header_type = 0;  // Without the multifunction bit.
  bool multifunction = false;
  bool pcie = false;
  uint16_t config_size = 256;
  bool intx_maskable = false;
  uint8_t interrupt_pin = 0;
  uint8_t interrupt_line = 0;
  std::vector<GuestBar> bars;
  // One message for each BAR that the guest could not size, as Linux would log
  // it.
  std::vector<std::string> bar_errors;
  std::vector<GuestCapability> capabilities;
  std::vector<GuestCapability> extended_capabilities;
};

// A function as the guest's PCI core holds it, like Linux's struct pci_dev. It
// holds what enumeration found out and the access to the configuration space.
// The operations are in linux_pci_*.h and are named after the kernel's
// functions.
//
// Only the guest's thread may use it. `config` must outlive it.
class LinuxPciDevice {
 public:
  LinuxPciDevice(ConfigAccess* config, pci::Bdf bdf) : config_(config) {
    info.bdf = bdf;
  }

  uint8_t ReadByte(uint16_t offset) const {
    return static_cast<uint8_t>(config_->Read(info.bdf, offset, 1));
  }
  uint16_t ReadWord(uint16_t offset) const {
    return static_cast<uint16_t>(config_->Read(info.bdf, offset, 2));
  }
  uint32_t ReadDword(uint16_t offset) const {
    return config_->Read(info.bdf, offset, 4);
  }
  void WriteByte(uint16_t offset, uint8_t value) {
    config_->Write(info.bdf, offset, 1, value);
  }
  void WriteWord(uint16_t offset, uint16_t value) {
    config_->Write(info.bdf, offset, 2, value);
  }
  void WriteDword(uint16_t offset, uint32_t value) {
    config_->Write(info.bdf, offset, 4, value);
  }

  // Returns the offset of the first capability with that id, or 0.
  uint16_t FindCapability(uint8_t id) const;
  uint16_t FindExtendedCapability(uint16_t id) const;

  // Returns the BAR of that index, or null if it is not implemented.
  const GuestBar* FindBar(int index) const;
  GuestBar* FindBar(int index);

  std::string name() const { return info.bdf.ToString(); }

  GuestPciInfo info;
  bool msi_enabled = false;
  bool msix_enabled = false;

 private:
  ConfigAccess* config_;
};

}  // namespace passthru::guest

#endif  // PASSTHRU_TESTING_GUEST_LINUX_LINUX_PCI_DEVICE_H_
