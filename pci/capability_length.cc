// SPDX-License-Identifier: Apache-2.0
#include "passthru/pci/capability_length.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "passthru/pci/advanced_features.h"
#include "passthru/pci/capabilities.h"
#include "passthru/pci/capability_id.h"
#include "passthru/pci/config_reg.h"
#include "passthru/pci/little_endian.h"
#include "passthru/pci/msi_capability.h"
#include "passthru/pci/msix_capability.h"
#include "passthru/pci/pcie_capability.h"
#include "passthru/pci/power_management.h"
#include "passthru/pci/registers.h"

namespace passthru::pci {
namespace {

using Length = std::optional<uint16_t>;

// Reads a register of the capability. Returns std::nullopt if the image ends
// before it.
template <typename T>
std::optional<T> ReadAt(absl::Span<const uint8_t> config, size_t offset) {
  if (offset + sizeof(T) > config.size()) return std::nullopt;
  return LoadLittleEndian<T>(config, offset);
}

// Returns a length that the capability itself declares, unless it is shorter
// than the capability's own header.
Length Declared(uint32_t length, uint32_t smallest) {
  if (length < smallest) return std::nullopt;
  return static_cast<uint16_t>(length);
}

Length MsiLength(absl::Span<const uint8_t> config, size_t offset) {
  const auto control =
      ReadAt<uint16_t>(config, offset + MsiCapability::kControl.offset);
  if (!control.has_value()) return std::nullopt;
  return MsiCapability::SizeOf(MsiControl{.raw = *control});
}

// PCI-X 2.0a 7.2. Version 0 has Command and Status, and the others also have
// ECC registers. The second word is Command in a type 0 header.
Length PciXLength(absl::Span<const uint8_t> config, size_t offset) {
  const auto command = ReadAt<uint16_t>(config, offset + 2);
  if (!command.has_value()) return std::nullopt;
  return ((*command >> 12) & 3) != 0 ? 24 : 8;
}

// Uses the lengths of Linux, which are HT_CAP_SIZEOF_LONG for a slave
// interface, whose capability type is 000b, and HT_CAP_SIZEOF_SHORT for all
// others.
Length HyperTransportLength(absl::Span<const uint8_t> config, size_t offset) {
  const auto type = ReadAt<uint8_t>(config, offset + 3);
  if (!type.has_value()) return std::nullopt;
  return (*type & 0xe0) == 0 ? 28 : 24;
}

// PCI 3.0 appendix H. The byte after the pointer is the length.
Length VendorSpecificLength(absl::Span<const uint8_t> config, size_t offset) {
  const auto length = ReadAt<uint8_t>(config, offset + 2);
  if (!length.has_value()) return std::nullopt;
  return Declared(*length, 3);
}

Length PcieLength(absl::Span<const uint8_t> config, uint8_t offset) {
  const absl::StatusOr<PcieCapability> pcie =
      PcieCapability::Parse(config, offset);
  if (!pcie.ok()) return std::nullopt;
  return pcie->size();
}

// Serial ATA AHCI 1.3 2.3. Two more registers follow if the index and data pair
// is inline (SATACR1 bits 3:0 all ones).
Length SataLength(absl::Span<const uint8_t> config, size_t offset) {
  const auto location = ReadAt<uint8_t>(config, offset + 4);
  if (!location.has_value()) return std::nullopt;
  return (*location & 0xf) == 0xf ? 16 : 8;
}

// PCIe 6.0 7.8.5. After a header, which is two double words in a bridge, come
// entries that each declare how many double words follow their first.
Length EnhancedAllocationLength(absl::Span<const uint8_t> config,
                                size_t offset) {
  const auto entries = ReadAt<uint8_t>(config, offset + 2);
  if (!entries.has_value()) return std::nullopt;
  const bool bridge = HeaderType::kLayout.Get(ReadRegister(
                          config, kHeaderType)) == HeaderType::kLayoutBridge;
  size_t length = bridge ? 8 : 4;
  for (unsigned i = 0; i < (*entries & 0x3fu); ++i) {
    const auto entry = ReadAt<uint32_t>(config, offset + length);
    if (!entry.has_value()) return std::nullopt;
    length += size_t{4} * ((*entry & 7) + 1);
  }
  return static_cast<uint16_t>(length);
}

// PCIe 6.0 7.9.1. After a block for each virtual channel comes the VC
// arbitration table, which has 32, 64 or 128 phases of four bits. Port
// arbitration tables belong to switches and root complexes and are not counted.
Length VirtualChannelLength(absl::Span<const uint8_t> config, size_t offset) {
  const auto capability1 = ReadAt<uint32_t>(config, offset + 4);
  const auto capability2 = ReadAt<uint32_t>(config, offset + 8);
  if (!capability1.has_value() || !capability2.has_value()) {
    return std::nullopt;
  }
  const uint32_t extended_channels = *capability1 & 7;
  uint32_t phases = 0;
  if ((*capability2 & 8) != 0) {
    phases = 128;
  } else if ((*capability2 & 4) != 0) {
    phases = 64;
  } else if ((*capability2 & 2) != 0) {
    phases = 32;
  }
  uint32_t length = 0x10 + (1 + extended_channels) * 0xc;
  // The table starts at a multiple of 16 bytes.
  if (phases != 0) length = (length + 15) / 16 * 16 + phases / 2;
  return static_cast<uint16_t>(length);
}

// PCIe 6.0 7.7.11.2. The Egress Control Vector exists if capability bit 5 is
// set. It has one bit for each port, in whole double words, and a count of 0
// stands for 256.
Length AccessControlLength(absl::Span<const uint8_t> config, size_t offset) {
  const auto capability = ReadAt<uint16_t>(config, offset + 4);
  if (!capability.has_value()) return std::nullopt;
  if ((*capability & 0x20) == 0) return 8;
  const uint32_t count = *capability >> 8;
  const uint32_t bits = count == 0 ? 256 : (count + 31) / 32 * 32;
  return static_cast<uint16_t>(8 + bits / 8);
}

// PCIe 6.0 7.8.6. Bits 7:5 of the first Resizable BAR Control register count
// the BARs, each of which has a capability and a control register.
Length ResizableBarLength(absl::Span<const uint8_t> config, size_t offset) {
  const auto control = ReadAt<uint32_t>(config, offset + 8);
  if (!control.has_value()) return std::nullopt;
  return static_cast<uint16_t>(4 + 8 * ((*control >> 5) & 7));
}

// PCIe 5.0 7.9.12.2. One byte for each substate, 0 to Substate_Max.
Length DynamicPowerLength(absl::Span<const uint8_t> config, size_t offset) {
  const auto capability = ReadAt<uint32_t>(config, offset + 4);
  if (!capability.has_value()) return std::nullopt;
  return static_cast<uint16_t>(0x10 + (*capability & 0x1f) + 1);
}

// PCIe 6.0 7.9.13.2. The capability contains the steering tag table, whose size
// is encoded as N-1, only if the location field, bits 10:9, is 1.
Length TphLength(absl::Span<const uint8_t> config, size_t offset) {
  const auto capability = ReadAt<uint32_t>(config, offset + 4);
  if (!capability.has_value()) return std::nullopt;
  if (((*capability >> 9) & 3) != 1) return 12;
  const uint32_t entries = ((*capability >> 16) & 0x7ff) + 1;
  return static_cast<uint16_t>(12 + 2 * entries);
}

// PCIe 6.0 7.9.14. Root port extensions (bit 5) add registers and a log, whose
// length in double words is in bits 11:8.
Length DownstreamContainmentLength(absl::Span<const uint8_t> config,
                                   size_t offset) {
  const auto capability = ReadAt<uint16_t>(config, offset + 4);
  if (!capability.has_value()) return std::nullopt;
  if ((*capability & 0x20) == 0) return 0x0c;
  return static_cast<uint16_t>(0x20 + 4 * ((*capability >> 8) & 0xf));
}

// PCIe 6.0 7.9.3. The Element Self Description counts the link entries.
Length LinkDeclarationLength(absl::Span<const uint8_t> config, size_t offset) {
  const auto entries = ReadAt<uint8_t>(config, offset + 5);
  if (!entries.has_value()) return std::nullopt;
  return static_cast<uint16_t>(0x10 + 0x10 * *entries);
}

// PCIe 6.0 7.9.5.2 (VSEC) and 7.9.6.2 (DVSEC). The length is in bits 31:20 of
// the header that follows the common one.
Length DeclaredInBits31To20(absl::Span<const uint8_t> config, size_t offset,
                            uint32_t smallest) {
  const auto header = ReadAt<uint32_t>(config, offset + 4);
  if (!header.has_value()) return std::nullopt;
  return Declared(*header >> 20, smallest);
}

}  // namespace

std::optional<uint16_t> StandardCapabilityLength(
    absl::Span<const uint8_t> config, const Capability& capability) {
  config = config.first(std::min<size_t>(config.size(), kConfigSpaceSize));
  const uint8_t offset = capability.offset;
  switch (capability.id) {
    case CapabilityId::kNull:
      return 2;
    case CapabilityId::kPowerManagement:
      return PowerManagementCapability::kSize;
    case CapabilityId::kAgp:
      return 12;
    case CapabilityId::kVitalProductData:
    case CapabilityId::kHotPlug:
    case CapabilityId::kBridgeSubsystemId:
      return 8;
    case CapabilityId::kSlotIdentification:
    case CapabilityId::kCompactPciHotSwap:
    case CapabilityId::kDebugPort:
      return 4;
    case CapabilityId::kMsi:
      return MsiLength(config, offset);
    case CapabilityId::kPciX:
      return PciXLength(config, offset);
    case CapabilityId::kHyperTransport:
      return HyperTransportLength(config, offset);
    case CapabilityId::kVendorSpecific:
      return VendorSpecificLength(config, offset);
    case CapabilityId::kPciExpress:
      return PcieLength(config, offset);
    case CapabilityId::kMsix:
      return MsixCapability::kSize;
    case CapabilityId::kSata:
      return SataLength(config, offset);
    case CapabilityId::kAdvancedFeatures:
      return AfCapability::kSize;
    case CapabilityId::kEnhancedAllocation:
      return EnhancedAllocationLength(config, offset);
    case CapabilityId::kCompactPciResourceControl:
    case CapabilityId::kAgp8x:
    case CapabilityId::kSecureDevice:
    case CapabilityId::kFlatteningPortalBridge:
      break;
  }
  return std::nullopt;
}

std::optional<uint16_t> ExtendedCapabilityLength(
    absl::Span<const uint8_t> config, const ExtendedCapability& capability) {
  const uint16_t offset = capability.offset;
  switch (capability.id) {
    case ExtendedCapabilityId::kNull:
      return 4;
    case ExtendedCapabilityId::kAdvancedErrorReporting:
      // Up to the header log. The registers after it are for root ports and TLP
      // prefixes.
      return 0x2c;
    case ExtendedCapabilityId::kVirtualChannel:
    case ExtendedCapabilityId::kVirtualChannelWithMfvc:
    case ExtendedCapabilityId::kMultiFunctionVirtualChannel:
      return VirtualChannelLength(config, offset);
    case ExtendedCapabilityId::kDeviceSerialNumber:
    case ExtendedCapabilityId::kRootComplexInternalLinkControl:
    case ExtendedCapabilityId::kPrecisionTimeMeasurement:
    case ExtendedCapabilityId::kReadinessTimeReporting:
    case ExtendedCapabilityId::kDataLinkFeature:
      return 12;
    case ExtendedCapabilityId::kPowerBudgeting:
    case ExtendedCapabilityId::kPageRequest:
    case ExtendedCapabilityId::kFrsQueueing:
    case ExtendedCapabilityId::kRootComplexRegisterBlock:
    case ExtendedCapabilityId::kDevice3:
      return 16;
    case ExtendedCapabilityId::kRootComplexLinkDeclaration:
      return LinkDeclarationLength(config, offset);
    case ExtendedCapabilityId::kRootComplexEventCollector:
      // Version 2 adds the associated bus numbers.
      return capability.version >= 2 ? 12 : 8;
    case ExtendedCapabilityId::kVendorSpecific:
      return DeclaredInBits31To20(config, offset, 8);
    case ExtendedCapabilityId::kDesignatedVendorSpecific:
      return DeclaredInBits31To20(config, offset, 10);
    case ExtendedCapabilityId::kAccessControlServices:
      return AccessControlLength(config, offset);
    case ExtendedCapabilityId::kAlternativeRoutingId:
    case ExtendedCapabilityId::kAddressTranslationServices:
    case ExtendedCapabilityId::kLatencyToleranceReporting:
    case ExtendedCapabilityId::kProcessAddressSpaceId:
    case ExtendedCapabilityId::kLightweightNotification:
      return 8;
    case ExtendedCapabilityId::kSingleRootIov:
      return 64;
    case ExtendedCapabilityId::kMulticast:
      return 40;
    case ExtendedCapabilityId::kResizableBar:
    case ExtendedCapabilityId::kVfResizableBar:
      return ResizableBarLength(config, offset);
    case ExtendedCapabilityId::kDynamicPowerAllocation:
      return DynamicPowerLength(config, offset);
    case ExtendedCapabilityId::kTphRequester:
      return TphLength(config, offset);
    case ExtendedCapabilityId::kDownstreamPortContainment:
      return DownstreamContainmentLength(config, offset);
    case ExtendedCapabilityId::kL1PmSubstates:
      // Version 2 adds a status register.
      return capability.version >= 2 ? 0x14 : 0x10;
    case ExtendedCapabilityId::kDataObjectExchange:
      return 24;
    // The length depends on the number of lanes, of memory windows and so on,
    // which only other capabilities declare, or no register at all.
    case ExtendedCapabilityId::kConfigurationAccessCorrelation:
    case ExtendedCapabilityId::kMultiRootIov:
    case ExtendedCapabilityId::kAmdReserved:
    case ExtendedCapabilityId::kSecondaryPciExpress:
    case ExtendedCapabilityId::kProtocolMultiplexing:
    case ExtendedCapabilityId::kMPcie:
    case ExtendedCapabilityId::kPhysicalLayer16:
    case ExtendedCapabilityId::kLaneMargining:
    case ExtendedCapabilityId::kHierarchyId:
    case ExtendedCapabilityId::kNativePcieEnclosureManagement:
    case ExtendedCapabilityId::kPhysicalLayer32:
    case ExtendedCapabilityId::kAlternateProtocol:
    case ExtendedCapabilityId::kSystemFirmwareIntermediary:
    case ExtendedCapabilityId::kShadowFunctions:
    case ExtendedCapabilityId::kIntegrityAndDataEncryption:
    case ExtendedCapabilityId::kPhysicalLayer64:
    case ExtendedCapabilityId::kFlitLogging:
    case ExtendedCapabilityId::kFlitPerformanceMeasurement:
    case ExtendedCapabilityId::kFlitErrorInjection:
      break;
  }
  return std::nullopt;
}

}  // namespace passthru::pci
