// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/vfio_pci/capability_policy.h"

#include <cstddef>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_format.h"
#include "passthru/pci/capability_id.h"

namespace passthru::vfio_pci {
namespace {

using Id = pci::CapabilityId;
using ExtendedId = pci::ExtendedCapabilityId;
constexpr auto kHide = CapabilityTreatment::kHide;
constexpr auto kVirtualize = CapabilityTreatment::kVirtualize;

constexpr std::string_view kSlotIsHosts = "the slot is the host's";
constexpr std::string_view kLinkIsHosts = "the link is the host's";
constexpr std::string_view kNoVirtualIommu =
    "there is no virtual IOMMU to serve it";
constexpr std::string_view kIsolationIsHosts = "isolation is the host's";

constexpr CapabilityRule<Id> kStandardRules[] = {
    {Id::kMsi, kVirtualize, "the VMM injects its interrupts"},
    {Id::kMsix, kVirtualize, "the VMM injects its interrupts"},
    {Id::kPciExpress, kVirtualize, "the guest's topology is not the host's"},
    {Id::kAgp, kHide, kSlotIsHosts},
    {Id::kAgp8x, kHide, kSlotIsHosts},
    {Id::kSlotIdentification, kHide, kSlotIsHosts},
    {Id::kCompactPciHotSwap, kHide, kSlotIsHosts},
    {Id::kCompactPciResourceControl, kHide, kSlotIsHosts},
    {Id::kHotPlug, kHide, kSlotIsHosts},
    {Id::kHyperTransport, kHide, kLinkIsHosts},
    {Id::kSecureDevice, kHide, kNoVirtualIommu},
    {Id::kDebugPort, kHide, "its BAR and offset are the host's to use"},
    {Id::kEnhancedAllocation, kHide, "resources are placed by BARs only"},
    {Id::kFlatteningPortalBridge, kHide, "bus numbers are the host's"},
};

constexpr CapabilityRule<ExtendedId> kExtendedRules[] = {
    {ExtendedId::kSingleRootIov, kHide, "virtual functions are the host's"},
    {ExtendedId::kMultiRootIov, kHide, "virtual functions are the host's"},
    {ExtendedId::kAlternativeRoutingId, kHide,
     "function numbers in the guest are not the host's"},
    {ExtendedId::kResizableBar, kHide, "a BAR keeps the size it has"},
    {ExtendedId::kVfResizableBar, kHide, "virtual functions are the host's"},
    {ExtendedId::kAddressTranslationServices, kHide, kNoVirtualIommu},
    {ExtendedId::kPageRequest, kHide, kNoVirtualIommu},
    {ExtendedId::kProcessAddressSpaceId, kHide, kNoVirtualIommu},
    {ExtendedId::kAccessControlServices, kHide, kIsolationIsHosts},
    {ExtendedId::kMulticast, kHide, kIsolationIsHosts},
    {ExtendedId::kDataObjectExchange, kHide, kIsolationIsHosts},
    {ExtendedId::kIntegrityAndDataEncryption, kHide, kIsolationIsHosts},
    {ExtendedId::kTphRequester, kHide, "steering tags name host CPUs"},
    {ExtendedId::kRootComplexLinkDeclaration, kHide, kLinkIsHosts},
    {ExtendedId::kRootComplexInternalLinkControl, kHide, kLinkIsHosts},
    {ExtendedId::kRootComplexEventCollector, kHide, kLinkIsHosts},
    {ExtendedId::kRootComplexRegisterBlock, kHide, kLinkIsHosts},
    {ExtendedId::kConfigurationAccessCorrelation, kHide, kLinkIsHosts},
    {ExtendedId::kVirtualChannel, kHide, kLinkIsHosts},
    {ExtendedId::kVirtualChannelWithMfvc, kHide, kLinkIsHosts},
    {ExtendedId::kMultiFunctionVirtualChannel, kHide, kLinkIsHosts},
    {ExtendedId::kLatencyToleranceReporting, kHide, kLinkIsHosts},
    {ExtendedId::kSecondaryPciExpress, kHide, kLinkIsHosts},
    {ExtendedId::kProtocolMultiplexing, kHide, kLinkIsHosts},
    {ExtendedId::kDownstreamPortContainment, kHide, kLinkIsHosts},
    {ExtendedId::kL1PmSubstates, kHide, kLinkIsHosts},
    {ExtendedId::kPrecisionTimeMeasurement, kHide, kLinkIsHosts},
    {ExtendedId::kFrsQueueing, kHide, kLinkIsHosts},
    {ExtendedId::kDataLinkFeature, kHide, kLinkIsHosts},
    {ExtendedId::kPhysicalLayer16, kHide, kLinkIsHosts},
    {ExtendedId::kPhysicalLayer32, kHide, kLinkIsHosts},
    {ExtendedId::kPhysicalLayer64, kHide, kLinkIsHosts},
    {ExtendedId::kLaneMargining, kHide, kLinkIsHosts},
    {ExtendedId::kAlternateProtocol, kHide, kLinkIsHosts},
    {ExtendedId::kFlitLogging, kHide, kLinkIsHosts},
    {ExtendedId::kFlitPerformanceMeasurement, kHide, kLinkIsHosts},
    {ExtendedId::kFlitErrorInjection, kHide, kLinkIsHosts},
    {ExtendedId::kHierarchyId, kHide, kSlotIsHosts},
    {ExtendedId::kNativePcieEnclosureManagement, kHide, kSlotIsHosts},
    {ExtendedId::kSystemFirmwareIntermediary, kHide, kSlotIsHosts},
    {ExtendedId::kShadowFunctions, kHide,
     "function numbers in the guest are not the host's"},
};

// The later rules of `own` come first, and all of them before ours.
template <typename AnyId, size_t kCount>
CapabilityPolicy::Decision Find(const std::vector<CapabilityRule<AnyId>>& own,
                                const CapabilityRule<AnyId> (&ours)[kCount],
                                AnyId id) {
  for (auto rule = own.rbegin(); rule != own.rend(); ++rule) {
    if (rule->id == id) {
      return {rule->treatment, rule->reason, /*by_vmm=*/true};
    }
  }
  for (const CapabilityRule<AnyId>& rule : ours) {
    if (rule.id == id) return {rule.treatment, rule.reason};
  }
  return {};
}

bool IsEmulated(Id id) {
  return id == Id::kMsi || id == Id::kMsix || id == Id::kPciExpress;
}

bool IsEmulated(ExtendedId) { return false; }

// Makes a rule that cannot be carried out into the nearest one that can.
template <typename AnyId>
CapabilityTreatment Feasible(AnyId id, CapabilityTreatment treatment) {
  if (treatment == kHide) return kHide;
  return IsEmulated(id) ? kVirtualize : CapabilityTreatment::kPass;
}

template <typename AnyId>
absl::Status CheckRules(const std::vector<CapabilityRule<AnyId>>& own,
                        std::string_view list) {
  for (const CapabilityRule<AnyId>& rule : own) {
    if (rule.id == AnyId::kNull) {
      return absl::InvalidArgumentError(absl::StrFormat(
          "a rule of the capability policy is for the %s capability 0, which "
          "stands for none",
          list));
    }
    if (rule.treatment == kHide && rule.reason.empty()) {
      return absl::InvalidArgumentError(absl::StrFormat(
          "a rule of the capability policy hides the %s capability 0x%x (%s) "
          "without a reason. Give it one, for the device's report",
          list, static_cast<unsigned>(rule.id), pci::Name(rule.id)));
    }
  }
  return absl::OkStatus();
}

}  // namespace

std::string_view Name(CapabilityTreatment treatment) {
  switch (treatment) {
    case CapabilityTreatment::kPass:
      return "passed";
    case CapabilityTreatment::kHide:
      return "hidden";
    case CapabilityTreatment::kVirtualize:
      return "virtualized";
  }
  return "?";
}

CapabilityPolicy CapabilityPolicy::With(pci::CapabilityId id,
                                        CapabilityTreatment treatment,
                                        std::string_view reason) const {
  CapabilityPolicy result = *this;
  result.standard_.push_back({id, Feasible(id, treatment), reason});
  return result;
}

CapabilityPolicy CapabilityPolicy::With(pci::ExtendedCapabilityId id,
                                        CapabilityTreatment treatment,
                                        std::string_view reason) const {
  CapabilityPolicy result = *this;
  result.extended_.push_back({id, Feasible(id, treatment), reason});
  return result;
}

CapabilityPolicy CapabilityPolicy::WithUnlistedReadOnly() const {
  CapabilityPolicy result = *this;
  result.unlisted_read_only_ = true;
  return result;
}

absl::Status CapabilityPolicy::Check() const {
  absl::Status status = CheckRules(standard_, "standard");
  status.Update(CheckRules(extended_, "extended"));
  return status;
}

CapabilityPolicy::Decision CapabilityPolicy::For(pci::CapabilityId id) const {
  return Find(standard_, kStandardRules, id);
}

CapabilityPolicy::Decision CapabilityPolicy::For(
    pci::ExtendedCapabilityId id) const {
  return Find(extended_, kExtendedRules, id);
}

}  // namespace passthru::vfio_pci
