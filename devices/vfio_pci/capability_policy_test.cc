// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/vfio_pci/capability_policy.h"

#include "gtest/gtest.h"

namespace passthru::vfio_pci {
namespace {

using Id = pci::CapabilityId;
using ExtendedId = pci::ExtendedCapabilityId;

TEST(CapabilityPolicyTest, HidesWhatBelongsToTheHost) {
  const CapabilityPolicy policy;
  for (const ExtendedId id :
       {ExtendedId::kSingleRootIov, ExtendedId::kAlternativeRoutingId,
        ExtendedId::kResizableBar, ExtendedId::kAddressTranslationServices,
        ExtendedId::kPageRequest, ExtendedId::kProcessAddressSpaceId,
        ExtendedId::kAccessControlServices}) {
    EXPECT_EQ(policy.For(id).treatment, CapabilityTreatment::kHide)
        << pci::Name(id);
    EXPECT_NE(policy.For(id).reason, "") << pci::Name(id);
  }
}

TEST(CapabilityPolicyTest, VirtualizesInterrupts) {
  const CapabilityPolicy policy;
  EXPECT_EQ(policy.For(Id::kMsi).treatment, CapabilityTreatment::kVirtualize);
  EXPECT_EQ(policy.For(Id::kMsix).treatment, CapabilityTreatment::kVirtualize);
}

TEST(CapabilityPolicyTest, PassesWhatNoRuleNames) {
  const CapabilityPolicy policy;
  EXPECT_EQ(policy.For(Id::kPowerManagement).treatment,
            CapabilityTreatment::kPass);
  EXPECT_EQ(policy.For(ExtendedId::kDeviceSerialNumber).treatment,
            CapabilityTreatment::kPass);
  EXPECT_EQ(policy.For(static_cast<Id>(0xee)).treatment,
            CapabilityTreatment::kPass);
}

TEST(CapabilityPolicyTest, TheFirstRuleOfAnIdCounts) {
  static constexpr CapabilityRule<Id> kRules[] = {
      {Id::kMsi, CapabilityTreatment::kHide, "first"},
      {Id::kMsi, CapabilityTreatment::kPass, "second"}};
  EXPECT_EQ(CapabilityPolicy(kRules, {}).For(Id::kMsi).reason, "first");
}

}  // namespace
}  // namespace passthru::vfio_pci
