// SPDX-License-Identifier: Apache-2.0
#include "passthru/pci/describe_extended_capability.h"

#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/types/span.h"
#include "passthru/pci/capabilities.h"
#include "passthru/pci/capability_id.h"
#include "passthru/pci/capability_length.h"
#include "passthru/pci/little_endian.h"

namespace passthru::pci {
namespace {

char ExtendedSign(bool set) { return set ? '+' : '-'; }

// PCIe 6.0 7.9.3. Prints eight bytes, the highest first.
std::string SerialNumber(absl::Span<const uint8_t> config, uint16_t offset) {
  std::string text;
  for (int i = 7; i >= 0; --i) {
    absl::StrAppendFormat(&text, "%02x%s",
                          LoadLittleEndian<uint8_t>(
                              config, offset + 4u + static_cast<unsigned>(i)),
                          i == 0 ? "" : "-");
  }
  return text;
}

// PCIe 6.0 9.3.3.
std::string SingleRootIov(absl::Span<const uint8_t> config, uint16_t offset) {
  const auto control = LoadLittleEndian<uint16_t>(config, offset + 0x08u);
  const auto total = LoadLittleEndian<uint16_t>(config, offset + 0x0eu);
  const auto enabled = LoadLittleEndian<uint16_t>(config, offset + 0x10u);
  const auto first = LoadLittleEndian<uint16_t>(config, offset + 0x14u);
  const auto stride = LoadLittleEndian<uint16_t>(config, offset + 0x16u);
  return absl::StrFormat("Enable%c VFs=%d/%d  FirstVF+0x%x Stride=%d",
                         ExtendedSign((control & 1) != 0), enabled, total,
                         first, stride);
}

// PCIe 6.0 7.8.8.2.
std::string AlternativeRouting(absl::Span<const uint8_t> config,
                               uint16_t offset) {
  const auto capability = LoadLittleEndian<uint16_t>(config, offset + 4u);
  return absl::StrFormat("NextFunction=%d", capability >> 8);
}

// PCIe 6.0 10.5.1.2 and 10.5.1.3. A queue depth of 0 stands for 32.
std::string AddressTranslation(absl::Span<const uint8_t> config,
                               uint16_t offset) {
  const auto capability = LoadLittleEndian<uint16_t>(config, offset + 4u);
  const auto control = LoadLittleEndian<uint16_t>(config, offset + 6u);
  const unsigned depth = capability & 0x1f;
  return absl::StrFormat("Enable%c QueueDepth=%d",
                         ExtendedSign((control >> 15) != 0),
                         depth == 0 ? 32 : depth);
}

// PCIe 6.0 7.8.9.2 and 7.8.9.3.
std::string ProcessAddressSpaceId(absl::Span<const uint8_t> config,
                                  uint16_t offset) {
  const auto capability = LoadLittleEndian<uint16_t>(config, offset + 4u);
  const auto control = LoadLittleEndian<uint16_t>(config, offset + 6u);
  return absl::StrFormat("Enable%c Width=%d", ExtendedSign((control & 1) != 0),
                         (capability >> 8) & 0x1f);
}

// PCIe 6.0 7.8.6.3. Each control register names its BAR and the size, which is
// 1 MiB doubled by each step.
std::string ResizableBars(absl::Span<const uint8_t> config,
                          const ExtendedCapability& capability) {
  const std::optional<uint16_t> length =
      ExtendedCapabilityLength(config, capability);
  std::string text;
  for (unsigned at = 8; length.has_value() && at < *length; at += 8) {
    const auto control =
        LoadLittleEndian<uint32_t>(config, capability.offset + at);
    absl::StrAppendFormat(&text, "%sBAR%d=%dMiB", text.empty() ? "" : " ",
                          control & 7, uint64_t{1} << ((control >> 8) & 0x3f));
  }
  return text;
}

std::string VendorSpecific(absl::Span<const uint8_t> config,
                           const ExtendedCapability& capability) {
  const std::optional<uint16_t> length =
      ExtendedCapabilityLength(config, capability);
  if (!length.has_value()) return "malformed: no valid length";
  const auto header =
      LoadLittleEndian<uint32_t>(config, capability.offset + 4u);
  if (capability.id == ExtendedCapabilityId::kVendorSpecific) {
    return absl::StrFormat("ID=%04x Rev=%d Length=%d", header & 0xffff,
                           (header >> 16) & 0xf, *length);
  }
  return absl::StrFormat(
      "Vendor=%04x ID=%04x Rev=%d Length=%d", header & 0xffff,
      LoadLittleEndian<uint16_t>(config, capability.offset + 8u),
      (header >> 16) & 0xf, *length);
}

std::string Essentials(absl::Span<const uint8_t> config,
                       const ExtendedCapability& capability) {
  switch (capability.id) {
    case ExtendedCapabilityId::kDeviceSerialNumber:
      return SerialNumber(config, capability.offset);
    case ExtendedCapabilityId::kSingleRootIov:
      return SingleRootIov(config, capability.offset);
    case ExtendedCapabilityId::kAlternativeRoutingId:
      return AlternativeRouting(config, capability.offset);
    case ExtendedCapabilityId::kAddressTranslationServices:
      return AddressTranslation(config, capability.offset);
    case ExtendedCapabilityId::kProcessAddressSpaceId:
      return ProcessAddressSpaceId(config, capability.offset);
    case ExtendedCapabilityId::kResizableBar:
      return ResizableBars(config, capability);
    case ExtendedCapabilityId::kVendorSpecific:
    case ExtendedCapabilityId::kDesignatedVendorSpecific:
      return VendorSpecific(config, capability);
    default:
      return "";
  }
}

}  // namespace

std::string DescribeExtendedCapability(absl::Span<const uint8_t> config,
                                       const ExtendedCapability& capability) {
  std::string line =
      absl::StrFormat("%03x: %s", capability.offset, Name(capability.id));
  if (Name(capability.id) == "Unknown") {
    absl::StrAppendFormat(&line, " [%04x]",
                          static_cast<uint16_t>(capability.id));
  }
  absl::StrAppendFormat(&line, " v%d", capability.version);
  const std::string essentials = Essentials(config, capability);
  if (!essentials.empty()) absl::StrAppend(&line, "  ", essentials);
  return line;
}

}  // namespace passthru::pci
