// SPDX-License-Identifier: Apache-2.0
#include "passthru/pci/capability_id.h"

#include <cstdint>

#include "gtest/gtest.h"

namespace passthru::pci {
namespace {

TEST(CapabilityIdTest, EveryAssignedIdHasAName) {
  for (unsigned id = 0; id <= 0x15; ++id) {
    EXPECT_NE(Name(static_cast<CapabilityId>(id)), "Unknown") << id;
  }
}

TEST(CapabilityIdTest, OthersAreUnknown) {
  EXPECT_EQ(Name(static_cast<CapabilityId>(0x16)), "Unknown");
  EXPECT_EQ(Name(static_cast<CapabilityId>(0xff)), "Unknown");
}

TEST(CapabilityIdTest, NamesAreTheFieldsOwn) {
  EXPECT_EQ(Name(static_cast<CapabilityId>(0x05)), "MSI");
  EXPECT_EQ(Name(static_cast<CapabilityId>(0x10)), "PCI Express");
  EXPECT_EQ(Name(static_cast<CapabilityId>(0x11)), "MSI-X");
}

TEST(ExtendedCapabilityIdTest, EveryAssignedIdHasAName) {
  for (unsigned id = 0; id <= 0x34; ++id) {
    EXPECT_NE(Name(static_cast<ExtendedCapabilityId>(id)), "Unknown") << id;
  }
}

TEST(ExtendedCapabilityIdTest, OthersAreUnknown) {
  EXPECT_EQ(Name(static_cast<ExtendedCapabilityId>(0x35)), "Unknown");
  EXPECT_EQ(Name(static_cast<ExtendedCapabilityId>(0xffff)), "Unknown");
}

TEST(ExtendedCapabilityIdTest, NamesAreTheFieldsOwn) {
  EXPECT_EQ(Name(static_cast<ExtendedCapabilityId>(0x0001)),
            "Advanced Error Reporting");
  EXPECT_EQ(Name(static_cast<ExtendedCapabilityId>(0x0010)), "SR-IOV");
  EXPECT_EQ(Name(static_cast<ExtendedCapabilityId>(0x001b)), "PASID");
}

}  // namespace
}  // namespace passthru::pci
