// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/capture/lspci_fixture.h"

#include <linux/pci_regs.h>
#include <linux/vfio.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/types/span.h"
#include "passthru/devices/kernel/status_macros.h"
#include "passthru/pci/bar_index.h"
#include "passthru/pci/capabilities.h"
#include "passthru/pci/capability_id.h"
#include "passthru/testing/capture/byte_rows.h"
#include "passthru/testing/capture/lspci_words.h"
#include "passthru/testing/capture/redact.h"
#include "passthru/testing/capture/write_masks.h"
#include "passthru/testing/fixture/fixture.h"
#include "passthru/testing/fixture/fixture_bytes.h"

namespace passthru::capture {
namespace {

constexpr unsigned kBars = PCI_STD_NUM_BARS;
constexpr uint64_t kPage = 4096;
constexpr uint64_t kSmallestIo = 4;
constexpr uint64_t kSmallestMemory = 16;

// Builds a fixture from a parsed text.
class Builder {
 public:
  Builder(const LspciDevice& source, const LspciOptions& options)
      : source_(source),
        options_(options),
        config_(source.config),
        bars_(source.bars) {}

  absl::StatusOr<Capture> Build();

 private:
  absl::Status CheckIdentity();
  void UndoDriver();
  void AddBars();
  // Return how many registers the BAR takes.
  unsigned AddBar(unsigned bar);
  unsigned AddBarWithoutRegister(unsigned bar);
  // Writes the register of a BAR, which holds nothing, as the text says.
  void BelieveText(unsigned bar);
  bool IsWide(unsigned bar) const;
  std::optional<LspciDevice::Bar> EnhancedAllocation(unsigned bar) const;
  // `address` is 0 if the BAR has none.
  uint64_t SizeOfBar(unsigned bar, bool io, uint64_t address);
  std::optional<uint64_t> ResizableBarSize(unsigned bar) const;
  // Returns the address that the text gives, or makes one up.
  uint64_t AddressOfBar(unsigned bar, uint64_t size, bool io, bool wide);
  void AddRegion(unsigned bar, uint64_t size, bool io);
  void AddRom();
  void AddIrqs();
  void AddResets();
  void AddIdentity();
  void NoteMsixLocation(std::string_view what, uint32_t location,
                        uint64_t size);
  void NoteMsix();

  // Returns how many bytes of the BAR the MSI-X table and pending bits need.
  uint64_t MsixEnd(unsigned bar) const;
  bool HasMsixTable(unsigned bar) const;

  uint16_t Get16(size_t offset) const {
    return fixture::ReadLe16(config_, offset);
  }
  uint32_t Get32(size_t offset) const {
    return fixture::ReadLe32(config_, offset);
  }
  void Set(size_t offset, uint32_t value, unsigned width) {
    for (unsigned i = 0; i < width && offset + i < config_.size(); ++i) {
      config_[offset + i] = static_cast<uint8_t>(value >> (8 * i));
    }
  }
  void Note(std::string note) { capture_.notes.push_back(std::move(note)); }

  const LspciDevice& source_;
  const LspciOptions& options_;
  std::vector<uint8_t> config_;
  Capture capture_;
  fixture::PciDevice& device_ = capture_.device;
  // The lines of the text, with the BARs of Enhanced Allocation.
  std::array<std::optional<LspciDevice::Bar>, pci::BarIndex::kCount> bars_;
  std::vector<unsigned> assumed_sizes_;
};

absl::Status Builder::CheckIdentity() {
  if (fixture::ReadsAllOnes(config_)) {
    return absl::InvalidArgumentError(absl::StrCat(
        source_.bdf,
        " does not answer, its header reads all ones: it was powered down or "
        "gone when lspci ran; take the text again with the device in D0"));
  }
  if ((config_[PCI_HEADER_TYPE] & PCI_HEADER_TYPE_MASK) !=
      PCI_HEADER_TYPE_NORMAL) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "%s has a header of type %d, so it is a bridge; fixtures are of "
        "devices that can be passed through, which have type 0",
        source_.bdf, config_[PCI_HEADER_TYPE] & PCI_HEADER_TYPE_MASK));
  }
  if (Get16(PCI_VENDOR_ID) == 0xffff) {
    if (!source_.vendor_id.has_value()) {
      return absl::InvalidArgumentError(absl::StrCat(
          source_.bdf,
          " is a virtual function, whose registers do not have its ids; add "
          "-nn to lspci's arguments, which prints them as [8086:1520]"));
    }
    device_.set_is_virtual_function(true);
  }
  return absl::OkStatus();
}

void Builder::UndoDriver() {
  const std::vector<uint8_t> before = config_;
  Set(PCI_COMMAND,
      Get16(PCI_COMMAND) &
          ~uint32_t{PCI_COMMAND_MASTER | PCI_COMMAND_INTX_DISABLE},
      2);
  Set(PCI_STATUS, Get16(PCI_STATUS) & ~uint32_t{PCI_STATUS_INTERRUPT}, 2);
  const auto clear = [this](uint8_t capability, size_t offset, uint32_t bits) {
    const auto at = fixture::FindCapability(config_, capability);
    if (!at.has_value()) return;
    Set(*at + offset, Get16(*at + offset) & ~bits, 2);
  };
  clear(PCI_CAP_ID_MSI, PCI_MSI_FLAGS,
        PCI_MSI_FLAGS_ENABLE | PCI_MSI_FLAGS_QSIZE);
  clear(PCI_CAP_ID_MSIX, PCI_MSIX_FLAGS,
        PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL);
  clear(PCI_CAP_ID_PM, PCI_PM_CTRL, PCI_PM_CTRL_STATE_MASK);
  if (config_ != before) {
    Note(absl::StrCat(
        source_.driver.empty() ? "The device was in use"
                               : absl::StrCat("The driver ", source_.driver,
                                              " was using the device"),
        " when the text was taken: bus mastering, interrupts and power state "
        "are as if it was not."));
  }
}

uint64_t Builder::MsixEnd(unsigned bar) const {
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

bool Builder::HasMsixTable(unsigned bar) const {
  const auto at = fixture::FindCapability(config_, PCI_CAP_ID_MSIX);
  return at.has_value() &&
         (Get32(*at + PCI_MSIX_TABLE) & PCI_MSIX_TABLE_BIR) == bar;
}

// Returns the current size of a BAR with a Resizable BAR capability (PCIe 6.0,
// 7.8.6).
std::optional<uint64_t> Builder::ResizableBarSize(unsigned bar) const {
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
uint64_t Builder::SizeOfBar(unsigned bar, bool io, uint64_t address) {
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

uint64_t Builder::AddressOfBar(unsigned bar, uint64_t size, bool io,
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
std::optional<LspciDevice::Bar> Builder::EnhancedAllocation(
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
unsigned Builder::AddBarWithoutRegister(unsigned bar) {
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
bool Builder::IsWide(unsigned bar) const {
  const LspciDevice::Bar& text = *bars_[bar];
  if (text.is_io || bar + 1 >= kBars || bars_[bar + 1].has_value() ||
      Get32(PCI_BASE_ADDRESS_0 + 4 * (size_t{bar} + 1)) != 0) {
    return false;
  }
  return text.is_64bit || text.address.value_or(0) >> 32 != 0 ||
         text.size.value_or(0) > uint64_t{1} << 31;
}

void Builder::BelieveText(unsigned bar) {
  const LspciDevice::Bar& text = *bars_[bar];
  uint32_t type = text.is_io ? uint32_t{PCI_BASE_ADDRESS_SPACE_IO} : 0;
  if (text.prefetchable) type |= PCI_BASE_ADDRESS_MEM_PREFETCH;
  if (IsWide(bar)) type |= PCI_BASE_ADDRESS_MEM_TYPE_64;
  Set(PCI_BASE_ADDRESS_0 + 4 * size_t{bar}, type, 4);
  Note(absl::StrFormat(
      "The register of BAR %d holds nothing: its kind is what the text says.",
      bar));
}

unsigned Builder::AddBar(unsigned bar) {
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

void Builder::AddRegion(unsigned bar, uint64_t size, bool io) {
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

void Builder::AddBars() {
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

void Builder::NoteMsixLocation(std::string_view what, uint32_t location,
                               uint64_t size) {
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
void Builder::NoteMsix() {
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

void Builder::AddRom() {
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

void Builder::AddIrqs() {
  const auto msi = fixture::FindCapability(config_, PCI_CAP_ID_MSI);
  const auto msix = fixture::FindCapability(config_, PCI_CAP_ID_MSIX);
  const bool express =
      fixture::FindCapability(config_, PCI_CAP_ID_EXP).has_value();
  const auto add = [this](uint32_t index, uint32_t count, uint32_t flags) {
    fixture::Irq& irq = *device_.add_irqs();
    irq.set_index(index);
    irq.set_count(count);
    irq.set_flags(flags);
  };
  constexpr uint32_t kEventfd = VFIO_IRQ_INFO_EVENTFD;
  constexpr uint32_t kFixed = kEventfd | VFIO_IRQ_INFO_NORESIZE;
  const bool pin =
      config_[PCI_INTERRUPT_PIN] != 0 && !device_.is_virtual_function();
  add(VFIO_PCI_INTX_IRQ_INDEX, pin ? 1 : 0,
      kEventfd | VFIO_IRQ_INFO_MASKABLE | VFIO_IRQ_INFO_AUTOMASKED);
  add(VFIO_PCI_MSI_IRQ_INDEX,
      msi.has_value() ? 1u << (Get16(*msi + PCI_MSI_FLAGS) >> 1 & 7) : 0,
      kFixed);
  add(VFIO_PCI_MSIX_IRQ_INDEX,
      msix.has_value()
          ? (Get16(*msix + PCI_MSIX_FLAGS) & PCI_MSIX_FLAGS_QSIZE) + 1u
          : 0,
      msix.has_value() ? kEventfd : kFixed);
  if (express) add(VFIO_PCI_ERR_IRQ_INDEX, 1, kFixed);
  add(VFIO_PCI_REQ_IRQ_INDEX, 1, kFixed);
}

void Builder::AddResets() {
  fixture::Reset& reset = *device_.mutable_reset();
  const auto express = fixture::FindCapability(config_, PCI_CAP_ID_EXP);
  const auto advanced = fixture::FindCapability(config_, PCI_CAP_ID_AF);
  const auto power = fixture::FindCapability(config_, PCI_CAP_ID_PM);
  if (express.has_value() &&
      (Get32(*express + PCI_EXP_DEVCAP) & PCI_EXP_DEVCAP_FLR) != 0) {
    reset.add_methods(fixture::Reset::FLR);
  }
  constexpr uint8_t kFlr = PCI_AF_CAP_TP | PCI_AF_CAP_FLR;
  if (advanced.has_value() &&
      (Get32(*advanced) >> (8 * PCI_AF_CAP) & kFlr) == kFlr) {
    reset.add_methods(fixture::Reset::AF_FLR);
  }
  if (power.has_value() &&
      (Get16(*power + PCI_PM_CTRL) & PCI_PM_CTRL_NO_SOFT_RESET) == 0) {
    reset.add_methods(fixture::Reset::POWER_MANAGEMENT);
  }
}

void Builder::AddIdentity() {
  fixture::Identity& identity = *device_.mutable_identity();
  const bool from_heading = device_.is_virtual_function();
  identity.set_vendor_id(from_heading ? *source_.vendor_id
                                      : Get16(PCI_VENDOR_ID));
  identity.set_device_id(from_heading ? *source_.device_id
                                      : Get16(PCI_DEVICE_ID));
  identity.set_revision_id(config_[PCI_REVISION_ID]);
  identity.set_class_code(Get32(PCI_CLASS_REVISION) >> 8);
  identity.set_subsystem_vendor_id(Get16(PCI_SUBSYSTEM_VENDOR_ID));
  identity.set_subsystem_id(Get16(PCI_SUBSYSTEM_ID));
  if (device_.name().empty()) {
    device_.set_name(absl::StrFormat("%04x-%04x", identity.vendor_id(),
                                     identity.device_id()));
  }
}

absl::StatusOr<Capture> Builder::Build() {
  PASSTHRU_RETURN_IF_ERROR(CheckIdentity());
  device_.set_schema_version(1);
  device_.set_name(options_.name);
  device_.set_bdf(source_.bdf);
  *device_.mutable_provenance() = options_.provenance;
  if (device_.provenance().device().empty()) {
    device_.mutable_provenance()->set_device(source_.description);
  }
  device_.mutable_iommu_group()->set_number(source_.iommu_group.value_or(0));
  Note(
      "Made from lspci's text, not from the device: contents of BARs, write "
      "masks beyond the specification's, resets by the bus and what VFIO of "
      "that host showed are not known.");
  if (config_.size() < PCI_CFG_SPACE_SIZE) {
    Note(absl::StrCat(
        "The text has only the header of the configuration space: ",
        source_.capabilities.empty()
            ? "capabilities are missing. "
            : "capabilities are as far as words tell. ",
        "lspci prints all with -xxxx, as root."));
    config_.resize(PCI_CFG_SPACE_SIZE);
    for (std::string& note : AddCapabilitiesFromWords(
             source_.capabilities, absl::MakeSpan(config_))) {
      Note(std::move(note));
    }
  } else if (config_.size() == PCI_CFG_SPACE_SIZE &&
             fixture::FindCapability(config_, PCI_CAP_ID_EXP).has_value()) {
    Note(
        "The text ends before the extended capabilities of PCI Express. lspci "
        "prints them with -xxxx, as root.");
  }
  device_.set_config_space_size(static_cast<uint32_t>(config_.size()));
  AddIdentity();
  UndoDriver();
  AddBars();
  AddRom();
  AddIrqs();
  AddResets();
  *device_.mutable_config() = ToRows(config_);
  *device_.mutable_write_masks() = ToWriteMasks(SpecifiedMasks(config_));
  if (!options_.include_identity) RedactIdentity(device_);
  if (absl::Status status = fixture::Validate(device_, source_.bdf);
      !status.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat("the text is not of a device that works, or was edited:\n",
                     status.message()));
  }
  return std::move(capture_);
}

}  // namespace

absl::StatusOr<Capture> FixtureFromLspci(std::string_view text,
                                         const LspciOptions& options) {
  const absl::StatusOr<std::vector<LspciDevice>> devices = ParseLspci(text);
  if (!devices.ok()) return devices.status();
  std::vector<std::string> addresses;
  std::vector<const LspciDevice*> wanted;
  for (const LspciDevice& device : *devices) {
    addresses.push_back(device.bdf);
    if (!options.bdf.has_value() || device.bdf == *options.bdf) {
      wanted.push_back(&device);
    }
  }
  const std::string list = absl::StrJoin(addresses, ", ");
  if (wanted.empty()) {
    return absl::NotFoundError(absl::StrCat("there is no ", *options.bdf,
                                            " in the text; there are: ", list));
  }
  if (wanted.size() > 1) {
    return absl::InvalidArgumentError(
        options.bdf.has_value()
            ? absl::StrCat(*options.bdf, " is there ", wanted.size(),
                           " times in the text; leave one")
            : absl::StrCat("there are several devices in the text, give the "
                           "address of one: ",
                           list));
  }
  if (!wanted[0]->status.ok()) return wanted[0]->status;
  return Builder(*wanted[0], options).Build();
}

}  // namespace passthru::capture
