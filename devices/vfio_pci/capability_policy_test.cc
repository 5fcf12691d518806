// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/vfio_pci/capability_policy.h"

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/pci/capability_id.h"

namespace passthru::vfio_pci {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::HasSubstr;

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

TEST(CapabilityPolicyTest, OneRuleMoreLeavesTheOthers) {
  const CapabilityPolicy policy =
      CapabilityPolicy()
          .With(Id::kVitalProductData, CapabilityTreatment::kHide, "serial")
          .With(ExtendedId::kAddressTranslationServices,
                CapabilityTreatment::kPass, "virtual IOMMU");
  EXPECT_EQ(policy.For(Id::kVitalProductData).treatment,
            CapabilityTreatment::kHide);
  EXPECT_EQ(policy.For(Id::kVitalProductData).reason, "serial");
  EXPECT_EQ(policy.For(ExtendedId::kAddressTranslationServices).treatment,
            CapabilityTreatment::kPass);
  EXPECT_EQ(policy.For(Id::kMsix).treatment, CapabilityTreatment::kVirtualize);
  EXPECT_EQ(policy.For(ExtendedId::kSingleRootIov).treatment,
            CapabilityTreatment::kHide);
}

TEST(CapabilityPolicyTest, TheLastRuleOfAnIdCounts) {
  const CapabilityPolicy policy =
      CapabilityPolicy()
          .With(Id::kMsi, CapabilityTreatment::kVirtualize, "first")
          .With(Id::kMsi, CapabilityTreatment::kHide, "second");
  EXPECT_EQ(policy.For(Id::kMsi).treatment, CapabilityTreatment::kHide);
  EXPECT_EQ(policy.For(Id::kMsi).reason, "second");
}

// A guest that wrote MSI's or MSI-X's registers itself would get no interrupt.
TEST(CapabilityPolicyTest, InterruptsAreVirtualizedOrHiddenWhateverIsAsked) {
  for (const Id id : {Id::kMsi, Id::kMsix, Id::kPciExpress}) {
    EXPECT_EQ(CapabilityPolicy()
                  .With(id, CapabilityTreatment::kPass, "raw")
                  .For(id)
                  .treatment,
              CapabilityTreatment::kVirtualize);
    EXPECT_EQ(CapabilityPolicy()
                  .With(id, CapabilityTreatment::kHide, "none")
                  .For(id)
                  .treatment,
              CapabilityTreatment::kHide);
  }
}

TEST(CapabilityPolicyTest, WhatHasNoEmulationIsPassed) {
  EXPECT_EQ(
      CapabilityPolicy()
          .With(Id::kPowerManagement, CapabilityTreatment::kVirtualize, "wish")
          .For(Id::kPowerManagement)
          .treatment,
      CapabilityTreatment::kPass);
}

TEST(CapabilityPolicyTest, OnlyTheVmmsOwnRulesAreByTheVmm) {
  const CapabilityPolicy policy = CapabilityPolicy().With(
      Id::kVitalProductData, CapabilityTreatment::kHide, "serial numbers");
  EXPECT_TRUE(policy.For(Id::kVitalProductData).by_vmm);
  EXPECT_FALSE(policy.For(Id::kMsi).by_vmm);
  EXPECT_FALSE(policy.For(Id::kPowerManagement).by_vmm);
  EXPECT_THAT(policy.Check(), IsOk());
}

TEST(CapabilityPolicyTest, ARuleThatMakesNoSenseIsAnError) {
  EXPECT_THAT(CapabilityPolicy()
                  .With(static_cast<Id>(0), CapabilityTreatment::kHide, "it")
                  .Check(),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("capability 0, which stands for none")));
  EXPECT_THAT(CapabilityPolicy()
                  .With(pci::ExtendedCapabilityId::kVendorSpecific,
                        CapabilityTreatment::kHide, "")
                  .Check(),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("hides the extended capability 0xb")));
}

}  // namespace
}  // namespace passthru::vfio_pci
