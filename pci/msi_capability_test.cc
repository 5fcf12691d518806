// SPDX-License-Identifier: Apache-2.0
#include "passthru/pci/msi_capability.h"

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/pci/config_image.h"
#include "passthru/pci/config_reg.h"
#include "passthru/pci/config_space.h"
#include "passthru/pci/msi_message.h"
#include "passthru/pci/vector_index.h"

namespace passthru::pci {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::HasSubstr;

constexpr uint8_t kMsiOffset = 0x50;

ConfigImage Image(uint16_t control, uint8_t offset = kMsiOffset) {
  ConfigImage image;
  image.AddCapability(offset, 0x05).Set16(offset + 2u, control);
  return image;
}

// The four layouts of PCI 3.0 figure 6-9.
struct Layout {
  std::string name;
  uint16_t control;
  uint8_t size;
  uint16_t data;
  uint16_t mask;     // 0 if there is none.
  uint16_t pending;  // 0 if there is none.
};

class MsiCapabilityLayoutTest : public ::testing::TestWithParam<Layout> {
 protected:
  bool is_64bit() const { return (GetParam().control & 0x80) != 0; }
  bool has_masks() const { return (GetParam().control & 0x100) != 0; }
};

TEST_P(MsiCapabilityLayoutTest, RegistersAreWhereTheSpecificationHasThem) {
  const auto msi =
      MsiCapability::Parse(Image(GetParam().control).bytes(), kMsiOffset);
  ASSERT_THAT(msi, IsOk());
  EXPECT_EQ(msi->offset(), kMsiOffset);
  EXPECT_EQ(msi->size(), GetParam().size);
  EXPECT_EQ(msi->is_64bit(), is_64bit());
  EXPECT_EQ(msi->per_vector_masking(), has_masks());
  EXPECT_EQ(msi->data().offset, GetParam().data);
  ASSERT_EQ(msi->mask().has_value(), has_masks());
  ASSERT_EQ(msi->pending().has_value(), has_masks());
  if (has_masks()) {
    EXPECT_EQ(msi->mask()->offset, GetParam().mask);
    EXPECT_EQ(msi->pending()->offset, GetParam().pending);
  }
}

TEST_P(MsiCapabilityLayoutTest, DecodesEveryRegister) {
  // Enabled, 4 of 8 vectors.
  ConfigImage image =
      Image(static_cast<uint16_t>(GetParam().control | 0x0006 | 0x0020 | 1));
  image.Set32(kMsiOffset + 4, 0xfee01003);
  if (is_64bit()) image.Set32(kMsiOffset + 8, 0x00000100);
  image.Set16(kMsiOffset + GetParam().data, 0x4052);
  if (has_masks()) {
    image.Set32(kMsiOffset + GetParam().mask, 0xffffff05);
    image.Set32(kMsiOffset + GetParam().pending, 0xffffff0a);
  }
  const auto msi = MsiCapability::Parse(image.bytes(), kMsiOffset);
  ASSERT_THAT(msi, IsOk());
  EXPECT_EQ(msi->max_vectors(), 8);
  const MsiState state =
      msi->Decode(image.bytes().subspan(kMsiOffset, msi->size()));
  EXPECT_TRUE(state.enabled);
  EXPECT_EQ(state.vector_count, 4);
  // The low bits of the address are reserved.
  EXPECT_EQ(state.programmed,
            (MsiMessage{.address = is_64bit() ? uint64_t{0x100fee01000}
                                              : uint64_t{0xfee01000},
                        .data = 0x4052}));
  // Bits of vectors that do not exist are reserved.
  EXPECT_EQ(state.mask_bits, has_masks() ? 0x05u : 0u);
  EXPECT_EQ(state.pending_bits, has_masks() ? 0x0au : 0u);
}

// A guest that writes all ones everywhere changes only what it may, and the
// layout stays the same.
TEST_P(MsiCapabilityLayoutTest, WriteMaskKeepsTheLayout) {
  const ConfigImage image =
      Image(static_cast<uint16_t>(GetParam().control | 0x0006));
  const auto msi = MsiCapability::Parse(image.bytes(), kMsiOffset);
  ASSERT_THAT(msi, IsOk());
  const auto masks = msi->WriteMask();

  absl::StatusOr<ConfigSpace> config = ConfigSpace::FromBytes(image.bytes());
  ASSERT_THAT(config, IsOk());
  config->SetMaskBytes(kMsiOffset, absl::MakeSpan(masks).first(msi->size()));
  config->Write(kMsiOffset, std::vector<uint8_t>(24, 0xff));

  EXPECT_EQ(config->Get(MsiCapability::kControl.At(kMsiOffset)).raw,
            GetParam().control | 0x0006 | 0x0071);
  EXPECT_EQ(config->Get(MsiCapability::kAddress.At(kMsiOffset)), 0xfffffffcu);
  EXPECT_EQ(config->Get(msi->data().At(kMsiOffset)), 0xffff);
  if (is_64bit()) {
    EXPECT_EQ(config->Get(MsiCapability::kAddressHigh.At(kMsiOffset)),
              0xffffffffu);
  }
  if (has_masks()) {
    EXPECT_EQ(config->Get(msi->mask()->At(kMsiOffset)), 0xffu);
    EXPECT_EQ(config->Get(msi->pending()->At(kMsiOffset)), 0u);
  }
  EXPECT_EQ(config->Read(kMsiOffset, 2), 0x0005u);
  EXPECT_EQ(config->Read(kMsiOffset + GetParam().size, 1), 0u);
}

TEST_P(MsiCapabilityLayoutTest, MustFitBelow0x100) {
  const auto last = static_cast<uint8_t>((0x100 - GetParam().size) & 0xfc);
  EXPECT_THAT(
      MsiCapability::Parse(Image(GetParam().control, last).bytes(), last),
      IsOk());
  const auto beyond = static_cast<uint8_t>(last + 4);
  EXPECT_THAT(
      MsiCapability::Parse(Image(GetParam().control, beyond).bytes(), beyond),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("do not fit")));
}

INSTANTIATE_TEST_SUITE_P(
    Four, MsiCapabilityLayoutTest,
    ::testing::Values(Layout{"Plain", 0x0000, 10, 0x08, 0, 0},
                      Layout{"With64Bit", 0x0080, 14, 0x0c, 0, 0},
                      Layout{"WithMasks", 0x0100, 20, 0x08, 0x0c, 0x10},
                      Layout{"WithBoth", 0x0180, 24, 0x0c, 0x10, 0x14}),
    [](const ::testing::TestParamInfo<Layout>& param) {
      return param.param.name;
    });

TEST(MsiCapabilityTest, ParsesACapturedOne) {
  const auto msi = MsiCapability::Parse(CapturedE1000e().bytes(), 0xd0);
  ASSERT_THAT(msi, IsOk());
  EXPECT_EQ(msi->size(), 14);
  EXPECT_EQ(msi->max_vectors(), 1);
}

TEST(MsiCapabilityTest, MaxVectorsIsEncodedAsItsLogarithm) {
  for (unsigned encoded = 0; encoded <= 5; ++encoded) {
    const auto msi = MsiCapability::Parse(
        Image(static_cast<uint16_t>(encoded << 1)).bytes(), kMsiOffset);
    ASSERT_THAT(msi, IsOk());
    EXPECT_EQ(msi->max_vectors(), 1 << encoded);
  }
}

TEST(MsiCapabilityTest, RefusesReservedNumbersOfVectors) {
  EXPECT_THAT(
      MsiCapability::Parse(Image(6 << 1).bytes(), kMsiOffset),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("reserved")));
  EXPECT_THAT(
      MsiCapability::Parse(Image(7 << 1).bytes(), kMsiOffset),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("reserved")));
}

TEST(MsiCapabilityTest, RefusesAnotherCapability) {
  EXPECT_THAT(MsiCapability::Parse(CapturedNvme().bytes(), 0x40),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("0x11")));
}

// PCI 3.0 6.8.1.3. Software may enable fewer vectors than the function has, but
// never more. If it tries, it gets all that there are.
TEST(MsiCapabilityTest, MoreVectorsThanCapableCountAsAll) {
  for (unsigned enable = 0; enable <= 7; ++enable) {
    const ConfigImage image =
        Image(static_cast<uint16_t>(2 << 1 | enable << 4));
    const auto msi = MsiCapability::Parse(image.bytes(), kMsiOffset);
    ASSERT_THAT(msi, IsOk());
    EXPECT_EQ(msi->Decode(image.bytes().subspan(kMsiOffset)).vector_count,
              enable <= 2 ? 1 << enable : 4)
        << enable;
  }
}

// All 32 mask bits exist for 32 vectors, so the code must not shift by the full
// width.
TEST(MsiCapabilityTest, ThirtyTwoVectorsHaveThirtyTwoMaskBits) {
  ConfigImage image = Image(0x0100 | 5 << 1 | 5 << 4);
  image.Set32(kMsiOffset + 0x0c, 0xffffffff);
  const auto msi = MsiCapability::Parse(image.bytes(), kMsiOffset);
  ASSERT_THAT(msi, IsOk());
  const MsiState state = msi->Decode(image.bytes().subspan(kMsiOffset));
  EXPECT_EQ(state.mask_bits, 0xffffffffu);
  EXPECT_TRUE(state.masked(VectorIndex(31)));
}

// PCI 3.0 6.8.3.4. The function replaces the low bits and does not OR them in,
// so it does not matter what software left there.
TEST(MsiStateTest, VectorNumberReplacesTheLowDataBits) {
  const MsiState state{.vector_count = 4,
                       .programmed = {.address = 0xfee00000, .data = 0x4053}};
  EXPECT_EQ(state.message(VectorIndex(0)).data, 0x4050u);
  EXPECT_EQ(state.message(VectorIndex(1)).data, 0x4051u);
  EXPECT_EQ(state.message(VectorIndex(3)).data, 0x4053u);
  EXPECT_EQ(state.message(VectorIndex(3)).address, 0xfee00000u);
}

TEST(MsiStateTest, SingleVectorKeepsAllDataBits) {
  const MsiState state{.vector_count = 1, .programmed = {.data = 0x40ff}};
  EXPECT_EQ(state.message(VectorIndex(0)).data, 0x40ffu);
}

TEST(MsiStateTest, VectorsBeyondTheAllottedAreMasked) {
  const MsiState state{.vector_count = 4, .mask_bits = 0x2};
  EXPECT_FALSE(state.masked(VectorIndex(0)));
  EXPECT_TRUE(state.masked(VectorIndex(1)));
  EXPECT_TRUE(state.masked(VectorIndex(4)));
  EXPECT_TRUE(state.masked(VectorIndex(64)));
}

TEST(MsiStatePropertyTest, VectorsHaveDistinctMessages) {
  for (uint16_t count = 1; count <= 32;
       count = static_cast<uint16_t>(2 * count)) {
    for (uint32_t data = 0; data < 256; ++data) {
      const MsiState state{.vector_count = count, .programmed = {.data = data}};
      std::set<uint32_t> seen;
      for (uint16_t i = 0; i < count; ++i) {
        const uint32_t sent = state.message(VectorIndex(i)).data;
        EXPECT_EQ(sent % count, i);
        EXPECT_EQ(sent / count, data / count);
        seen.insert(sent);
      }
      EXPECT_EQ(seen.size(), count);
    }
  }
}

}  // namespace
}  // namespace passthru::pci
