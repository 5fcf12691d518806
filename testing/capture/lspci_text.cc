// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/capture/lspci_text.h"

#include <linux/pci_regs.h>

#include <cstddef>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "passthru/devices/kernel/status_macros.h"
#include "passthru/pci/bdf.h"
#include "passthru/testing/capture/lspci_line.h"
#include "passthru/testing/capture/posted_text.h"
#include "passthru/testing/fixture/fixture_bytes.h"

namespace passthru::capture {
namespace {

constexpr size_t kHexRow = 16;
constexpr size_t kHeaderBytes = 64;
constexpr size_t kConventionalBytes = 256;
constexpr size_t kExtendedBytes = 4096;

// Takes from `other` what `device` lacks.
void FillIn(const LspciDevice& other, LspciDevice& device) {
  if (!device.vendor_id.has_value() || !device.device_id.has_value()) {
    device.vendor_id = other.vendor_id;
    device.device_id = other.device_id;
  }
  if (!device.iommu_group.has_value()) device.iommu_group = other.iommu_group;
  if (device.driver.empty()) device.driver = other.driver;
}

class Parser {
 public:
  // Parses the lines, which the caller passes in order. The first is number 1.
  void Line(size_t number, std::string_view raw);
  absl::StatusOr<std::vector<LspciDevice>> Finish();

 private:
  absl::Status Error(std::string_view reason) const {
    return absl::InvalidArgumentError(
        absl::StrCat("line ", line_, ": ", reason));
  }

  // Begins a device and returns true if the line is a heading.
  bool AddHeading(std::string_view line);
  // Parses a row of the dump and returns whether the line is one. Returns an
  // error for a line that looks like a row but is not valid.
  absl::StatusOr<bool> AddRow(std::string_view line);
  absl::Status AddDetail(std::string_view line);
  // Return whether the line is of this kind.
  absl::StatusOr<bool> AddBar(std::string_view line);
  bool AddCapability(std::string_view line);
  absl::Status AddIommuGroup(std::string_view number);
  void FinishDevice();
  void NumberBars();

  size_t line_ = 0;
  std::vector<LspciDevice> devices_;
  // Devices of which the text has no rows.
  std::vector<LspciDevice> described_;
  // The first error outside of all devices.
  absl::Status stray_row_;

  bool in_device_ = false;
  // The rest is of the device that `in_device_` refers to.
  std::vector<LspciDevice::Bar> unnumbered_;
  // The BAR to which the line before refers, for a line that a mailer broke.
  LspciDevice::Bar* last_bar_ = nullptr;
  bool in_capabilities_ = false;
  // Whether words belong to the last of the device's capabilities.
  bool in_capability_ = false;
};

bool Parser::AddHeading(std::string_view line) {
  // A heading is like "01:00.0 Ethernet controller: …", and "Slot:\t01:00.0"
  // with -vmm, or "Device:\t01:00.0" with its predecessor -vm.
  std::string_view words = line;
  const bool by_fields = absl::ConsumePrefix(&words, "Slot:") ||
                         absl::ConsumePrefix(&words, "Device:");
  words = absl::StripAsciiWhitespace(words);
  const size_t space = words.find_first_of(" \t");
  if (by_fields != (space == std::string_view::npos)) return false;
  // "0000:00:1c.0/02:00.0" is the path through the bridges (-PP).
  std::string address(words.substr(0, space));
  if (const size_t slash = address.rfind('/'); slash != std::string::npos) {
    const auto root = pci::Bdf::Parse(address.substr(0, address.find('/')));
    if (!root.ok()) return false;
    address =
        absl::StrFormat("%04x:%s", root->segment(), address.substr(slash + 1));
  }
  const auto bdf = pci::Bdf::Parse(address);
  if (!bdf.ok()) return false;
  FinishDevice();
  LspciDevice& device = devices_.emplace_back();
  device.bdf = bdf->ToString();
  in_device_ = true;
  if (by_fields) return true;
  words = absl::StripAsciiWhitespace(words.substr(space));
  device.description = std::string(words);
  if (absl::StartsWith(words, "\"")) {
    FindQuotedIds(words, device);
  } else {
    FindIds(words, device);
  }
  return true;
}

void Parser::Line(size_t number, std::string_view raw) {
  line_ = number;
  const std::string_view line = Unquote(raw);
  if (line.empty() || AddHeading(line)) return;
  // What follows in this device cannot be trusted, but others can.
  if (in_device_ && !devices_.back().status.ok()) return;
  const absl::StatusOr<bool> is_row = AddRow(line);
  absl::Status status = is_row.status();
  if (is_row.ok() && !*is_row && in_device_) status = AddDetail(line);
  if (status.ok()) return;
  if (in_device_) {
    devices_.back().status = std::move(status);
  } else {
    stray_row_.Update(status);
  }
}

absl::StatusOr<bool> Parser::AddRow(std::string_view line) {
  const size_t colon = line.find(':');
  if (colon == std::string_view::npos || colon < 2 || colon > 3 ||
      !IsHex(line.substr(0, colon))) {
    return false;
  }
  std::vector<uint8_t> bytes;
  for (const std::string_view token : absl::StrSplit(
           line.substr(colon + 1), absl::ByAnyChar(" \t"), absl::SkipEmpty())) {
    uint32_t value = 0;
    if (token.size() != 2 || !IsHex(token) ||
        !absl::SimpleHexAtoi(token, &value)) {
      return Error(absl::StrCat("\"",
                                absl::CHexEscape(token.substr(0, kEchoed)),
                                "\" is not a byte of two hexadecimal digits"));
    }
    bytes.push_back(static_cast<uint8_t>(value));
  }
  uint32_t offset = 0;
  if (!absl::SimpleHexAtoi(line.substr(0, colon), &offset)) return false;
  if (!in_device_) {
    return Error(
        "a row of bytes without a device above it; keep the line with the "
        "device's address, such as \"01:00.0 Ethernet controller: ...\"");
  }
  if (bytes.size() != kHexRow) {
    return Error(absl::StrCat("a row of ", bytes.size(),
                              " bytes; lspci prints ", kHexRow,
                              ": was it cut off?"));
  }
  std::vector<uint8_t>& config = devices_.back().config;
  if (offset != config.size()) {
    return Error(absl::StrFormat(
        "the row at 0x%x where the one at 0x%x should be: is something "
        "missing?",
        offset, config.size()));
  }
  if (config.size() + kHexRow > kExtendedBytes) {
    return Error("more than 4096 bytes of configuration space");
  }
  config.insert(config.end(), bytes.begin(), bytes.end());
  return true;
}

absl::StatusOr<bool> Parser::AddBar(std::string_view line) {
  LspciDevice& device = devices_.back();
  const absl::StatusOr<std::optional<uint64_t>> size = SizeIn(line);
  // A mailer broke the line before its last words.
  LspciDevice::Bar* const broken = std::exchange(last_bar_, nullptr);
  if (broken != nullptr && (line[0] == '[' || line[0] == '(') &&
      !absl::StrContains(line, " at ") && !broken->size.has_value()) {
    if (!size.ok()) return Error(size.status().message());
    broken->size = *size;
    broken->is_64bit |= absl::StrContains(line, "(64-bit");
    broken->prefetchable |= absl::StrContains(line, " prefetchable)");
    broken->is_virtual |= absl::StrContains(line, "[virtual]");
    last_bar_ = broken;
    return true;
  }
  // The regions in the capabilities are those of virtual functions.
  if (in_capabilities_) return false;
  std::optional<uint8_t> index;
  std::string_view rest = line;
  if (absl::ConsumePrefix(&rest, "Region ") && rest.size() >= 2 &&
      rest[0] >= '0' && rest[0] <= '5' && rest[1] == ':') {
    index = static_cast<uint8_t>(rest[0] - '0');
    rest = absl::StripLeadingAsciiWhitespace(rest.substr(2));
  } else {
    rest = line;
  }
  absl::ConsumePrefix(&rest, "[virtual] ");
  std::optional<LspciDevice::Bar> bar;
  if (!index.has_value() && absl::ConsumePrefix(&rest, "Expansion ROM at ")) {
    index = pci::BarIndex::kRomValue;
    bar = BarIn(absl::StrCat("Memory at ", rest));
  } else {
    bar = BarIn(rest);
  }
  if (!bar.has_value()) {
    if (!index.has_value()) return false;
    // "Region 0:" with other words. Only a size is known.
    bar = LspciDevice::Bar();
  }
  if (!size.ok()) return Error(size.status().message());
  bar->size = *size;
  bar->is_virtual = absl::StrContains(line, "[virtual]");
  if (index.has_value()) {
    device.bars[*index] = bar;
    last_bar_ = &*device.bars[*index];
  } else {
    unnumbered_.push_back(*bar);
    last_bar_ = &unnumbered_.back();
  }
  return true;
}

// Parses "Capabilities: [50] MSI: Enable- Count=1/1 Maskable+ 64bit+".
bool Parser::AddCapability(std::string_view line) {
  if (!absl::ConsumePrefix(&line, "Capabilities: ")) return false;
  in_capabilities_ = true;
  in_capability_ = false;
  const size_t close = line.find(']');
  if (!absl::ConsumePrefix(&line, "[") || close == std::string_view::npos) {
    return true;  // "<access denied>", for example.
  }
  uint32_t offset = 0;
  const std::string_view digits = line.substr(0, close - 1);
  // "[100 v1]" is an extended capability.
  if (digits.size() > 2 || !IsHex(digits) ||
      !absl::SimpleHexAtoi(digits, &offset)) {
    return true;
  }
  devices_.back().capabilities.push_back(
      {.offset = static_cast<uint8_t>(offset),
       .text = std::string(absl::StripAsciiWhitespace(line.substr(close)))});
  in_capability_ = true;
  return true;
}

absl::Status Parser::AddIommuGroup(std::string_view number) {
  uint32_t group = 0;
  if (!absl::SimpleAtoi(number, &group)) {
    return Error("the IOMMU group is not a number");
  }
  devices_.back().iommu_group = group;
  return absl::OkStatus();
}

absl::Status Parser::AddDetail(std::string_view line) {
  LspciDevice& device = devices_.back();
  PASSTHRU_ASSIGN_OR_RETURN(const bool is_bar, AddBar(line));
  if (is_bar || AddCapability(line)) return absl::OkStatus();
  std::string_view rest = line;
  if (absl::ConsumePrefix(&rest, "IOMMU group:") ||
      absl::ConsumePrefix(&rest, "IOMMUGroup:")) {
    return AddIommuGroup(absl::StripAsciiWhitespace(rest));
  }
  if (absl::ConsumePrefix(&rest, "Flags: ") && !in_capabilities_) {
    // One -v prints "Flags: bus master, fast devsel, IRQ 16, IOMMU group 14".
    constexpr std::string_view kGroup = "IOMMU group ";
    const size_t at = rest.find(kGroup);
    if (at == std::string_view::npos) return absl::OkStatus();
    rest.remove_prefix(at + kGroup.size());
    return AddIommuGroup(rest.substr(0, rest.find(',')));
  }
  if (absl::ConsumePrefix(&rest, "Kernel driver in use:") ||
      absl::ConsumePrefix(&rest, "Driver:")) {
    device.driver = std::string(absl::StripAsciiWhitespace(rest));
    in_capability_ = false;
    return absl::OkStatus();
  }
  if (absl::StartsWith(line, "Kernel modules:")) {
    in_capability_ = false;
    return absl::OkStatus();
  }
  if (in_capability_) {
    absl::StrAppend(&device.capabilities.back().text, " ", line);
    return absl::OkStatus();
  }
  // The form of -vmm, where "Device:" now is the name.
  if (absl::ConsumePrefix(&rest, "Vendor:")) {
    device.vendor_id = IdOfName(absl::StripAsciiWhitespace(rest));
  } else if (absl::ConsumePrefix(&rest, "Device:")) {
    rest = absl::StripAsciiWhitespace(rest);
    device.device_id = IdOfName(rest);
    if (device.description.empty()) device.description = std::string(rest);
  } else if (!device.vendor_id.has_value() && device.config.empty() &&
             !absl::StartsWith(line, "Subsystem:") &&
             !absl::StartsWith(line, "DeviceName:")) {
    // A mailer may have broken the heading.
    FindIds(line, device);
  }
  return absl::OkStatus();
}

// Gives numbers to the lines of BARs that have none (one -v), like
// show_bases(). A line belongs to the next register that holds its address. A
// line without an address, or a virtual one, belongs to the next register that
// may be meant.
void Parser::NumberBars() {
  LspciDevice& device = devices_.back();
  const auto reg = [&device](size_t bar) {
    return fixture::ReadLe32(device.config, PCI_BASE_ADDRESS_0 + 4 * bar);
  };
  constexpr size_t kNumberedBars = pci::BarIndex::kRomValue;
  const auto is_wide = [](uint32_t low) { return (low & 7) == 4; };
  size_t next = 0;
  std::optional<size_t> last;
  for (const LspciDevice::Bar& bar : unnumbered_) {
    // In the order of preference. Where bus addresses are not those of the
    // processor, as on ARM boards, no register holds the address of the line.
    std::optional<size_t> exact;
    std::optional<size_t> used;
    std::optional<size_t> empty;
    for (size_t i = next; i < kNumberedBars; ++i) {
      const uint32_t low = reg(i);
      const bool is_io = (low & 1) != 0;
      uint64_t address = low & ~(is_io ? 3u : 15u);
      if (is_wide(low) && i + 1 < kNumberedBars) {
        address |= uint64_t{reg(i + 1)} << 32;
      }
      if (low != 0 && is_io == bar.is_io) {
        if (bar.address == address && !exact.has_value()) exact = i;
        if (!used.has_value()) used = i;
      }
      if (low == 0 && !empty.has_value()) empty = i;
      if (is_wide(low)) ++i;
    }
    std::optional<size_t> index = bar.is_virtual ? empty : used;
    if (exact.has_value()) index = exact;
    if (!index.has_value()) index = bar.is_virtual ? used : empty;
    if (!index.has_value()) continue;
    device.bars[*index] = bar;
    last = *index;
    next = *index + (bar.is_64bit || is_wide(reg(*index)) ? 2 : 1);
  }
  // The registers of a virtual function are all 0, so BARs that it lacks cannot
  // be told from the others. The last one is commonly that of MSI-X.
  const auto msix = fixture::FindCapability(device.config, PCI_CAP_ID_MSIX);
  if (fixture::ReadLe16(device.config, PCI_VENDOR_ID) != 0xffff ||
      !msix.has_value() || !last.has_value()) {
    return;
  }
  const uint32_t table =
      fixture::ReadLe32(device.config, *msix + PCI_MSIX_TABLE) &
      PCI_MSIX_TABLE_BIR;
  if (table > *last && table < kNumberedBars &&
      !device.bars[table].has_value()) {
    device.bars[table] = std::exchange(device.bars[*last], std::nullopt);
  }
}

void Parser::FinishDevice() {
  if (!in_device_) return;
  in_device_ = false;
  LspciDevice& device = devices_.back();
  const size_t size = device.config.size();
  if (device.status.ok() && size == 0) {
    described_.push_back(std::move(device));
    devices_.pop_back();
  } else if (device.status.ok() && size != kHeaderBytes &&
             size != kConventionalBytes && size != kExtendedBytes) {
    device.status = absl::InvalidArgumentError(absl::StrFormat(
        "line %d: the dump of %s ends after 0x%x bytes; lspci prints 64 (-x), "
        "256 (-xxx) or 4096 (-xxxx): is something missing?",
        line_, device.bdf, size));
  } else if (device.status.ok()) {
    NumberBars();
  }
  unnumbered_.clear();
  last_bar_ = nullptr;
  in_capabilities_ = false;
  in_capability_ = false;
}

absl::StatusOr<std::vector<LspciDevice>> Parser::Finish() {
  FinishDevice();
  if (devices_.empty()) {
    if (!stray_row_.ok()) return stray_row_;
    return absl::InvalidArgumentError(
        described_.empty()
            ? "this is not what lspci prints: no line begins with a device's "
              "address, such as \"01:00.0 Ethernet controller: ...\""
            : "there are devices, but no rows of bytes: run "
              "`lspci -xxxx -vv` as root");
  }
  // A post may have the output of several calls.
  for (LspciDevice& device : devices_) {
    for (const LspciDevice& other : described_) {
      if (other.bdf == device.bdf) FillIn(other, device);
    }
  }
  return std::move(devices_);
}

}  // namespace

absl::StatusOr<std::vector<LspciDevice>> ParseLspci(std::string_view text) {
  Parser parser;
  size_t number = 0;
  for (const std::string_view line : absl::StrSplit(PlainText(text), '\n')) {
    parser.Line(++number, line);
  }
  return parser.Finish();
}

}  // namespace passthru::capture
