// SPDX-License-Identifier: Apache-2.0
#include "passthru/pci/class_code.h"

#include <cstdint>
#include <string>

#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "passthru/pci/config_reg.h"
#include "passthru/pci/registers.h"

namespace passthru::pci {
namespace {

// PCI Code and ID Assignment Specification 1.15, section 1.
struct BaseClassName {
  uint8_t base;
  absl::string_view name;
};
constexpr BaseClassName kBaseClasses[] = {
    {0x00, "Unclassified device"},
    {0x01, "Mass storage controller"},
    {0x02, "Network controller"},
    {0x03, "Display controller"},
    {0x04, "Multimedia controller"},
    {0x05, "Memory controller"},
    {0x06, "Bridge"},
    {0x07, "Communication controller"},
    {0x08, "System peripheral"},
    {0x09, "Input device"},
    {0x0a, "Docking station"},
    {0x0b, "Processor"},
    {0x0c, "Serial bus controller"},
    {0x0d, "Wireless controller"},
    {0x0e, "Intelligent I/O controller"},
    {0x0f, "Satellite communication controller"},
    {0x10, "Encryption controller"},
    {0x11, "Signal processing controller"},
    {0x12, "Processing accelerator"},
    {0x13, "Non-essential instrumentation"},
    {0x40, "Co-processor"},
    {0xff, "Unassigned class"},
};

struct SubClassName {
  uint8_t base;
  uint8_t sub;
  absl::string_view name;
};
constexpr SubClassName kSubClasses[] = {
    {0x00, 0x01, "VGA-compatible device"},
    {0x01, 0x00, "SCSI controller"},
    {0x01, 0x01, "IDE controller"},
    {0x01, 0x04, "RAID controller"},
    {0x01, 0x05, "ATA controller"},
    {0x01, 0x06, "SATA controller"},
    {0x01, 0x07, "Serial Attached SCSI controller"},
    {0x01, 0x08, "Non-volatile memory controller"},
    {0x01, 0x09, "Universal Flash Storage controller"},
    {0x02, 0x00, "Ethernet controller"},
    {0x02, 0x07, "InfiniBand controller"},
    {0x03, 0x00, "VGA-compatible controller"},
    {0x03, 0x02, "3D controller"},
    {0x04, 0x00, "Video device"},
    {0x04, 0x01, "Audio device"},
    {0x04, 0x03, "High Definition Audio device"},
    {0x05, 0x00, "RAM controller"},
    {0x05, 0x01, "Flash memory controller"},
    {0x05, 0x02, "CXL memory device"},
    {0x06, 0x00, "Host bridge"},
    {0x06, 0x01, "ISA bridge"},
    {0x06, 0x04, "PCI bridge"},
    {0x06, 0x09, "Semi-transparent PCI bridge"},
    {0x07, 0x00, "Serial controller"},
    {0x07, 0x80, "Communication controller"},
    {0x08, 0x05, "SD host controller"},
    {0x08, 0x06, "IOMMU"},
    {0x08, 0x07, "Root Complex Event Collector"},
    {0x0b, 0x40, "Co-processor"},
    {0x0c, 0x03, "USB controller"},
    {0x0c, 0x04, "Fibre Channel controller"},
    {0x0c, 0x05, "SMBus controller"},
    {0x0d, 0x11, "Bluetooth controller"},
    {0x0d, 0x80, "Wireless controller"},
    {0x10, 0x00, "Network and computing encryption controller"},
    {0x12, 0x00, "Processing accelerator"},
    {0xff, 0x00, "Unassigned class"},
};

struct InterfaceName {
  ClassCode code;
  absl::string_view name;
};
constexpr InterfaceName kInterfaces[] = {
    {{0x01, 0x06, 0x01}, "AHCI controller"},
    {{0x01, 0x08, 0x02}, "NVMe controller"},
    {{0x0c, 0x03, 0x00}, "UHCI USB controller"},
    {{0x0c, 0x03, 0x10}, "OHCI USB controller"},
    {{0x0c, 0x03, 0x20}, "EHCI USB controller"},
    {{0x0c, 0x03, 0x30}, "xHCI USB controller"},
    {{0x0c, 0x03, 0x40}, "USB4 host interface"},
};

}  // namespace

ClassCode ClassCode::Read(absl::Span<const uint8_t> config) {
  return {.base = ReadRegister(config, kBaseClass),
          .sub = ReadRegister(config, kSubClass),
          .interface = ReadRegister(config, kProgrammingInterface)};
}

std::string ClassCode::ToString() const {
  return absl::StrFormat("%02x%02x%02x", base, sub, interface);
}

absl::string_view Name(ClassCode code) {
  for (const InterfaceName& entry : kInterfaces) {
    if (entry.code == code) return entry.name;
  }
  for (const SubClassName& entry : kSubClasses) {
    if (entry.base == code.base && entry.sub == code.sub) {
      return entry.name;
    }
  }
  for (const BaseClassName& entry : kBaseClasses) {
    if (entry.base == code.base) return entry.name;
  }
  return "Unknown class";
}

}  // namespace passthru::pci
