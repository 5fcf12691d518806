// SPDX-License-Identifier: Apache-2.0
#include "passthru/pci/pcie_capability.h"

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/pci/config_image.h"

namespace passthru::pci {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::HasSubstr;

constexpr uint8_t kPcieOffset = 0x80;
constexpr uint16_t kSlot = 0x0100;

ConfigImage PcieImage(uint16_t flags, uint32_t device_capabilities = 0) {
  ConfigImage image;
  image.AddCapability(kPcieOffset, 0x10)
      .Set16(kPcieOffset + 2, flags)
      .Set32(kPcieOffset + 4, device_capabilities);
  return image;
}

TEST(PcieCapabilityTest, ParsesACapturedEndpoint) {
  const auto pcie = PcieCapability::Parse(CapturedNvme().bytes(), 0x80);
  ASSERT_THAT(pcie, IsOk());
  EXPECT_EQ(pcie->offset(), 0x80);
  EXPECT_EQ(pcie->version(), 2);
  EXPECT_EQ(pcie->port_type(), PciePortType::kEndpoint);
  EXPECT_TRUE(pcie->function_level_reset());
  EXPECT_TRUE(pcie->has_link());
  EXPECT_FALSE(pcie->slot_implemented());
  EXPECT_EQ(pcie->size(), 0x34);
}

TEST(PcieCapabilityTest, FunctionLevelResetIsBit28) {
  EXPECT_FALSE(
      PcieCapability::Parse(PcieImage(2, 0xefffffff).bytes(), kPcieOffset)
          ->function_level_reset());
  EXPECT_TRUE(
      PcieCapability::Parse(PcieImage(2, 0x10000000).bytes(), kPcieOffset)
          ->function_level_reset());
}

TEST(PcieCapabilityTest, SlotIsBit8OfTheFlags) {
  EXPECT_TRUE(PcieCapability::Parse(PcieImage(0x0142).bytes(), kPcieOffset)
                  ->slot_implemented());
}

TEST(PcieCapabilityTest, ReservedPortTypeIsKept) {
  const auto pcie =
      PcieCapability::Parse(PcieImage(0x00f2).bytes(), kPcieOffset);
  ASSERT_THAT(pcie, IsOk());
  EXPECT_EQ(Name(pcie->port_type()), "Unknown");
}

TEST(PcieCapabilityTest, RefusesAnotherCapability) {
  EXPECT_THAT(PcieCapability::Parse(CapturedNvme().bytes(), 0x40),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("0x11")));
}

TEST(PcieCapabilityTest, CommonRegistersMustFitBelow0x100) {
  ConfigImage image(4096);
  image.AddCapability(0xf4, 0x10);
  EXPECT_THAT(PcieCapability::Parse(image.bytes(), 0xf4), IsOk());
  image.AddCapability(0xf8, 0x10);
  EXPECT_THAT(PcieCapability::Parse(image.bytes(), 0xf8),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

// PCIe 6.0 figure 7-14. The registers end with the last group that applies.
struct SizeCase {
  std::string name;
  uint16_t flags;
  uint8_t size;
};

class PcieCapabilitySizeTest : public ::testing::TestWithParam<SizeCase> {};

TEST_P(PcieCapabilitySizeTest, IsByVersionAndType) {
  const auto pcie =
      PcieCapability::Parse(PcieImage(GetParam().flags).bytes(), kPcieOffset);
  ASSERT_THAT(pcie, IsOk());
  EXPECT_EQ(pcie->size(), GetParam().size);
}

INSTANTIATE_TEST_SUITE_P(
    All, PcieCapabilitySizeTest,
    ::testing::Values(SizeCase{"EndpointV1", 0x0001, 0x14},
                      SizeCase{"LegacyEndpointV1", 0x0011, 0x14},
                      SizeCase{"IntegratedEndpointV1", 0x0091, 0x0c},
                      SizeCase{"RootPortV1", 0x0041, 0x24},
                      SizeCase{"EventCollectorV1", 0x00a1, 0x24},
                      SizeCase{"UpstreamPortV1", 0x0051, 0x14},
                      SizeCase{"DownstreamPortV1", 0x0061, 0x14},
                      SizeCase{"DownstreamPortWithSlotV1", 0x0061 | kSlot,
                               0x1c},
                      SizeCase{"EndpointV2", 0x0002, 0x34},
                      SizeCase{"IntegratedEndpointV2", 0x0092, 0x2c},
                      SizeCase{"EventCollectorV2", 0x00a2, 0x2c},
                      SizeCase{"RootPortV2", 0x0042, 0x3c},
                      SizeCase{"UpstreamPortV2", 0x0052, 0x34},
                      SizeCase{"DownstreamPortV2", 0x0062, 0x3c},
                      SizeCase{"EndpointOfBrokenV0", 0x0000, 0x34}),
    [](const ::testing::TestParamInfo<SizeCase>& param) {
      return param.param.name;
    });

TEST(PcieCapabilityTest, IntegratedFunctionsHaveNoLink) {
  EXPECT_FALSE(PcieCapability::Parse(PcieImage(0x0092).bytes(), kPcieOffset)
                   ->has_link());
  EXPECT_FALSE(PcieCapability::Parse(PcieImage(0x00a2).bytes(), kPcieOffset)
                   ->has_link());
  EXPECT_TRUE(PcieCapability::Parse(PcieImage(0x0012).bytes(), kPcieOffset)
                  ->has_link());
}

TEST(PciePortTypeTest, Names) {
  EXPECT_EQ(Name(PciePortType::kEndpoint), "Endpoint");
  EXPECT_EQ(Name(PciePortType::kRootComplexIntegratedEndpoint),
            "Root Complex Integrated Endpoint");
  for (const unsigned reserved : {2u, 3u, 0xbu, 0xfu}) {
    EXPECT_EQ(Name(static_cast<PciePortType>(reserved)), "Unknown");
  }
  for (const unsigned type : {0u, 1u, 4u, 5u, 6u, 7u, 8u, 9u, 0xau}) {
    EXPECT_NE(Name(static_cast<PciePortType>(type)), "Unknown") << type;
  }
}

}  // namespace
}  // namespace passthru::pci
