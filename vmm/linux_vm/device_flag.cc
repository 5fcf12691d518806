// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/linux_vm/device_flag.h"

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "passthru/devices/kernel/status_macros.h"
#include "passthru/devices/vfio_pci/capability_policy.h"
#include "passthru/devices/vfio_pci/expansion_rom.h"
#include "passthru/pci/bar_index.h"
#include "passthru/pci/bdf.h"
#include "passthru/pci/capability_id.h"

namespace passthru::vmm {
namespace {

using vfio_pci::CapabilityTreatment;

constexpr std::string_view kHelp =
    "  slot=4 or slot=4.1   the slot, and function, where the guest finds it\n"
    "  port=0               the root port behind which it sits "
    "(--root_ports)\n"
    "  rom=off|device|FILE  the expansion ROM that the guest sees\n"
    "  max_vectors=8        the most MSI-X or MSI vectors\n"
    "  hide=10              a capability (hexadecimal) that the guest does not "
    "see\n"
    "  hide_extended=1      an extended one\n"
    "  unlisted=read_only   protects registers that are in no capability\n"
    "  bar0=0xc0000000      where the guest first finds a BAR\n"
    "  bars=host            BARs are where the host has them\n"
    "  vendor=8086, device=10d3, subsystem_vendor=, subsystem=, revision=\n"
    "                       what the guest is told that the device is\n"
    "  vf_token=UUID        of a virtual function whose physical one is bound "
    "to "
    "vfio-pci\n";

absl::Status Wrong(std::string_view option, std::string_view needed) {
  return absl::InvalidArgumentError(
      absl::StrCat("the device option '", option, "' needs ", needed));
}

// Parses a number of at most `T`, with or without 0x if `base` is 16.
template <typename T>
absl::Status ParseNumber(std::string_view option, std::string_view text,
                         int base, std::string_view needed, T& value) {
  uint64_t number = 0;
  const bool digits = !text.empty() && text[0] != '+' && text[0] != '-';
  const bool parsed = base == 16 ? absl::SimpleHexAtoi(text, &number)
                                 : absl::SimpleAtoi(text, &number);
  if (!digits || !parsed || number > std::numeric_limits<T>::max()) {
    return Wrong(option, needed);
  }
  value = static_cast<T>(number);
  return absl::OkStatus();
}

template <typename T>
absl::Status ParseId(std::string_view option, std::string_view text,
                     std::optional<T>& id) {
  T value = 0;
  PASSTHRU_RETURN_IF_ERROR(ParseNumber(
      option, text, 16, "a hexadecimal ID, as lspci -n has it", value));
  id = value;
  return absl::OkStatus();
}

absl::Status ParseSlot(std::string_view option, std::string_view text,
                       std::optional<pci::Bdf>& guest) {
  constexpr std::string_view kNeeded =
      "a slot from 1 to 31 and perhaps a function, as in slot=4 or slot=4.1";
  const std::vector<std::string_view> parts = absl::StrSplit(text, '.');
  uint8_t slot = 0;
  uint8_t function = 0;
  PASSTHRU_RETURN_IF_ERROR(ParseNumber(option, parts[0], 10, kNeeded, slot));
  if (parts.size() > 1) {
    PASSTHRU_RETURN_IF_ERROR(
        ParseNumber(option, parts[1], 10, kNeeded, function));
  }
  if (parts.size() > 2 || slot == 0 || slot > 31 || function > 7) {
    return Wrong(option, kNeeded);
  }
  guest = pci::Bdf(0, 0, slot, function);
  return absl::OkStatus();
}

absl::Status ParseRom(std::string_view text, DeviceFlag& flag) {
  flag.rom.clear();
  auto& source = flag.options.device.rom.source;
  if (text == "off") {
    source = vfio_pci::RomOptions::Source::kNone;
  } else if (text == "device") {
    source = vfio_pci::RomOptions::Source::kDevice;
  } else {
    source = vfio_pci::RomOptions::Source::kBytes;
    flag.rom = std::string(text);
  }
  return absl::OkStatus();
}

absl::Status ParseOption(std::string_view option, DeviceFlag& flag) {
  const size_t equals = option.find('=');
  if (equals == std::string_view::npos || equals + 1 == option.size()) {
    return Wrong(option, "a value, as in slot=4");
  }
  const std::string_view key = option.substr(0, equals);
  const std::string_view value = option.substr(equals + 1);
  DeviceManager::AttachOptions& options = flag.options;
  auto& device = options.device;
  auto& identity = device.identity;
  constexpr std::string_view kCapability =
      "the hexadecimal ID of a capability, such as 10 for PCI Express";
  constexpr std::string_view kByVmm = "the user hides it";
  if (key == "slot") return ParseSlot(option, value, options.guest);
  if (key == "port") {
    uint8_t port = 0;
    PASSTHRU_RETURN_IF_ERROR(
        ParseNumber(option, value, 10, "the number of a root port", port));
    options.root_port = port;
    return absl::OkStatus();
  }
  if (key == "rom") return ParseRom(value, flag);
  if (key == "max_vectors") {
    uint32_t most = 0;
    PASSTHRU_RETURN_IF_ERROR(
        ParseNumber(option, value, 10, "a number from 1 to 2048", most));
    if (most < 1 || most > 2048) {
      return Wrong(option, "a number from 1 to 2048");
    }
    device.max_vectors = most;
    return absl::OkStatus();
  }
  if (key == "hide") {
    uint8_t id = 0;
    PASSTHRU_RETURN_IF_ERROR(ParseNumber(option, value, 16, kCapability, id));
    device.policy = device.policy.With(static_cast<pci::CapabilityId>(id),
                                       CapabilityTreatment::kHide, kByVmm);
    return absl::OkStatus();
  }
  if (key == "hide_extended") {
    uint16_t id = 0;
    PASSTHRU_RETURN_IF_ERROR(ParseNumber(option, value, 16, kCapability, id));
    device.policy =
        device.policy.With(static_cast<pci::ExtendedCapabilityId>(id),
                           CapabilityTreatment::kHide, kByVmm);
    return absl::OkStatus();
  }
  if (key == "unlisted") {
    if (value != "read_only") return Wrong(option, "the value read_only");
    device.policy = device.policy.WithUnlistedReadOnly();
    return absl::OkStatus();
  }
  if (key == "bars") {
    if (value != "host") return Wrong(option, "the value host");
    options.bars.as_on_host = true;
    return absl::OkStatus();
  }
  if (key.size() == 4 && absl::StartsWith(key, "bar") && key[3] >= '0' &&
      key[3] <= '5') {
    uint64_t address = 0;
    PASSTHRU_RETURN_IF_ERROR(
        ParseNumber(option, value, 16,
                    "a hexadecimal address, as in bar0=0xc0000000", address));
    options.bars.fixed[pci::BarIndex(static_cast<uint8_t>(key[3] - '0'))] =
        address;
    return absl::OkStatus();
  }
  if (key == "vendor") return ParseId(option, value, identity.vendor_id);
  if (key == "device") return ParseId(option, value, identity.device_id);
  if (key == "subsystem_vendor") {
    return ParseId(option, value, identity.subsystem_vendor_id);
  }
  if (key == "subsystem") {
    return ParseId(option, value, identity.subsystem_id);
  }
  if (key == "revision") return ParseId(option, value, identity.revision_id);
  if (key == "vf_token") {
    options.vf_token = std::string(value);
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("'", option, "' is no device option. There are:\n", kHelp));
}

}  // namespace

std::string_view DeviceOptionsHelp() { return kHelp; }

absl::StatusOr<DeviceFlag> ParseDeviceFlag(std::string_view text) {
  const std::vector<std::string_view> parts = absl::StrSplit(text, ',');
  if (parts[0].empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("'", text, "' names no device before its first comma"));
  }
  DeviceFlag flag;
  flag.name = std::string(parts[0]);
  for (size_t i = 1; i < parts.size(); ++i) {
    PASSTHRU_RETURN_IF_ERROR(ParseOption(parts[i], flag));
  }
  return flag;
}

absl::StatusOr<RootPortOptions> ParsePortWindows(std::string_view text) {
  RootPortOptions port;
  if (text.empty()) return port;
  for (const std::string_view part : absl::StrSplit(text, ',')) {
    const size_t equals = part.find('=');
    const std::string_view key = part.substr(0, equals);
    uint64_t* const size = key == "io"             ? &port.io
                           : key == "memory"       ? &port.memory
                           : key == "prefetchable" ? &port.prefetchable
                                                   : nullptr;
    if (size == nullptr || equals == std::string_view::npos) {
      return absl::InvalidArgumentError(
          absl::StrCat("'", part,
                       "' is no window of a root port. Give sizes such as "
                       "memory=64M,prefetchable=8G,io=0."));
    }
    const std::string_view value = part.substr(equals + 1);
    *size = 0;
    if (value == "0") continue;
    PASSTHRU_ASSIGN_OR_RETURN(*size, ParseSize(value));
  }
  return port;
}

absl::StatusOr<uint64_t> ParseSize(std::string_view text) {
  uint64_t unit = 1;
  std::string_view digits = text;
  for (const auto& [letter, shift] :
       {std::pair('K', 10), std::pair('M', 20), std::pair('G', 30)}) {
    if (!absl::ConsumeSuffix(&digits, std::string_view(&letter, 1))) continue;
    unit = uint64_t{1} << shift;
    break;
  }
  uint64_t count = 0;
  if (digits.empty() || digits[0] == '+' || digits[0] == '-' ||
      !absl::SimpleAtoi(digits, &count) || count == 0 ||
      count > std::numeric_limits<uint64_t>::max() / unit) {
    return absl::InvalidArgumentError(
        absl::StrCat("'", text, "' is no size. Give one such as 512M or 2G."));
  }
  return count * unit;
}

}  // namespace passthru::vmm
