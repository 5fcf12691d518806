// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/guest/linux/linux_pci_probe.h"

#include <linux/pci_regs.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_format.h"
#include "passthru/pci/bdf.h"
#include "passthru/testing/guest/linux/config_access.h"
#include "passthru/testing/guest/linux/linux_pci_device.h"

namespace passthru::guest {
namespace {

constexpr uint16_t kDecodeEnable = PCI_COMMAND_MEMORY | PCI_COMMAND_IO;
constexpr uint32_t kClassHostBridge = 0x0600;
constexpr int kRomIndex = 6;
// PCI_FIND_CAP_TTL.
constexpr int kMaxCapabilities = 48;
constexpr uint32_t kAllOnes = 0xffffffff;
constexpr uint32_t kRomMask = PCI_ROM_ADDRESS_MASK & kAllOnes;

uint16_t BarRegister(int index) {
  return static_cast<uint16_t>(PCI_BASE_ADDRESS_0 + 4 * index);
}

// Searches the list in the hardware, like pci_find_capability(), for the time
// before WalkCapabilities() has filled the list in `info`.
uint16_t SearchCapability(const LinuxPciDevice& device, uint8_t wanted) {
  if ((device.ReadWord(PCI_STATUS) & PCI_STATUS_CAP_LIST) == 0) return 0;
  uint16_t at = device.ReadByte(PCI_CAPABILITY_LIST);
  for (int i = 0; i < kMaxCapabilities && at >= PCI_STD_HEADER_SIZEOF; ++i) {
    at &= 0xfc;
    const uint16_t entry = device.ReadWord(at);
    const uint8_t id = entry & 0xff;
    if (id == 0xff) break;
    if (id == wanted) return at;
    at = entry >> 8;
  }
  return 0;
}

// Returns whether reads beyond 256 bytes repeat the first 256, as behind old
// bridges. Mirrors pci_ext_cfg_is_aliased().
bool ExtendedSpaceIsAliased(const LinuxPciDevice& device) {
  const uint32_t header = device.ReadDword(PCI_VENDOR_ID);
  for (uint16_t at = PCI_CFG_SPACE_SIZE; at < PCI_CFG_SPACE_EXP_SIZE;
       at += PCI_CFG_SPACE_SIZE) {
    if (device.ReadDword(at) != header) return false;
  }
  return true;
}

// Mirrors pci_cfg_space_size().
uint16_t ConfigSpaceSize(const LinuxPciDevice& device) {
  const bool host_bridge = device.info.class_code >> 8 == kClassHostBridge;
  if (!device.info.pcie && !host_bridge) return PCI_CFG_SPACE_SIZE;
  if (device.ReadDword(PCI_CFG_SPACE_SIZE) == kAllOnes ||
      ExtendedSpaceIsAliased(device)) {
    return PCI_CFG_SPACE_SIZE;
  }
  return PCI_CFG_SPACE_EXP_SIZE;
}

// Returns whether the interrupt disable bit holds what the guest writes, like
// pci_intx_mask_broken().
bool IntxMaskWorks(LinuxPciDevice& device) {
  const uint16_t before = device.ReadWord(PCI_COMMAND);
  const uint16_t toggled = before ^ PCI_COMMAND_INTX_DISABLE;
  device.WriteWord(PCI_COMMAND, toggled);
  const uint16_t after = device.ReadWord(PCI_COMMAND);
  device.WriteWord(PCI_COMMAND, before);
  return ((after ^ toggled) & PCI_COMMAND_INTX_DISABLE) == 0;
}

struct SizedRegister {
  uint32_t original;
  uint32_t size;
};

// Writes all ones to one register, reads it back and restores it.
SizedRegister SizeRegister(LinuxPciDevice& device, uint16_t at, uint32_t mask) {
  SizedRegister sized;
  sized.original = device.ReadDword(at);
  device.WriteDword(at, mask);
  sized.size = device.ReadDword(at);
  device.WriteDword(at, sized.original);
  return sized;
}

bool Is64Bit(uint32_t low) {
  return (low & PCI_BASE_ADDRESS_SPACE) == PCI_BASE_ADDRESS_SPACE_MEMORY &&
         (low & PCI_BASE_ADDRESS_MEM_TYPE_MASK) == PCI_BASE_ADDRESS_MEM_TYPE_64;
}

// Returns the size that the writable bits tell, or 0 if they are not those of a
// BAR. Mirrors pci_size().
uint64_t SizeFromBits(uint64_t base, uint64_t writable, uint64_t mask) {
  uint64_t size = mask & writable;
  if (size == 0) return 0;
  size &= ~(size - 1);
  // A register that reads all ones before and after the write is a BAR only if
  // software programmed it so.
  if (base == writable && ((base | (size - 1)) & mask) != mask) return 0;
  return size;
}

// Turns decode off during its lifetime if it was on.
class DecodeOff {
 public:
  explicit DecodeOff(LinuxPciDevice& device)
      : device_(device), command_(device.ReadWord(PCI_COMMAND)) {
    if ((command_ & kDecodeEnable) != 0) {
      device_.WriteWord(PCI_COMMAND,
                        static_cast<uint16_t>(command_ & ~kDecodeEnable));
    }
  }
  ~DecodeOff() {
    if ((command_ & kDecodeEnable) != 0) {
      device_.WriteWord(PCI_COMMAND, command_);
    }
  }
  DecodeOff(const DecodeOff&) = delete;
  DecodeOff& operator=(const DecodeOff&) = delete;

 private:
  LinuxPciDevice& device_;
  const uint16_t command_;
};

using BarSizes = std::array<uint32_t, PCI_STD_NUM_BARS>;

// Mirrors __pci_size_stdbars() and __pci_size_rom().
uint32_t SizeAllDecodeOffOnce(LinuxPciDevice& device, int count, uint16_t rom,
                              BarSizes& sizes) {
  const DecodeOff off(device);
  for (int i = 0; i < count; ++i) {
    sizes[i] = SizeRegister(device, BarRegister(i), kAllOnes).size;
  }
  return SizeRegister(device, rom, kRomMask).size;
}

// Mirrors the first half of __pci_read_base() before Linux 6.14.
uint32_t SizeAllDecodeOffPerBar(LinuxPciDevice& device, int count, uint16_t rom,
                                BarSizes& sizes) {
  for (int i = 0; i < count; ++i) {
    const DecodeOff off(device);
    const SizedRegister low = SizeRegister(device, BarRegister(i), kAllOnes);
    sizes[i] = low.size;
    if (Is64Bit(low.original) && i + 1 < count) {
      ++i;
      sizes[i] = SizeRegister(device, BarRegister(i), kAllOnes).size;
    }
  }
  const DecodeOff off(device);
  return SizeRegister(device, rom, kRomMask).size;
}

// Adds the BAR in register `index`, given what it read back after the write of
// all ones. Returns how many further registers the BAR takes. Mirrors
// __pci_read_base().
int ReadBase(LinuxPciDevice& device, int index, uint32_t low_size,
             uint32_t high_size) {
  uint32_t low = device.ReadDword(BarRegister(index));
  // All ones mean that no function answered (PCI_POSSIBLE_ERROR()).
  if (low == kAllOnes) low = 0;
  if (low_size == kAllOnes) low_size = 0;
  GuestBar bar;
  bar.index = index;
  uint64_t mask = 0;
  if ((low & PCI_BASE_ADDRESS_SPACE) == PCI_BASE_ADDRESS_SPACE_IO) {
    bar.kind = GuestBar::Kind::kIo;
    bar.flags = low & 0x3;
    mask = PCI_BASE_ADDRESS_IO_MASK & 0xffff;
  } else {
    bar.flags = low & 0xf;
    bar.prefetchable = (low & PCI_BASE_ADDRESS_MEM_PREFETCH) != 0;
    if (Is64Bit(low)) bar.kind = GuestBar::Kind::kMemory64;
    mask = PCI_BASE_ADDRESS_MEM_MASK & kAllOnes;
  }
  uint64_t base = low & mask;
  uint64_t writable = low_size & mask;
  if (bar.is_64bit()) {
    const uint32_t high = device.ReadDword(BarRegister(index + 1));
    base |= uint64_t{high} << 32;
    writable |= uint64_t{high_size} << 32;
    mask |= uint64_t{kAllOnes} << 32;
  }
  const int further = bar.is_64bit() ? 1 : 0;
  if (writable == 0) return further;
  bar.size = SizeFromBits(base, writable, mask);
  bar.address = base;
  if (bar.size == 0) {
    device.info.bar_errors.push_back(absl::StrFormat(
        "reg 0x%02x: invalid BAR (can't size)", BarRegister(index)));
    return further;
  }
  device.info.bars.push_back(bar);
  return further;
}

void ReadRom(LinuxPciDevice& device, uint16_t at, uint32_t read_back) {
  const uint32_t value = device.ReadDword(at);
  if (read_back == kAllOnes || (read_back & kRomMask) == 0) return;
  GuestBar rom;
  rom.index = kRomIndex;
  rom.flags = value & PCI_ROM_ADDRESS_ENABLE;
  rom.address = value & kRomMask;
  rom.size = SizeFromBits(rom.address, read_back & kRomMask, kRomMask);
  if (rom.size != 0) device.info.bars.push_back(rom);
}

// Turns off what firmware enabled, like pci_msi_init() and pci_msix_init().
void QuietMessageInterrupts(LinuxPciDevice& device) {
  if (const uint16_t msi = device.FindCapability(PCI_CAP_ID_MSI); msi != 0) {
    const uint16_t control = device.ReadWord(msi + PCI_MSI_FLAGS);
    if ((control & PCI_MSI_FLAGS_ENABLE) != 0) {
      device.WriteWord(msi + PCI_MSI_FLAGS,
                       static_cast<uint16_t>(control & ~PCI_MSI_FLAGS_ENABLE));
    }
  }
  if (const uint16_t msix = device.FindCapability(PCI_CAP_ID_MSIX); msix != 0) {
    const uint16_t control = device.ReadWord(msix + PCI_MSIX_FLAGS);
    if ((control & PCI_MSIX_FLAGS_ENABLE) != 0) {
      device.WriteWord(msix + PCI_MSIX_FLAGS,
                       static_cast<uint16_t>(control & ~PCI_MSIX_FLAGS_ENABLE));
    }
  }
}

void ReadInterruptPin(LinuxPciDevice& device) {
  device.info.interrupt_pin = device.ReadByte(PCI_INTERRUPT_PIN);
  if (device.info.interrupt_pin != 0) {
    device.info.interrupt_line = device.ReadByte(PCI_INTERRUPT_LINE);
  }
}

}  // namespace

void ReadBases(LinuxPciDevice& device, BarSizing sizing) {
  const bool bridge = device.info.header_type == PCI_HEADER_TYPE_BRIDGE;
  const int count = bridge ? 2 : PCI_STD_NUM_BARS;
  const uint16_t rom = bridge ? PCI_ROM_ADDRESS1 : PCI_ROM_ADDRESS;
  BarSizes sizes{};
  const uint32_t rom_size =
      sizing == BarSizing::kDecodeOffOnce
          ? SizeAllDecodeOffOnce(device, count, rom, sizes)
          : SizeAllDecodeOffPerBar(device, count, rom, sizes);
  for (int i = 0; i < count; ++i) {
    const uint32_t high = i + 1 < count ? sizes[i + 1] : 0;
    i += ReadBase(device, i, sizes[i], high);
  }
  ReadRom(device, rom, rom_size);
}

void WalkCapabilities(LinuxPciDevice& device) {
  GuestPciInfo& info = device.info;
  info.capabilities.clear();
  info.extended_capabilities.clear();
  if ((device.ReadWord(PCI_STATUS) & PCI_STATUS_CAP_LIST) != 0) {
    uint16_t at = device.ReadByte(PCI_CAPABILITY_LIST);
    for (int i = 0; i < kMaxCapabilities && at >= PCI_STD_HEADER_SIZEOF; ++i) {
      at &= 0xfc;
      const uint16_t entry = device.ReadWord(at);
      if ((entry & 0xff) == 0xff) break;
      info.capabilities.push_back({static_cast<uint16_t>(entry & 0xff), at});
      at = entry >> 8;
    }
  }
  if (info.config_size <= PCI_CFG_SPACE_SIZE) return;
  constexpr int kMaxExtended =
      (PCI_CFG_SPACE_EXP_SIZE - PCI_CFG_SPACE_SIZE) / 8;
  uint16_t at = PCI_CFG_SPACE_SIZE;
  for (int i = 0; i < kMaxExtended && at >= PCI_CFG_SPACE_SIZE; ++i) {
    const uint32_t header = device.ReadDword(at);
    // pci_find_next_ext_capability() takes an all-zero header to mean that
    // there is no capability.
    if (header == 0) break;
    info.extended_capabilities.push_back(
        {static_cast<uint16_t>(PCI_EXT_CAP_ID(header)), at});
    at = static_cast<uint16_t>(PCI_EXT_CAP_NEXT(header));
  }
}

std::unique_ptr<LinuxPciDevice> ProbeDevice(ConfigAccess* config, pci::Bdf bdf,
                                            ProbeOptions options) {
  auto device = std::make_unique<LinuxPciDevice>(config, bdf);
  GuestPciInfo& info = device->info;

  // Boards return these values for an empty slot, and
  // pci_bus_generic_read_dev_vendor_id() knows them.
  const uint32_t id = device->ReadDword(PCI_VENDOR_ID);
  if (id == kAllOnes || id == 0 || id == 0x0000ffff || id == 0xffff0000) {
    return nullptr;
  }
  info.vendor_id = id & 0xffff;
  info.device_id = static_cast<uint16_t>(id >> 16);

  // Mirrors pci_setup_device(), in its order.
  const uint8_t header = device->ReadByte(PCI_HEADER_TYPE);
  info.header_type = header & 0x7f;
  info.multifunction = (header & 0x80) != 0;
  const uint16_t express = SearchCapability(*device, PCI_CAP_ID_EXP);
  info.pcie = express != 0;
  if (info.pcie) {
    device->ReadWord(express + PCI_EXP_FLAGS);
    device->ReadDword(express + PCI_EXP_DEVCAP);
  }
  const uint32_t class_revision = device->ReadDword(PCI_CLASS_REVISION);
  info.class_code = class_revision >> 8;
  info.revision = class_revision & 0xff;
  info.config_size = ConfigSpaceSize(*device);
  info.intx_maskable = IntxMaskWorks(*device);
  switch (info.header_type) {
    case PCI_HEADER_TYPE_NORMAL:
      ReadInterruptPin(*device);
      ReadBases(*device, options.sizing);
      info.subsystem_vendor_id = device->ReadWord(PCI_SUBSYSTEM_VENDOR_ID);
      info.subsystem_id = device->ReadWord(PCI_SUBSYSTEM_ID);
      break;
    case PCI_HEADER_TYPE_BRIDGE:
      ReadInterruptPin(*device);
      ReadBases(*device, options.sizing);
      break;
    default:
      // pci_setup_device() ignores a function of an unknown header type.
      return nullptr;
  }
  WalkCapabilities(*device);
  QuietMessageInterrupts(*device);
  return device;
}

std::vector<std::unique_ptr<LinuxPciDevice>> ScanBus0(ConfigAccess* config,
                                                      ProbeOptions options) {
  std::vector<std::unique_ptr<LinuxPciDevice>> found;
  for (uint8_t slot = 0; slot < pci::Bdf::kDevicesPerBus; ++slot) {
    bool multifunction = true;
    for (uint8_t function = 0; function < pci::Bdf::kFunctionsPerDevice;
         ++function) {
      std::unique_ptr<LinuxPciDevice> device =
          ProbeDevice(config, pci::Bdf(0, 0, slot, function), options);
      if (function == 0) {
        if (device == nullptr) break;
        multifunction = device->info.multifunction;
      }
      if (device != nullptr) found.push_back(std::move(device));
      if (!multifunction) break;
    }
  }
  return found;
}

}  // namespace passthru::guest
