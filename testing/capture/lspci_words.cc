// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/capture/lspci_words.h"

#include <linux/pci_regs.h>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <optional>
#include <string_view>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "absl/types/span.h"
#include "passthru/pci/little_endian.h"

namespace passthru::capture {
namespace {

using Registers = std::vector<uint8_t>;

// Returns the characters behind `key` that belong to `set`, or nothing.
std::string_view Behind(std::string_view text, std::string_view key,
                        std::string_view set) {
  const size_t at = text.find(key);
  if (at == std::string_view::npos) return {};
  text.remove_prefix(at + key.size());
  return text.substr(0, text.find_first_not_of(set));
}

std::optional<uint32_t> NumberBehind(std::string_view text,
                                     std::string_view key) {
  uint32_t value = 0;
  if (!absl::SimpleAtoi(Behind(text, key, "0123456789"), &value)) {
    return std::nullopt;
  }
  return value;
}

// Returns the base-2 logarithm of the number of vectors that a function has, or
// uses, as Multiple Message Capable and Enable encode it.
uint32_t MessagesField(std::optional<uint32_t> count) {
  return std::min<uint32_t>(
      5, static_cast<uint32_t>(std::bit_width(std::max(1u, count.value_or(1))) -
                               1));
}

Registers PowerManagement(std::string_view text) {
  Registers registers(PCI_PM_SIZEOF);
  registers[0] = PCI_CAP_ID_PM;
  uint32_t capabilities =
      NumberBehind(text, "version ").value_or(3) & PCI_PM_CAP_VER_MASK;
  if (absl::StrContains(text, " D1+ ")) capabilities |= PCI_PM_CAP_D1;
  if (absl::StrContains(text, " D2+ ")) capabilities |= PCI_PM_CAP_D2;
  constexpr std::string_view kPme[] = {"D0+,", "D1+,", "D2+,", "D3hot+,",
                                       "D3cold+)"};
  for (size_t i = 0; i < std::size(kPme); ++i) {
    if (absl::StrContains(text, kPme[i])) {
      capabilities |= uint32_t{PCI_PM_CAP_PME_D0} << i;
    }
  }
  pci::StoreLittleEndian<uint16_t>(absl::MakeSpan(registers), PCI_PM_PMC,
                                   static_cast<uint16_t>(capabilities));
  uint32_t control = NumberBehind(text, "Status: D").value_or(0) &
                     uint32_t{PCI_PM_CTRL_STATE_MASK};
  if (absl::StrContains(text, "NoSoftRst+")) {
    control |= PCI_PM_CTRL_NO_SOFT_RESET;
  }
  pci::StoreLittleEndian<uint16_t>(absl::MakeSpan(registers), PCI_PM_CTRL,
                                   static_cast<uint16_t>(control));
  return registers;
}

// Knows "MSI: Enable- Count=1/4 Maskable+ 64bit+" and the words of pciutils
// before 3.1, "Message Signalled Interrupts: Mask- 64bit+ Queue=0/2 Enable-".
Registers Msi(std::string_view text) {
  const bool wide = absl::StrContains(text, "64bit+");
  const bool maskable =
      absl::StrContains(text, "Maskable+") || absl::StrContains(text, "Mask+");
  Registers registers(10u + (wide ? 4u : 0u) + (maskable ? 10u : 0u));
  registers[0] = PCI_CAP_ID_MSI;
  uint32_t used = 0;
  uint32_t capable = 0;
  if (absl::StrContains(text, "Queue=")) {
    const std::string_view queue = Behind(text, "Queue=", "0123456789/");
    used = std::min(5u, NumberBehind(text, "Queue=").value_or(0));
    capable = std::min(5u, NumberBehind(queue, "/").value_or(0));
  } else {
    const std::string_view count = Behind(text, "Count=", "0123456789/");
    used = MessagesField(NumberBehind(text, "Count="));
    capable = MessagesField(NumberBehind(count, "/"));
  }
  uint32_t flags = capable << 1 | used << 4;
  if (absl::StrContains(text, "Enable+")) flags |= PCI_MSI_FLAGS_ENABLE;
  if (wide) flags |= PCI_MSI_FLAGS_64BIT;
  if (maskable) flags |= PCI_MSI_FLAGS_MASKBIT;
  pci::StoreLittleEndian<uint16_t>(absl::MakeSpan(registers), PCI_MSI_FLAGS,
                                   static_cast<uint16_t>(flags));
  return registers;
}

// Parses "BAR=3 offset=00002000" behind `key`.
std::optional<uint32_t> Location(std::string_view text, std::string_view key) {
  const size_t at = text.find(key);
  if (at == std::string_view::npos) return std::nullopt;
  text.remove_prefix(at);
  const auto bar = NumberBehind(text, "BAR=");
  uint32_t offset = 0;
  if (!bar.has_value() || *bar > 7 ||
      !absl::SimpleHexAtoi(Behind(text, "offset=", "0123456789abcdef"),
                           &offset)) {
    return std::nullopt;
  }
  return (offset & ~uint32_t{7}) | *bar;
}

// Knows "MSI-X: Enable+ Count=5 Masked-" and, of pciutils before 3.1,
// "MSI-X: Enable- Mask- TabSize=5". One -v does not tell where the table is.
std::optional<Registers> Msix(std::string_view text) {
  const auto count = absl::StrContains(text, "TabSize=")
                         ? NumberBehind(text, "TabSize=")
                         : NumberBehind(text, "Count=");
  const auto table = Location(text, "Vector table:");
  const auto pba = Location(text, "PBA:");
  if (!count.has_value() || *count == 0 || *count > 2048 ||
      !table.has_value() || !pba.has_value()) {
    return std::nullopt;
  }
  Registers registers(PCI_CAP_MSIX_SIZEOF);
  registers[0] = PCI_CAP_ID_MSIX;
  uint32_t flags = *count - 1;
  if (absl::StrContains(text, "Enable+")) flags |= PCI_MSIX_FLAGS_ENABLE;
  if (absl::StrContains(text, "Masked+") || absl::StrContains(text, "Mask+")) {
    flags |= PCI_MSIX_FLAGS_MASKALL;
  }
  pci::StoreLittleEndian<uint16_t>(absl::MakeSpan(registers), PCI_MSIX_FLAGS,
                                   static_cast<uint16_t>(flags));
  pci::StoreLittleEndian<uint32_t>(absl::MakeSpan(registers), PCI_MSIX_TABLE,
                                   *table);
  pci::StoreLittleEndian<uint32_t>(absl::MakeSpan(registers), PCI_MSIX_PBA,
                                   *pba);
  return registers;
}

// Knows "Express (v2) Endpoint, MSI 00" with "... FLReset+ ..." below. One -v
// prints no version. The size is that of version 1, because the words tell no
// register beyond it and another capability may follow.
Registers Express(std::string_view text) {
  Registers registers(PCI_CAP_EXP_ENDPOINT_SIZEOF_V1);
  registers[0] = PCI_CAP_ID_EXP;
  uint32_t type = PCI_EXP_TYPE_ENDPOINT;
  if (absl::StrContains(text, "Legacy Endpoint")) type = PCI_EXP_TYPE_LEG_END;
  if (absl::StrContains(text, "Integrated Endpoint")) {
    type = PCI_EXP_TYPE_RC_END;
  }
  const uint32_t version =
      NumberBehind(text, "(v").value_or(1) & PCI_EXP_FLAGS_VERS;
  pci::StoreLittleEndian<uint16_t>(absl::MakeSpan(registers), PCI_EXP_FLAGS,
                                   static_cast<uint16_t>(version | type << 4));
  uint32_t capabilities = 0;
  if (absl::StrContains(text, "FLReset+")) capabilities |= PCI_EXP_DEVCAP_FLR;
  if (absl::StrContains(text, "ExtTag+")) {
    capabilities |= PCI_EXP_DEVCAP_EXT_TAG;
  }
  if (const auto payload = NumberBehind(text, "MaxPayload ");
      payload.has_value() && *payload >= 128) {
    capabilities |=
        std::min(5u, static_cast<uint32_t>(std::bit_width(*payload / 128) - 1));
  }
  pci::StoreLittleEndian<uint32_t>(absl::MakeSpan(registers), PCI_EXP_DEVCAP,
                                   capabilities);
  return registers;
}

Registers AdvancedFeatures(std::string_view text) {
  Registers registers(PCI_CAP_AF_SIZEOF);
  registers[0] = PCI_CAP_ID_AF;
  registers[PCI_AF_LENGTH] = PCI_CAP_AF_SIZEOF;
  if (absl::StrContains(text, "TP+")) registers[PCI_AF_CAP] |= PCI_AF_CAP_TP;
  if (absl::StrContains(text, "FLR+")) registers[PCI_AF_CAP] |= PCI_AF_CAP_FLR;
  return registers;
}

std::optional<Registers> FromWords(std::string_view text) {
  if (absl::StartsWith(text, "Power Management")) return PowerManagement(text);
  if (absl::StartsWith(text, "MSI:") ||
      absl::StartsWith(text, "Message Signal")) {
    return Msi(text);
  }
  if (absl::StartsWith(text, "MSI-X:")) return Msix(text);
  if (absl::StartsWith(text, "Express")) return Express(text);
  if (absl::StartsWith(text, "PCI Advanced Features")) {
    return AdvancedFeatures(text);
  }
  return std::nullopt;
}

// Returns the name of a capability, which are its words up to the details.
std::string NameOf(std::string_view text) {
  constexpr size_t kLongest = 40;
  return absl::CHexEscape(absl::StripAsciiWhitespace(
      text.substr(0, std::min(text.find_first_of(":<"), kLongest))));
}

}  // namespace

std::vector<std::string> AddCapabilitiesFromWords(
    const std::vector<LspciDevice::Capability>& capabilities,
    absl::Span<uint8_t> config) {
  std::vector<bool> used(config.size(), false);
  std::fill_n(used.begin(), PCI_STD_HEADER_SIZEOF, true);
  size_t link = PCI_CAPABILITY_LIST;
  std::vector<std::string> added;
  std::vector<std::string> left_out;
  for (const LspciDevice::Capability& capability : capabilities) {
    const std::optional<Registers> registers = FromWords(capability.text);
    const size_t end =
        capability.offset + (registers.has_value() ? registers->size() : 0);
    if (!registers.has_value() || capability.offset % 4 != 0 ||
        end > config.size() ||
        std::find(used.begin() + capability.offset,
                  used.begin() + static_cast<ptrdiff_t>(end),
                  true) != used.begin() + static_cast<ptrdiff_t>(end)) {
      left_out.push_back(NameOf(capability.text));
      continue;
    }
    std::copy(registers->begin(), registers->end(),
              config.begin() + capability.offset);
    std::fill(used.begin() + capability.offset,
              used.begin() + static_cast<ptrdiff_t>(end), true);
    config[link] = capability.offset;
    link = capability.offset + size_t{PCI_CAP_LIST_NEXT};
    added.push_back(NameOf(capability.text));
  }
  std::vector<std::string> notes;
  if (!added.empty()) {
    config[link] = 0;
    config[PCI_STATUS] |= PCI_STATUS_CAP_LIST;
    notes.push_back(absl::StrCat(
        "Made from the text's words, without the registers that they do not "
        "tell: ",
        absl::StrJoin(added, ", "), "."));
  }
  if (!left_out.empty()) {
    notes.push_back(absl::StrCat(
        "Left out, because the words do not tell enough (-vv tells more, and "
        "-xxx everything): ",
        absl::StrJoin(left_out, ", "), "."));
  }
  return notes;
}

}  // namespace passthru::capture
