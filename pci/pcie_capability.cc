// SPDX-License-Identifier: Apache-2.0
#include "passthru/pci/pcie_capability.h"

#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "passthru/pci/capability_check.h"
#include "passthru/pci/capability_id.h"
#include "passthru/pci/config_reg.h"

namespace passthru::pci {
namespace {

// The ends of the groups of registers in PCIe 6.0 figure 7-14. The first group,
// which all functions have, ends with Device Status. The others end with Link
// Status, Slot Status, Root Status, Device Status 2, Link Status 2 and Slot
// Status 2.
constexpr uint8_t kEndOfDevice = 0x0c;
constexpr uint8_t kEndOfLink = 0x14;
constexpr uint8_t kEndOfSlot = 0x1c;
constexpr uint8_t kEndOfRoot = 0x24;
constexpr uint8_t kEndOfDevice2 = 0x2c;
constexpr uint8_t kEndOfLink2 = 0x34;
constexpr uint8_t kEndOfSlot2 = 0x3c;

}  // namespace

absl::string_view Name(PciePortType type) {
  switch (type) {
    case PciePortType::kEndpoint:
      return "Endpoint";
    case PciePortType::kLegacyEndpoint:
      return "Legacy Endpoint";
    case PciePortType::kRootPort:
      return "Root Port";
    case PciePortType::kSwitchUpstreamPort:
      return "Switch Upstream Port";
    case PciePortType::kSwitchDownstreamPort:
      return "Switch Downstream Port";
    case PciePortType::kPcieToPciBridge:
      return "PCI Express to PCI Bridge";
    case PciePortType::kPciToPcieBridge:
      return "PCI to PCI Express Bridge";
    case PciePortType::kRootComplexIntegratedEndpoint:
      return "Root Complex Integrated Endpoint";
    case PciePortType::kRootComplexEventCollector:
      return "Root Complex Event Collector";
  }
  return "Unknown";
}

absl::StatusOr<PcieCapability> PcieCapability::Parse(
    absl::Span<const uint8_t> config, uint8_t offset) {
  if (absl::Status status = CheckCapability(
          config, offset, CapabilityId::kPciExpress, kEndOfDevice);
      !status.ok()) {
    return status;
  }
  const PcieFlags flags = ReadRegister(config, kFlags.At(offset));
  PcieCapability capability;
  capability.offset_ = offset;
  capability.version_ = static_cast<uint8_t>(PcieFlags::kVersion.Get(flags));
  capability.port_type_ =
      static_cast<PciePortType>(PcieFlags::kPortType.Get(flags));
  capability.slot_implemented_ = PcieFlags::kSlotImplemented.Get(flags);
  capability.function_level_reset_ =
      PcieDeviceCapabilities::kFunctionLevelReset.Get(
          ReadRegister(config, kDeviceCapabilities.At(offset)));
  return capability;
}

bool PcieCapability::has_link() const {
  return port_type_ != PciePortType::kRootComplexIntegratedEndpoint &&
         port_type_ != PciePortType::kRootComplexEventCollector;
}

uint8_t PcieCapability::size() const {
  const bool port = port_type_ == PciePortType::kRootPort ||
                    port_type_ == PciePortType::kSwitchDownstreamPort;
  if (version_ == 1) {
    if (port_type_ == PciePortType::kRootPort ||
        port_type_ == PciePortType::kRootComplexEventCollector) {
      return kEndOfRoot;
    }
    if (!has_link()) return kEndOfDevice;
    return port && slot_implemented_ ? kEndOfSlot : kEndOfLink;
  }
  if (!has_link()) return kEndOfDevice2;
  return port ? kEndOfSlot2 : kEndOfLink2;
}

}  // namespace passthru::pci
