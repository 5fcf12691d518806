// SPDX-License-Identifier: Apache-2.0
#include "passthru/pci/capability_id.h"

#include "absl/strings/string_view.h"

namespace passthru::pci {

absl::string_view Name(CapabilityId id) {
  switch (id) {
    case CapabilityId::kNull:
      return "Null";
    case CapabilityId::kPowerManagement:
      return "Power Management";
    case CapabilityId::kAgp:
      return "AGP";
    case CapabilityId::kVitalProductData:
      return "Vital Product Data";
    case CapabilityId::kSlotIdentification:
      return "Slot Identification";
    case CapabilityId::kMsi:
      return "MSI";
    case CapabilityId::kCompactPciHotSwap:
      return "CompactPCI Hot Swap";
    case CapabilityId::kPciX:
      return "PCI-X";
    case CapabilityId::kHyperTransport:
      return "HyperTransport";
    case CapabilityId::kVendorSpecific:
      return "Vendor Specific";
    case CapabilityId::kDebugPort:
      return "Debug Port";
    case CapabilityId::kCompactPciResourceControl:
      return "CompactPCI Resource Control";
    case CapabilityId::kHotPlug:
      return "Hot-Plug";
    case CapabilityId::kBridgeSubsystemId:
      return "Bridge Subsystem ID";
    case CapabilityId::kAgp8x:
      return "AGP 8x";
    case CapabilityId::kSecureDevice:
      return "Secure Device";
    case CapabilityId::kPciExpress:
      return "PCI Express";
    case CapabilityId::kMsix:
      return "MSI-X";
    case CapabilityId::kSata:
      return "SATA";
    case CapabilityId::kAdvancedFeatures:
      return "Advanced Features";
    case CapabilityId::kEnhancedAllocation:
      return "Enhanced Allocation";
    case CapabilityId::kFlatteningPortalBridge:
      return "Flattening Portal Bridge";
  }
  return "Unknown";
}

absl::string_view Name(ExtendedCapabilityId id) {
  switch (id) {
    case ExtendedCapabilityId::kNull:
      return "Null";
    case ExtendedCapabilityId::kAdvancedErrorReporting:
      return "Advanced Error Reporting";
    case ExtendedCapabilityId::kVirtualChannel:
    case ExtendedCapabilityId::kVirtualChannelWithMfvc:
      return "Virtual Channel";
    case ExtendedCapabilityId::kDeviceSerialNumber:
      return "Device Serial Number";
    case ExtendedCapabilityId::kPowerBudgeting:
      return "Power Budgeting";
    case ExtendedCapabilityId::kRootComplexLinkDeclaration:
      return "Root Complex Link Declaration";
    case ExtendedCapabilityId::kRootComplexInternalLinkControl:
      return "Root Complex Internal Link Control";
    case ExtendedCapabilityId::kRootComplexEventCollector:
      return "Root Complex Event Collector";
    case ExtendedCapabilityId::kMultiFunctionVirtualChannel:
      return "Multi-Function Virtual Channel";
    case ExtendedCapabilityId::kRootComplexRegisterBlock:
      return "Root Complex Register Block";
    case ExtendedCapabilityId::kVendorSpecific:
      return "Vendor Specific";
    case ExtendedCapabilityId::kConfigurationAccessCorrelation:
      return "Configuration Access Correlation";
    case ExtendedCapabilityId::kAccessControlServices:
      return "Access Control Services";
    case ExtendedCapabilityId::kAlternativeRoutingId:
      return "Alternative Routing-ID";
    case ExtendedCapabilityId::kAddressTranslationServices:
      return "Address Translation Services";
    case ExtendedCapabilityId::kSingleRootIov:
      return "SR-IOV";
    case ExtendedCapabilityId::kMultiRootIov:
      return "MR-IOV";
    case ExtendedCapabilityId::kMulticast:
      return "Multicast";
    case ExtendedCapabilityId::kPageRequest:
      return "Page Request";
    case ExtendedCapabilityId::kAmdReserved:
      return "Reserved for AMD";
    case ExtendedCapabilityId::kResizableBar:
      return "Resizable BAR";
    case ExtendedCapabilityId::kDynamicPowerAllocation:
      return "Dynamic Power Allocation";
    case ExtendedCapabilityId::kTphRequester:
      return "TPH Requester";
    case ExtendedCapabilityId::kLatencyToleranceReporting:
      return "Latency Tolerance Reporting";
    case ExtendedCapabilityId::kSecondaryPciExpress:
      return "Secondary PCI Express";
    case ExtendedCapabilityId::kProtocolMultiplexing:
      return "Protocol Multiplexing";
    case ExtendedCapabilityId::kProcessAddressSpaceId:
      return "PASID";
    case ExtendedCapabilityId::kLightweightNotification:
      return "Lightweight Notification";
    case ExtendedCapabilityId::kDownstreamPortContainment:
      return "Downstream Port Containment";
    case ExtendedCapabilityId::kL1PmSubstates:
      return "L1 PM Substates";
    case ExtendedCapabilityId::kPrecisionTimeMeasurement:
      return "Precision Time Measurement";
    case ExtendedCapabilityId::kMPcie:
      return "M-PCIe";
    case ExtendedCapabilityId::kFrsQueueing:
      return "FRS Queueing";
    case ExtendedCapabilityId::kReadinessTimeReporting:
      return "Readiness Time Reporting";
    case ExtendedCapabilityId::kDesignatedVendorSpecific:
      return "Designated Vendor Specific";
    case ExtendedCapabilityId::kVfResizableBar:
      return "VF Resizable BAR";
    case ExtendedCapabilityId::kDataLinkFeature:
      return "Data Link Feature";
    case ExtendedCapabilityId::kPhysicalLayer16:
      return "Physical Layer 16.0 GT/s";
    case ExtendedCapabilityId::kLaneMargining:
      return "Lane Margining";
    case ExtendedCapabilityId::kHierarchyId:
      return "Hierarchy ID";
    case ExtendedCapabilityId::kNativePcieEnclosureManagement:
      return "Native PCIe Enclosure Management";
    case ExtendedCapabilityId::kPhysicalLayer32:
      return "Physical Layer 32.0 GT/s";
    case ExtendedCapabilityId::kAlternateProtocol:
      return "Alternate Protocol";
    case ExtendedCapabilityId::kSystemFirmwareIntermediary:
      return "System Firmware Intermediary";
    case ExtendedCapabilityId::kShadowFunctions:
      return "Shadow Functions";
    case ExtendedCapabilityId::kDataObjectExchange:
      return "Data Object Exchange";
    case ExtendedCapabilityId::kDevice3:
      return "Device 3";
    case ExtendedCapabilityId::kIntegrityAndDataEncryption:
      return "Integrity and Data Encryption";
    case ExtendedCapabilityId::kPhysicalLayer64:
      return "Physical Layer 64.0 GT/s";
    case ExtendedCapabilityId::kFlitLogging:
      return "Flit Logging";
    case ExtendedCapabilityId::kFlitPerformanceMeasurement:
      return "Flit Performance Measurement";
    case ExtendedCapabilityId::kFlitErrorInjection:
      return "Flit Error Injection";
  }
  return "Unknown";
}

}  // namespace passthru::pci
