// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/capture/lspci_text.h"

#include <algorithm>
#include <cstddef>
#include <limits>
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

namespace passthru::capture {
namespace {

constexpr size_t kHexRow = 16;
constexpr size_t kHeaderBytes = 64;
constexpr size_t kConventionalBytes = 256;
constexpr size_t kExtendedBytes = 4096;
// Messages echo at most this much of a line.
constexpr size_t kEchoed = 40;

bool IsHex(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return absl::ascii_isxdigit(static_cast<unsigned char>(c));
  });
}

// Removes quote marks and white space around a line.
std::string_view Unquote(std::string_view line) {
  line = absl::StripAsciiWhitespace(line);
  while (absl::ConsumePrefix(&line, ">")) {
    line = absl::StripLeadingAsciiWhitespace(line);
  }
  return line;
}

class Parser {
 public:
  // Parses the lines, which the caller passes in order. The first is number 1.
  absl::Status Line(size_t number, std::string_view raw);
  absl::StatusOr<std::vector<LspciDevice>> Finish();

 private:
  absl::Status Error(std::string_view reason) const {
    return absl::InvalidArgumentError(
        absl::StrCat("line ", line_, ": ", reason));
  }

  // Parses a row of the dump and returns whether the line is one. Returns an
  // error for a line that looks like a row but is not valid.
  absl::StatusOr<bool> AddRow(std::string_view line);
  absl::Status AddDetail(std::string_view line);
  absl::Status FinishDevice();

  size_t line_ = 0;
  std::vector<LspciDevice> devices_;
  size_t devices_without_dump_ = 0;
  bool in_device_ = false;
};

absl::Status Parser::Line(size_t number, std::string_view raw) {
  line_ = number;
  const std::string_view line = Unquote(raw);
  if (line.empty()) return absl::OkStatus();
  // A heading is like "01:00.0 Ethernet controller: …". Details are indented.
  const size_t space = line.find(' ');
  if (space != std::string_view::npos && absl::StrContains(line, '.')) {
    const auto bdf = pci::Bdf::Parse(line.substr(0, space));
    if (bdf.ok()) {
      PASSTHRU_RETURN_IF_ERROR(FinishDevice());
      LspciDevice& device = devices_.emplace_back();
      device.bdf = bdf->ToString();
      device.description =
          std::string(absl::StripAsciiWhitespace(line.substr(space)));
      in_device_ = true;
      // "[0200]" is the class, and "[8086:1533]" the ids.
      const size_t close = device.description.rfind(']');
      if (close != std::string::npos && close >= 10 &&
          device.description[close - 10] == '[' &&
          device.description[close - 5] == ':') {
        const std::string ids = device.description.substr(close - 9, 9);
        uint32_t vendor = 0;
        uint32_t id = 0;
        if (IsHex(ids.substr(0, 4)) && IsHex(ids.substr(5, 4)) &&
            absl::SimpleHexAtoi(ids.substr(0, 4), &vendor) &&
            absl::SimpleHexAtoi(ids.substr(5, 4), &id)) {
          device.vendor_id = static_cast<uint16_t>(vendor);
          device.device_id = static_cast<uint16_t>(id);
        }
      }
      return absl::OkStatus();
    }
  }
  PASSTHRU_ASSIGN_OR_RETURN(const bool is_row, AddRow(line));
  if (is_row || !in_device_) return absl::OkStatus();
  return AddDetail(line);
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

// Parses "[size=16K]".
absl::StatusOr<std::optional<uint64_t>> SizeIn(std::string_view line) {
  constexpr std::string_view kSize = "[size=";
  const size_t begin = line.find(kSize);
  if (begin == std::string_view::npos) return std::nullopt;
  std::string_view text = line.substr(begin + kSize.size());
  text = text.substr(0, text.find(']'));
  unsigned shift = 0;
  if (!text.empty()) {
    switch (text.back()) {
      case 'K':
        shift = 10;
        break;
      case 'M':
        shift = 20;
        break;
      case 'G':
        shift = 30;
        break;
      case 'T':
        shift = 40;
        break;
      default:
        break;
    }
  }
  if (shift != 0) text.remove_suffix(1);
  uint64_t value = 0;
  if (!absl::SimpleAtoi(text, &value) || value == 0 ||
      value > std::numeric_limits<uint64_t>::max() >> shift) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"[size=", absl::CHexEscape(text.substr(0, kEchoed)),
                     "\" is no size that lspci prints, such as [size=16K]"));
  }
  return value << shift;
}

// Parses "Memory at fea00000 (64-bit, prefetchable)". Without an address
// ("<unassigned>") there is no memory.
std::optional<LspciDevice::MemoryBar> MemoryBarIn(std::string_view line) {
  constexpr std::string_view kBefore = "Memory at ";
  const size_t found = line.find(kBefore);
  if (found == std::string_view::npos) return std::nullopt;
  const std::string_view rest = line.substr(found + kBefore.size());
  const std::string_view digits = rest.substr(0, rest.find(' '));
  LspciDevice::MemoryBar bar;
  if (digits.size() > 16 || !IsHex(digits) ||
      !absl::SimpleHexAtoi(digits, &bar.address)) {
    return std::nullopt;
  }
  bar.is_64bit = absl::StrContains(rest, "(64-bit,");
  bar.prefetchable = absl::StrContains(rest, " prefetchable)");
  return bar;
}

absl::Status Parser::AddDetail(std::string_view line) {
  LspciDevice& device = devices_.back();
  std::optional<uint8_t> index;
  std::string_view rest = line;
  if (absl::ConsumePrefix(&rest, "Expansion ROM at ")) {
    index = pci::BarIndex::kRomValue;
  } else if (absl::ConsumePrefix(&rest, "Region ") && rest.size() >= 2 &&
             rest[0] >= '0' && rest[0] <= '5' && rest[1] == ':') {
    index = static_cast<uint8_t>(rest[0] - '0');
  }
  if (index.has_value()) {
    const auto size = SizeIn(line);
    if (!size.ok()) return Error(size.status().message());
    if (size->has_value()) device.sizes[*index] = **size;
    device.memory_bars[*index] = MemoryBarIn(line);
    return absl::OkStatus();
  }
  rest = line;
  if (absl::ConsumePrefix(&rest, "IOMMU group:")) {
    uint32_t group = 0;
    if (!absl::SimpleAtoi(rest, &group)) {
      return Error("the IOMMU group is not a number");
    }
    device.iommu_group = group;
  } else if (absl::ConsumePrefix(&rest, "Kernel driver in use:")) {
    device.driver = std::string(absl::StripAsciiWhitespace(rest));
  }
  return absl::OkStatus();
}

absl::Status Parser::FinishDevice() {
  if (!in_device_) return absl::OkStatus();
  in_device_ = false;
  const size_t size = devices_.back().config.size();
  if (size == 0) {
    devices_.pop_back();
    ++devices_without_dump_;
    return absl::OkStatus();
  }
  if (size != kHeaderBytes && size != kConventionalBytes &&
      size != kExtendedBytes) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "line %d: the dump of %s ends after 0x%x bytes; lspci prints 64 (-x), "
        "256 (-xxx) or 4096 (-xxxx): is something missing?",
        line_, devices_.back().bdf, size));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<LspciDevice>> Parser::Finish() {
  PASSTHRU_RETURN_IF_ERROR(FinishDevice());
  if (devices_.empty()) {
    return absl::InvalidArgumentError(
        devices_without_dump_ == 0
            ? "this is not what lspci prints: no line begins with a device's "
              "address, such as \"01:00.0 Ethernet controller: ...\""
            : "there are devices, but no rows of bytes: run "
              "`lspci -xxxx -vv` as root");
  }
  return std::move(devices_);
}

}  // namespace

absl::StatusOr<std::vector<LspciDevice>> ParseLspci(std::string_view text) {
  Parser parser;
  size_t number = 0;
  for (const std::string_view line : absl::StrSplit(text, '\n')) {
    PASSTHRU_RETURN_IF_ERROR(parser.Line(++number, line));
  }
  return parser.Finish();
}

}  // namespace passthru::capture
