// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_PCI_CAPABILITY_ID_H_
#define PASSTHRU_PCI_CAPABILITY_ID_H_

#include <cstdint>

#include "absl/strings/string_view.h"

namespace passthru::pci {

// Capability IDs (PCI Code and ID Assignment Specification 1.15, section 2).
enum class CapabilityId : uint8_t {
  kNull = 0x00,
  kPowerManagement = 0x01,
  kAgp = 0x02,
  kVitalProductData = 0x03,
  kSlotIdentification = 0x04,
  kMsi = 0x05,
  kCompactPciHotSwap = 0x06,
  kPciX = 0x07,
  kHyperTransport = 0x08,
  kVendorSpecific = 0x09,
  kDebugPort = 0x0a,
  kCompactPciResourceControl = 0x0b,
  kHotPlug = 0x0c,
  kBridgeSubsystemId = 0x0d,
  kAgp8x = 0x0e,
  kSecureDevice = 0x0f,
  kPciExpress = 0x10,
  kMsix = 0x11,
  kSata = 0x12,
  kAdvancedFeatures = 0x13,
  kEnhancedAllocation = 0x14,
  kFlatteningPortalBridge = 0x15,
};

// Extended Capability IDs (same document, section 3).
enum class ExtendedCapabilityId : uint16_t {
  kNull = 0x0000,
  kAdvancedErrorReporting = 0x0001,
  kVirtualChannel = 0x0002,
  kDeviceSerialNumber = 0x0003,
  kPowerBudgeting = 0x0004,
  kRootComplexLinkDeclaration = 0x0005,
  kRootComplexInternalLinkControl = 0x0006,
  kRootComplexEventCollector = 0x0007,
  kMultiFunctionVirtualChannel = 0x0008,
  kVirtualChannelWithMfvc = 0x0009,
  kRootComplexRegisterBlock = 0x000a,
  kVendorSpecific = 0x000b,
  kConfigurationAccessCorrelation = 0x000c,
  kAccessControlServices = 0x000d,
  kAlternativeRoutingId = 0x000e,
  kAddressTranslationServices = 0x000f,
  kSingleRootIov = 0x0010,
  kMultiRootIov = 0x0011,
  kMulticast = 0x0012,
  kPageRequest = 0x0013,
  kAmdReserved = 0x0014,
  kResizableBar = 0x0015,
  kDynamicPowerAllocation = 0x0016,
  kTphRequester = 0x0017,
  kLatencyToleranceReporting = 0x0018,
  kSecondaryPciExpress = 0x0019,
  kProtocolMultiplexing = 0x001a,
  kProcessAddressSpaceId = 0x001b,
  kLightweightNotification = 0x001c,
  kDownstreamPortContainment = 0x001d,
  kL1PmSubstates = 0x001e,
  kPrecisionTimeMeasurement = 0x001f,
  kMPcie = 0x0020,
  kFrsQueueing = 0x0021,
  kReadinessTimeReporting = 0x0022,
  kDesignatedVendorSpecific = 0x0023,
  kVfResizableBar = 0x0024,
  kDataLinkFeature = 0x0025,
  kPhysicalLayer16 = 0x0026,
  kLaneMargining = 0x0027,
  kHierarchyId = 0x0028,
  kNativePcieEnclosureManagement = 0x0029,
  kPhysicalLayer32 = 0x002a,
  kAlternateProtocol = 0x002b,
  kSystemFirmwareIntermediary = 0x002c,
  kShadowFunctions = 0x002d,
  kDataObjectExchange = 0x002e,
  kDevice3 = 0x002f,
  kIntegrityAndDataEncryption = 0x0030,
  kPhysicalLayer64 = 0x0031,
  kFlitLogging = 0x0032,
  kFlitPerformanceMeasurement = 0x0033,
  kFlitErrorInjection = 0x0034,
};

// Returns the usual name, for example "MSI-X", or "Unknown" for an ID that is
// not listed above. A device may hold any ID.
absl::string_view Name(CapabilityId id);
absl::string_view Name(ExtendedCapabilityId id);

}  // namespace passthru::pci

#endif  // PASSTHRU_PCI_CAPABILITY_ID_H_
