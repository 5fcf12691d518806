// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/capture/lspci_fixture.h"

#include <linux/pci_regs.h>
#include <linux/vfio.h>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "passthru/devices/kernel/status_macros.h"
#include "passthru/testing/capture/byte_rows.h"
#include "passthru/testing/capture/redact.h"
#include "passthru/testing/capture/write_masks.h"
#include "passthru/testing/fixture/fixture.h"
#include "passthru/testing/fixture/fixture_bytes.h"

namespace passthru::capture {
namespace {

constexpr unsigned kBars = PCI_STD_NUM_BARS;
constexpr uint64_t kPage = 4096;
constexpr uint64_t kSmallestIo = 4;

// Builds a fixture from a parsed text.
class Builder {
 public:
  Builder(const LspciDevice& source, const LspciOptions& options)
      : source_(source), options_(options), config_(source.config) {}

  absl::StatusOr<Capture> Build();

 private:
  absl::Status CheckIdentity();
  void UndoDriver();
  void AddBars();
  // Returns how many registers the BAR takes.
  unsigned AddBar(unsigned bar);
  void AddVirtualFunctionBar(unsigned bar);
  uint64_t SizeOfBar(unsigned bar, uint64_t smallest);
  void AddRegion(unsigned bar, uint64_t size, bool io);
  void AddRom();
  void AddIrqs();
  void AddResets();
  void AddIdentity();

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
  std::vector<unsigned> assumed_sizes_;
};

absl::Status Builder::CheckIdentity() {
  if (std::all_of(config_.begin(), config_.end(),
                  [](uint8_t byte) { return byte == 0xff; })) {
    return absl::InvalidArgumentError(absl::StrCat(
        source_.bdf,
        " reads all ones: it was powered down or gone when lspci ran; take the "
        "text again with the device in D0"));
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

// Returns the size that the text gives, or else the smallest that holds the
// MSI-X structures.
uint64_t Builder::SizeOfBar(unsigned bar, uint64_t smallest) {
  const std::optional<uint64_t> stated = source_.sizes[bar];
  if (stated.has_value()) return *stated;
  assumed_sizes_.push_back(bar);
  return std::bit_ceil(std::max(smallest, MsixEnd(bar)));
}

// A virtual function's BAR registers are 0 (SR-IOV 1.1, 3.4.1.11), but lspci
// shows what Linux knows.
void Builder::AddVirtualFunctionBar(unsigned bar) {
  const auto& memory = source_.memory_bars[bar];
  fixture::HostResource& resource = *device_.add_host_resources();
  if (!memory.has_value()) return;
  const uint64_t size = SizeOfBar(bar, kPage);
  // Flags of <linux/ioport.h>, with the bits of a BAR register in the low bits.
  constexpr uint64_t kMemory = 0x200;
  constexpr uint64_t kPrefetchable = 0x2000 | PCI_BASE_ADDRESS_MEM_PREFETCH;
  constexpr uint64_t k64Bit = 0x100000 | PCI_BASE_ADDRESS_MEM_TYPE_64;
  resource.set_start(memory->address);
  resource.set_end(memory->address + size - 1);
  resource.set_flags(kMemory | (memory->prefetchable ? kPrefetchable : 0) |
                     (memory->is_64bit ? k64Bit : 0));
  AddRegion(bar, size, /*io=*/false);
}

unsigned Builder::AddBar(unsigned bar) {
  const size_t offset = PCI_BASE_ADDRESS_0 + 4 * size_t{bar};
  const uint32_t low = Get32(offset);
  const bool io = (low & PCI_BASE_ADDRESS_SPACE) != 0;
  const bool wide = !io && (low & PCI_BASE_ADDRESS_MEM_TYPE_MASK) ==
                               PCI_BASE_ADDRESS_MEM_TYPE_64;
  // A register of zeros is a BAR only if lspci has found one.
  if (low == 0 && !source_.sizes[bar].has_value()) return 1;
  const uint64_t size = SizeOfBar(bar, io ? kSmallestIo : kPage);
  const uint32_t type_bits = low & (io ? 3u : 15u);
  const uint64_t high = wide && bar + 1 < kBars ? Get32(offset + 4) : 0;
  if ((low & ~type_bits) == 0 && high == 0) {
    // This is below 4 GiB, and aligned for every size that fits there.
    constexpr uint32_t kSomeAddress = 0x80000000;
    constexpr uint32_t kSomePort = 0x8000;
    Set(offset, (io ? kSomePort : kSomeAddress) | type_bits, 4);
    Note(absl::StrFormat(
        "BAR %d had no address when the text was taken; one was made up, since "
        "Linux does not show such a BAR.",
        bar));
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
  if (device_.is_virtual_function()) {
    for (unsigned bar = 0; bar < kBars; ++bar) AddVirtualFunctionBar(bar);
  } else {
    for (unsigned bar = 0; bar < kBars;) bar += AddBar(bar);
  }
  if (!assumed_sizes_.empty()) {
    Note(absl::StrCat(
        "The text does not give the size of BAR ",
        absl::StrJoin(assumed_sizes_, ", "),
        ": it is assumed to be the smallest that is possible. lspci prints "
        "sizes with -v, as root or not."));
  }
}

void Builder::AddRom() {
  const uint32_t reg = Get32(PCI_ROM_ADDRESS);
  std::optional<uint64_t> size = source_.sizes[VFIO_PCI_ROM_REGION_INDEX];
  if (reg == 0 && !size.has_value()) return;
  if (!size.has_value()) {
    const uint32_t address = reg & static_cast<uint32_t>(PCI_ROM_ADDRESS_MASK);
    constexpr uint32_t kSmallest = 2048;
    constexpr uint32_t kCommon = 64 * 1024;
    size = address == 0
               ? kCommon
               : std::clamp(address & (~address + 1), kSmallest, kCommon);
    Note(absl::StrFormat(
        "The text does not give the size of the expansion ROM: it is assumed "
        "to be 0x%x.",
        *size));
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
    Note(
        "The text has only the header of the configuration space: "
        "capabilities are missing. lspci prints all with -xxxx, as root.");
    config_.resize(PCI_CFG_SPACE_SIZE);
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
  return Builder(*wanted[0], options).Build();
}

}  // namespace passthru::capture
