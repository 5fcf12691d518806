// SPDX-License-Identifier: Apache-2.0
//
// The BARs and the expansion ROM of a fixture from lspci's text.
#include <linux/pci_regs.h>
#include <linux/vfio.h>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "passthru/pci/capabilities.h"
#include "passthru/pci/capability_id.h"
#include "passthru/testing/capture/lspci_fixture_builder.h"
#include "passthru/testing/fixture/fixture_bytes.h"

namespace passthru::capture {
namespace {

constexpr unsigned kBars = PCI_STD_NUM_BARS;
constexpr uint64_t kPage = 4096;
constexpr uint64_t kSmallestIo = 4;
constexpr uint64_t kSmallestMemory = 16;

}  // namespace

uint64_t LspciFixtureBuilder::MsixEnd(unsigned bar) const {
  const auto at = fixture::FindCapability(config_, PCI_CAP_ID_MSIX);
  if (!at.has_value()) return 0;
  const uint64_t vectors =
      (Get16(*at + PCI_MSIX_FLAGS) & PCI_MSIX_FLAGS_QSIZE) + uint64_t{1};
  const uint32_t table = Get32(*at + PCI_MSIX_TABLE);
  const uint32_t pba = Get32(*at + PCI_MSIX_PBA);
  uint64_t end = 0;
  if ((table & PCI_MSIX_TABLE_BIR) == bar) {
    end = (table & PCI_MSIX_TABLE_OFFSET) + vectors * PCI_MSIX_ENTRY_SIZE;
  }
  if ((pba & PCI_MSIX_PBA_BIR) == bar) {
    end = std::max(end, (pba & PCI_MSIX_PBA_OFFSET) + (vectors + 63) / 64 * 8);
  }
  return end;
}

bool LspciFixtureBuilder::HasMsixTable(unsigned bar) const {
  const auto at = fixture::FindCapability(config_, PCI_CAP_ID_MSIX);
  return at.has_value() &&
         (Get32(*at + PCI_MSIX_TABLE) & PCI_MSIX_TABLE_BIR) == bar;
}

// Returns the current size of a BAR with a Resizable BAR capability (PCIe 6.0,
// 7.8.6).
std::optional<uint64_t> LspciFixtureBuilder::ResizableBarSize(
    unsigned bar) const {
  const pci::ExtendedCapabilityList list =
      pci::WalkExtendedCapabilities(config_);
  const pci::ExtendedCapability* const found =
      list.Find(pci::ExtendedCapabilityId::kResizableBar);
  if (found == nullptr) return std::nullopt;
  const unsigned count =
      std::min(kBars, Get32(found->offset + size_t{PCI_REBAR_CTRL}) >> 5 & 7u);
  for (unsigned i = 0; i < count; ++i) {
    const uint32_t control =
        Get32(found->offset + size_t{PCI_REBAR_CTRL} + size_t{8} * i);
    const uint32_t size = control >> 8 & 0x3f;
    if ((control & 7) == bar && size < 32) return uint64_t{1} << (20 + size);
  }
  return std::nullopt;
}

// Returns the size that the text gives, or else one that is assumed. That holds
// the MSI-X structures and is a page, or what the address allows if it allows
// no page.
uint64_t LspciFixtureBuilder::SizeOfBar(unsigned bar, bool io,
                                        uint64_t address) {
  // The least that a BAR of the kind can have (PCI 3.0, 6.2.5.1).
  const uint64_t least = io ? kSmallestIo : kSmallestMemory;
  if (bars_[bar].has_value() && bars_[bar]->size.has_value()) {
    const uint64_t stated = *bars_[bar]->size;
    if (stated >= least) return stated;
    // For legacy IDE, pci_setup_device() makes a resource of the one port that
    // is used.
    Note(absl::StrFormat(
        "The text gives BAR %d a size of %d, which is of what Linux uses: the "
        "BAR has at least %d bytes, and is assumed to have no more.",
        bar, stated, least));
    return least;
  }
  if (const auto size = ResizableBarSize(bar)) return *size;
  assumed_sizes_.push_back(bar);
  const uint64_t wanted =
      std::bit_ceil(std::max(io ? kSmallestIo : kPage, MsixEnd(bar)));
  const uint64_t allowed =
      address == 0 ? wanted : std::max(least, address & (~address + 1));
  return std::min(wanted, allowed);
}

uint64_t LspciFixtureBuilder::AddressOfBar(unsigned bar, uint64_t size, bool io,
                                           bool wide) {
  const uint64_t last = io     ? 0xffff
                        : wide ? ~uint64_t{0}
                               : uint64_t{0xffffffff};
  if (bars_[bar].has_value() && bars_[bar]->is_io == io) {
    const uint64_t address = bars_[bar]->address.value_or(0);
    if (address != 0 && address <= last && address % size == 0) return address;
  }
  // This is below 4 GiB, and aligned for every size that fits there.
  constexpr uint64_t kSomeAddress = 0x80000000;
  constexpr uint64_t kSomePort = 0x8000;
  Note(absl::StrFormat(
      "BAR %d had no address when the text was taken; one was made up, since "
      "Linux does not show such a BAR.",
      bar));
  return io ? kSomePort : wide ? std::max(kSomeAddress, size) : kSomeAddress;
}

// Returns what an entry of the capability says of the BAR (PCIe 6.0, 7.8.5).
std::optional<LspciDevice::Bar> LspciFixtureBuilder::EnhancedAllocation(
    unsigned bar) const {
  const auto at = fixture::FindCapability(config_, PCI_CAP_ID_EA);
  if (!at.has_value()) return std::nullopt;
  const unsigned entries =
      config_[*at + size_t{PCI_EA_NUM_ENT}] & PCI_EA_NUM_ENT_MASK;
  size_t offset = *at + size_t{PCI_EA_FIRST_ENT};
  for (unsigned i = 0; i < entries && offset < PCI_CFG_SPACE_SIZE; ++i) {
    const size_t entry = offset;
    const uint32_t header = Get32(entry);
    offset += 4 * ((header & PCI_EA_ES) + size_t{1});
    const uint32_t property = header >> 8 & 0xff;
    if ((header & PCI_EA_ENABLE) == 0 || (header & PCI_EA_BEI) >> 4 != bar ||
        property > PCI_EA_P_IO) {
      continue;
    }
    uint64_t base = Get32(entry + PCI_EA_BASE);
    uint64_t last = Get32(entry + PCI_EA_MAX_OFFSET);
    const bool wide_base = (base & PCI_EA_IS_64) != 0;
    const bool wide_last = (last & PCI_EA_IS_64) != 0;
    base &= PCI_EA_FIELD_MASK;
    last |= ~uint32_t{PCI_EA_FIELD_MASK};
    size_t high = entry + PCI_EA_MAX_OFFSET + 4;
    if (wide_base) {
      base |= uint64_t{Get32(high)} << 32;
      high += 4;
    }
    if (wide_last) last |= uint64_t{Get32(high)} << 32;
    constexpr uint64_t kLargest = uint64_t{1} << 62;
    if (base == 0 || last >= kLargest) continue;
    return LspciDevice::Bar{.is_io = property == PCI_EA_P_IO,
                            .address = base,
                            .is_64bit = wide_base || wide_last,
                            .prefetchable = property == PCI_EA_P_MEM_PREFETCH,
                            .size = std::bit_ceil(last + 1)};
  }
  return std::nullopt;
}

// The BAR registers of a virtual function are 0 (SR-IOV 1.1, 3.4.1.11), and so
// are those of Enhanced Allocation. lspci shows what Linux knows.
unsigned LspciFixtureBuilder::AddBarWithoutRegister(unsigned bar) {
  fixture::HostResource& resource = *device_.add_host_resources();
  if (!bars_[bar].has_value()) return 1;
  const LspciDevice::Bar& text = *bars_[bar];
  const bool wide = IsWide(bar);
  const uint64_t size = SizeOfBar(bar, text.is_io, text.address.value_or(0));
  const uint64_t address = AddressOfBar(bar, size, text.is_io, wide);
  // Flags of <linux/ioport.h>, with the bits of a BAR register in the low bits.
  constexpr uint64_t kPorts = 0x100 | PCI_BASE_ADDRESS_SPACE_IO;
  constexpr uint64_t kMemory = 0x200;
  constexpr uint64_t kPrefetchable = 0x2000 | PCI_BASE_ADDRESS_MEM_PREFETCH;
  constexpr uint64_t k64Bit = 0x100000 | PCI_BASE_ADDRESS_MEM_TYPE_64;
  resource.set_start(address);
  resource.set_end(address + size - 1);
  resource.set_flags(text.is_io
                         ? kPorts
                         : kMemory | (text.prefetchable ? kPrefetchable : 0) |
                               (wide ? k64Bit : 0));
  AddRegion(bar, size, text.is_io);
  if (!wide) return 1;
  device_.add_host_resources();
  return 2;
}

// Returns whether the BAR of the text is a 64-bit one. lspci takes the type
// from the register, and so may not know it where that is 0.
bool LspciFixtureBuilder::IsWide(unsigned bar) const {
  const LspciDevice::Bar& text = *bars_[bar];
  if (text.is_io || bar + 1 >= kBars || bars_[bar + 1].has_value() ||
      Get32(PCI_BASE_ADDRESS_0 + 4 * (size_t{bar} + 1)) != 0) {
    return false;
  }
  return text.is_64bit || text.address.value_or(0) >> 32 != 0 ||
         text.size.value_or(0) > uint64_t{1} << 31;
}

void LspciFixtureBuilder::BelieveText(unsigned bar) {
  const LspciDevice::Bar& text = *bars_[bar];
  uint32_t type = text.is_io ? uint32_t{PCI_BASE_ADDRESS_SPACE_IO} : 0;
  if (text.prefetchable) type |= PCI_BASE_ADDRESS_MEM_PREFETCH;
  if (IsWide(bar)) type |= PCI_BASE_ADDRESS_MEM_TYPE_64;
  Set(PCI_BASE_ADDRESS_0 + 4 * size_t{bar}, type, 4);
  Note(absl::StrFormat(
      "The register of BAR %d holds nothing: its kind is what the text says.",
      bar));
}

unsigned LspciFixtureBuilder::AddBar(unsigned bar) {
  const size_t offset = PCI_BASE_ADDRESS_0 + 4 * size_t{bar};
  // lspci reads all ones as no BAR.
  if (Get32(offset) == 0xffffffff) Set(offset, 0, 4);
  if (Get32(offset) == 0) {
    // A register of zeros is a BAR only if lspci has found one.
    if (!bars_[bar].has_value()) return 1;
    BelieveText(bar);
  }
  const uint32_t low = Get32(offset);
  const bool io = (low & PCI_BASE_ADDRESS_SPACE) != 0;
  const bool wide = !io && (low & PCI_BASE_ADDRESS_MEM_TYPE_MASK) ==
                               PCI_BASE_ADDRESS_MEM_TYPE_64;
  const uint32_t type_bits = low & (io ? 3u : 15u);
  const uint64_t high = wide && bar + 1 < kBars ? Get32(offset + 4) : 0;
  uint64_t address = (low & ~type_bits) | high << 32;
  const uint64_t size = SizeOfBar(bar, io, address);
  if (address == 0) {
    address = AddressOfBar(bar, size, io, wide);
    Set(offset, static_cast<uint32_t>(address) | type_bits, 4);
    if (wide && bar + 1 < kBars) {
      Set(offset + 4, static_cast<uint32_t>(address >> 32), 4);
    }
  }
  AddRegion(bar, size, io);
  return wide ? 2 : 1;
}

void LspciFixtureBuilder::AddRegion(unsigned bar, uint64_t size, bool io) {
  fixture::Region& region = *device_.add_regions();
  region.set_index(bar);
  region.set_size(size);
  uint32_t flags = VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE;
  if (!io) flags |= VFIO_REGION_INFO_FLAG_MMAP;
  if (!io && HasMsixTable(bar)) {
    flags |= VFIO_REGION_INFO_FLAG_CAPS;
    region.add_capabilities()->mutable_msix_mappable();
  }
  region.set_flags(flags);
}

void LspciFixtureBuilder::AddBars() {
  const bool enhanced =
      fixture::FindCapability(config_, PCI_CAP_ID_EA).has_value();
  for (unsigned bar = 0; bar < kBars; ++bar) {
    // lspci takes the type of such a BAR from its register, which has none.
    if (auto entry = EnhancedAllocation(bar)) bars_[bar] = *entry;
  }
  for (unsigned bar = 0; bar < kBars;) {
    if (!fixture::HasBarRegister(device_, config_, bar)) {
      bar += AddBarWithoutRegister(bar);
      continue;
    }
    const unsigned taken = AddBar(bar);
    for (unsigned i = 0; enhanced && i < taken; ++i) {
      device_.add_host_resources();
    }
    bar += taken;
  }
  if (device_.is_virtual_function() && device_.regions().empty()) {
    Note(
        "The text has no lines of BARs, and the registers of a virtual "
        "function "
        "do not tell them: the fixture has none. lspci prints them with -v.");
  }
  if (!assumed_sizes_.empty()) {
    const bool described =
        std::any_of(bars_.begin(), bars_.end(),
                    [](const auto& bar) { return bar.has_value(); });
    Note(absl::StrCat(
        "The text does not give the size of BAR ",
        absl::StrJoin(assumed_sizes_, ", "),
        ": it is assumed to be a page (4 for ports), more if the MSI-X "
        "structures need it, and less if the address allows no page.",
        described ? " lspci prints sizes if it reads the device from sysfs."
                  : " lspci prints sizes with -v, as root or not."));
  }
  NoteMsix();
}

void LspciFixtureBuilder::NoteMsixLocation(std::string_view what,
                                           uint32_t location, uint64_t size) {
  const uint32_t bar = location & PCI_MSIX_TABLE_BIR;
  const uint64_t offset = location & PCI_MSIX_TABLE_OFFSET;
  uint64_t bar_size = 0;
  for (const fixture::Region& region : device_.regions()) {
    if (region.index() == bar) bar_size = region.size();
  }
  if (offset + size <= bar_size) return;
  Note(absl::StrFormat(
      "The MSI-X %s, 0x%x bytes at 0x%x of BAR %d, is not inside that BAR, "
      "which has 0x%x bytes.",
      what, size, offset, bar, bar_size));
}

// Some devices say of their structures what cannot be. A reader of the fixture
// should know that it was not the text that was wrong.
void LspciFixtureBuilder::NoteMsix() {
  const auto at = fixture::FindCapability(config_, PCI_CAP_ID_MSIX);
  if (!at.has_value()) return;
  const uint64_t vectors =
      (Get16(*at + PCI_MSIX_FLAGS) & PCI_MSIX_FLAGS_QSIZE) + uint64_t{1};
  const uint32_t table = Get32(*at + PCI_MSIX_TABLE);
  const uint32_t pba = Get32(*at + PCI_MSIX_PBA);
  const uint64_t table_size = vectors * PCI_MSIX_ENTRY_SIZE;
  const uint64_t pba_size = (vectors + 63) / 64 * 8;
  NoteMsixLocation("table", table, table_size);
  NoteMsixLocation("pending bit array", pba, pba_size);
  const uint64_t table_at = table & PCI_MSIX_TABLE_OFFSET;
  const uint64_t pba_at = pba & PCI_MSIX_PBA_OFFSET;
  if ((table & PCI_MSIX_TABLE_BIR) == (pba & PCI_MSIX_PBA_BIR) &&
      table_at < pba_at + pba_size && pba_at < table_at + table_size) {
    Note("The MSI-X table and the pending bit array overlap.");
  }
}

void LspciFixtureBuilder::AddRom() {
  const uint32_t reg = Get32(PCI_ROM_ADDRESS);
  const uint32_t address = reg & static_cast<uint32_t>(PCI_ROM_ADDRESS_MASK);
  const auto& text = bars_[VFIO_PCI_ROM_REGION_INDEX];
  std::optional<uint64_t> size;
  if (text.has_value()) size = text->size;
  // The lowest address of memory behind the shadows of ROMs, and the sizes that
  // a ROM's BAR can have (PCI 3.0, 6.2.5.2).
  constexpr uint64_t kEndOfShadows = uint64_t{1} << 20;
  constexpr uint64_t kSmallest = 2048;
  constexpr uint64_t kLargest = uint64_t{16} << 20;
  constexpr uint64_t kCommon = 64 * 1024;
  if (text.has_value() &&
      text->address.value_or(kEndOfShadows) < kEndOfShadows) {
    Note(
        "The text shows the shadow in low memory of the expansion ROM "
        "(pci_fixup_video()), which says nothing of the ROM's BAR.");
    size.reset();
    if (address == 0) {
      Set(PCI_ROM_ADDRESS, 0, 4);
      return;
    }
  }
  if (reg == 0 && !size.has_value()) return;
  const uint64_t allowed =
      address == 0
          ? kLargest
          : std::clamp<uint64_t>(address & (~address + 1), kSmallest, kLargest);
  if (!size.has_value() || *size < kSmallest || *size > allowed) {
    const uint64_t assumed = std::min(allowed, kCommon);
    Note(size.has_value()
             ? absl::StrFormat(
                   "The text gives the expansion ROM 0x%x bytes, which its "
                   "register 0x%08x does not allow: it is assumed to have "
                   "0x%x.",
                   *size, reg, assumed)
             : absl::StrFormat("The text does not give the size of the "
                               "expansion ROM: it is assumed to be 0x%x.",
                               assumed));
    size = assumed;
  }
  device_.mutable_expansion_rom()->set_bar_size(*size);
}

}  // namespace passthru::capture
