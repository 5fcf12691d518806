// SPDX-License-Identifier: Apache-2.0
#include "passthru/pci/describe_capability.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "passthru/pci/advanced_features.h"
#include "passthru/pci/capabilities.h"
#include "passthru/pci/capability_id.h"
#include "passthru/pci/capability_length.h"
#include "passthru/pci/config_reg.h"
#include "passthru/pci/msi_capability.h"
#include "passthru/pci/msix_capability.h"
#include "passthru/pci/pcie_capability.h"
#include "passthru/pci/power_management.h"

namespace passthru::pci {
namespace {

// Returns the sign that lspci prints for a bit.
char Sign(bool set) { return set ? '+' : '-'; }

std::string Malformed(const absl::Status& status) {
  return absl::StrCat("malformed: ", status.message());
}

std::string PowerManagement(absl::Span<const uint8_t> config, uint8_t offset) {
  const auto pm = PowerManagementCapability::Parse(config, offset);
  if (!pm.ok()) return Malformed(pm.status());
  return absl::StrFormat(
      "v%d  D1%c D2%c  State=%s NoSoftReset%c", pm->version(),
      Sign(pm->Supports(PowerState::kD1)), Sign(pm->Supports(PowerState::kD2)),
      Name(PowerManagementCapability::State(config.subspan(offset))),
      Sign(pm->no_soft_reset()));
}

std::string Msi(absl::Span<const uint8_t> config, uint8_t offset) {
  const auto msi = MsiCapability::Parse(config, offset);
  if (!msi.ok()) return Malformed(msi.status());
  const MsiState state = msi->Decode(config.subspan(offset, msi->size()));
  std::string text = absl::StrFormat("Enable%c Count=%d/%d 64bit%c Maskable%c",
                                     Sign(state.enabled), state.vector_count,
                                     msi->max_vectors(), Sign(msi->is_64bit()),
                                     Sign(msi->per_vector_masking()));
  if (state.enabled) absl::StrAppend(&text, "  ", state.programmed);
  return text;
}

std::string Msix(absl::Span<const uint8_t> config, uint8_t offset) {
  const auto msix = MsixCapability::Parse(config, offset);
  if (!msix.ok()) return Malformed(msix.status());
  const MsixControl control =
      ReadRegister(config, MsixCapability::kControl.At(offset));
  return absl::StrFormat(
      "Enable%c Count=%d Masked%c  Table %v+0x%x  PBA %v+0x%x",
      Sign(MsixControl::kEnable.Get(control)), msix->table_size(),
      Sign(MsixControl::kFunctionMask.Get(control)), msix->table_bar(),
      msix->table_offset(), msix->pba_bar(), msix->pba_offset());
}

// The encoding is a position in the Supported Link Speeds Vector (PCIe 6.0
// 7.5.3.18).
absl::string_view LinkSpeed(uint32_t encoded) {
  switch (encoded) {
    case 1:
      return "2.5GT/s";
    case 2:
      return "5GT/s";
    case 3:
      return "8GT/s";
    case 4:
      return "16GT/s";
    case 5:
      return "32GT/s";
    case 6:
      return "64GT/s";
    default:
      return "?GT/s";
  }
}

std::string PciExpress(absl::Span<const uint8_t> config, uint8_t offset) {
  const auto pcie = PcieCapability::Parse(config, offset);
  if (!pcie.ok()) return Malformed(pcie.status());
  // 128 bytes, doubled by each step (PCIe 6.0 7.5.3.3 and 7.5.3.4).
  const auto payload = [](uint32_t encoded) { return 128u << encoded; };
  const auto capabilities =
      ReadRegister(config, PcieCapability::kDeviceCapabilities.At(offset));
  const auto control =
      ReadRegister(config, PcieCapability::kDeviceControl.At(offset));
  std::string text = absl::StrFormat(
      "v%d %s  FLR%c MaxPayload=%d/%d", pcie->version(),
      Name(pcie->port_type()), Sign(pcie->function_level_reset()),
      payload(PcieDeviceControl::kMaxPayloadSize.Get(control)),
      payload(PcieDeviceCapabilities::kMaxPayloadSize.Get(capabilities)));
  if (!pcie->has_link()) return text;
  const auto link =
      ReadRegister(config, PcieCapability::kLinkStatus.At(offset));
  const auto limit =
      ReadRegister(config, PcieCapability::kLinkCapabilities.At(offset));
  absl::StrAppendFormat(&text, "  Link %s x%d of %s x%d",
                        LinkSpeed(PcieLinkStatus::kSpeed.Get(link)),
                        PcieLinkStatus::kWidth.Get(link),
                        LinkSpeed(PcieLinkCapabilities::kMaxSpeed.Get(limit)),
                        PcieLinkCapabilities::kMaxWidth.Get(limit));
  return text;
}

std::string AdvancedFeatures(absl::Span<const uint8_t> config, uint8_t offset) {
  const auto af = AfCapability::Parse(config, offset);
  if (!af.ok()) return Malformed(af.status());
  return absl::StrFormat("FLR%c", Sign(af->function_level_reset()));
}

std::string Essentials(absl::Span<const uint8_t> config,
                       const Capability& capability) {
  switch (capability.id) {
    case CapabilityId::kPowerManagement:
      return PowerManagement(config, capability.offset);
    case CapabilityId::kMsi:
      return Msi(config, capability.offset);
    case CapabilityId::kMsix:
      return Msix(config, capability.offset);
    case CapabilityId::kPciExpress:
      return PciExpress(config, capability.offset);
    case CapabilityId::kAdvancedFeatures:
      return AdvancedFeatures(config, capability.offset);
    case CapabilityId::kVendorSpecific: {
      const std::optional<uint16_t> length =
          StandardCapabilityLength(config, capability);
      if (!length.has_value()) return "malformed: no valid length";
      return absl::StrFormat("Length=%d", *length);
    }
    default:
      return "";
  }
}

}  // namespace

std::string DescribeCapability(absl::Span<const uint8_t> config,
                               const Capability& capability) {
  std::string line =
      absl::StrFormat("%02x: %s", capability.offset, Name(capability.id));
  if (Name(capability.id) == "Unknown") {
    absl::StrAppendFormat(&line, " [%02x]",
                          static_cast<uint8_t>(capability.id));
  }
  const std::string essentials = Essentials(config, capability);
  if (!essentials.empty()) absl::StrAppend(&line, "  ", essentials);
  return line;
}

}  // namespace passthru::pci
