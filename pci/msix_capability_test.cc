// SPDX-License-Identifier: Apache-2.0
#include "passthru/pci/msix_capability.h"

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/pci/bar_index.h"
#include "passthru/pci/config_image.h"
#include "passthru/pci/config_space.h"

namespace passthru::pci {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr uint8_t kMsixOffset = 0x70;

ConfigImage Image(uint16_t control, uint32_t table, uint32_t pba) {
  ConfigImage image;
  image.AddCapability(kMsixOffset, 0x11)
      .Set16(kMsixOffset + 2, control)
      .Set32(kMsixOffset + 4, table)
      .Set32(kMsixOffset + 8, pba);
  return image;
}

// The sizes of BAR 0 to 5.
using Sizes = std::vector<uint64_t>;

absl::Status Validate(uint16_t control, uint32_t table, uint32_t pba,
                      const Sizes& sizes) {
  const auto msix =
      MsixCapability::Parse(Image(control, table, pba).bytes(), kMsixOffset);
  return msix.ok() ? msix->Validate(sizes) : msix.status();
}

TEST(MsixCapabilityTest, ParsesACapturedOne) {
  const auto msix = MsixCapability::Parse(CapturedNvme().bytes(), 0x40);
  ASSERT_THAT(msix, IsOk());
  EXPECT_EQ(msix->offset(), 0x40);
  EXPECT_EQ(msix->table_size(), 65);
  EXPECT_EQ(msix->table_bar(), BarIndex(0));
  EXPECT_EQ(msix->table_offset(), 0x2000u);
  EXPECT_EQ(msix->table_bytes(), 65u * 16);
  EXPECT_EQ(msix->pba_bar(), BarIndex(0));
  EXPECT_EQ(msix->pba_offset(), 0x3000u);
  EXPECT_EQ(msix->pba_bytes(), 16u);
  EXPECT_THAT(msix->Validate(Sizes{0x4000, 0, 0, 0, 0, 0}), IsOk());
}

TEST(MsixCapabilityTest, ParsesOneInAnotherBar) {
  const auto msix = MsixCapability::Parse(CapturedE1000e().bytes(), 0xa0);
  ASSERT_THAT(msix, IsOk());
  EXPECT_EQ(msix->table_size(), 5);
  EXPECT_EQ(msix->table_bar(), BarIndex(3));
  EXPECT_EQ(msix->table_offset(), 0u);
  EXPECT_EQ(msix->pba_bar(), BarIndex(3));
  EXPECT_EQ(msix->pba_offset(), 0x2000u);
}

// PCI 3.0 6.8.2.4. The BIR shares the register, and the offset is not shifted.
TEST(MsixCapabilityTest, OffsetIsTheRegisterWithoutTheBir) {
  const auto msix = MsixCapability::Parse(
      Image(0, 0x00002005, 0xfffffff8 | 4).bytes(), kMsixOffset);
  ASSERT_THAT(msix, IsOk());
  EXPECT_EQ(msix->table_bar(), BarIndex(5));
  EXPECT_EQ(msix->table_offset(), 0x2000u);
  EXPECT_EQ(msix->pba_bar(), BarIndex(4));
  EXPECT_EQ(msix->pba_offset(), 0xfffffff8u);
}

// PCI 3.0 6.8.2.3. The size is encoded as N-1, and the bits above do not belong
// to it.
TEST(MsixCapabilityTest, TableSizeIsEncodedMinusOne) {
  const auto one =
      MsixCapability::Parse(Image(0xf800, 0, 0).bytes(), kMsixOffset);
  ASSERT_THAT(one, IsOk());
  EXPECT_EQ(one->table_size(), 1);
  EXPECT_EQ(one->pba_bytes(), 8u);
  const auto most =
      MsixCapability::Parse(Image(0x07ff, 0, 0).bytes(), kMsixOffset);
  ASSERT_THAT(most, IsOk());
  EXPECT_EQ(most->table_size(), 2048);
  EXPECT_EQ(most->pba_bytes(), 256u);
}

TEST(MsixCapabilityTest, PbaHasWholeQuadwords) {
  const auto bytes = [](uint16_t vectors) {
    return MsixCapability::Parse(
               Image(static_cast<uint16_t>(vectors - 1), 0, 0).bytes(),
               kMsixOffset)
        ->pba_bytes();
  };
  EXPECT_EQ(bytes(64), 8u);
  EXPECT_EQ(bytes(65), 16u);
}

TEST(MsixCapabilityTest, RefusesATableBirThatNamesNoBar) {
  EXPECT_THAT(
      MsixCapability::Parse(Image(0, 6, 0).bytes(), kMsixOffset),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("table BIR 6")));
  EXPECT_THAT(
      MsixCapability::Parse(Image(0, 7, 0).bytes(), kMsixOffset),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("table BIR 7")));
}

TEST(MsixCapabilityTest, RefusesAPbaBirThatNamesNoBar) {
  EXPECT_THAT(
      MsixCapability::Parse(Image(0, 0, 6).bytes(), kMsixOffset),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("PBA BIR 6")));
}

TEST(MsixCapabilityTest, RefusesAnotherCapability) {
  EXPECT_THAT(MsixCapability::Parse(CapturedNvme().bytes(), 0x60),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("0x01")));
}

TEST(MsixCapabilityTest, RefusesOneThatCrosses0x100) {
  ConfigImage image(4096);
  image.AddCapability(0xf8, 0x11);
  EXPECT_THAT(MsixCapability::Parse(image.bytes(), 0xf8),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST(MsixCapabilityTest, WriteMaskIsEnableAndFunctionMask) {
  const ConfigImage image = Image(0x0007, 0x2000, 0x3000);
  absl::StatusOr<ConfigSpace> config = ConfigSpace::FromBytes(image.bytes());
  ASSERT_THAT(config, IsOk());
  config->SetMaskBytes(kMsixOffset, MsixCapability::WriteMask());
  config->Write(kMsixOffset, std::vector<uint8_t>(16, 0xff));
  EXPECT_EQ(config->Read(kMsixOffset, 4), 0xc0070011u);
  EXPECT_EQ(config->Read(kMsixOffset + 4, 4), 0x2000u);
  EXPECT_EQ(config->Read(kMsixOffset + 8, 4), 0x3000u);
  EXPECT_EQ(config->Read(kMsixOffset + 12, 4), 0u);
}

TEST(MsixControlTest, FieldsAreWhereTheSpecificationHasThem) {
  MsixControl control;
  MsixControl::kEnable.Set(control, true);
  EXPECT_EQ(control.raw, 0x8000);
  MsixControl::kFunctionMask.Set(control, true);
  EXPECT_EQ(control.raw, 0xc000);
}

TEST(MsixCapabilityValidateTest, TableMayEndWithItsBar) {
  EXPECT_THAT(Validate(64 - 1, 0x0c00, 0x0800, Sizes{0x1000, 0, 0, 0, 0, 0}),
              IsOk());
}

TEST(MsixCapabilityValidateTest, RefusesATableBeyondItsBar) {
  EXPECT_THAT(
      Validate(65 - 1, 0x0c00, 0x0800, Sizes{0x1000, 0, 0, 0, 0, 0}),
      StatusIs(absl::StatusCode::kInvalidArgument,
               AllOf(HasSubstr("table at BAR0+0xc00"), HasSubstr("0x410"))));
}

TEST(MsixCapabilityValidateTest, RefusesATableWhoseEndOverflows) {
  EXPECT_THAT(Validate(2047, 0xfffffff8, 0, Sizes{0x1000, 0, 0, 0, 0, 0}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("table")));
}

TEST(MsixCapabilityValidateTest, RefusesATableInABarThatIsNotThere) {
  EXPECT_THAT(Validate(0, 1, 0, Sizes{0x1000, 0, 0, 0, 0, 0}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("BAR1, which is not implemented")));
}

TEST(MsixCapabilityValidateTest, RefusesAPbaBeyondItsBar) {
  EXPECT_THAT(Validate(64, 0, 0x0ff8, Sizes{0x1000, 0, 0, 0, 0, 0}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("PBA at BAR0+0xff8")));
  EXPECT_THAT(Validate(63, 0, 0x0ff8, Sizes{0x1000, 0, 0, 0, 0, 0}), IsOk());
}

TEST(MsixCapabilityValidateTest, RefusesAPbaInABarThatIsNotThere) {
  EXPECT_THAT(Validate(0, 0, 5, Sizes{0x1000, 0, 0, 0, 0, 0}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("PBA is in BAR5")));
}

TEST(MsixCapabilityValidateTest, RefusesSizesThatEndBeforeTheBar) {
  EXPECT_THAT(Validate(0, 5, 0, Sizes{0x1000}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("BAR5")));
}

TEST(MsixCapabilityValidateTest, RefusesOverlap) {
  const Sizes sizes = {0x1000, 0x1000, 0, 0, 0, 0};
  // The PBA overlaps the last eight of the table's 0x40 bytes.
  EXPECT_THAT(
      Validate(3, 0x100, 0x138, sizes),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("overlap")));
  // The PBA begins where the table begins.
  EXPECT_THAT(
      Validate(3, 0x100, 0x100, sizes),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("overlap")));
}

TEST(MsixCapabilityValidateTest, NeighboursDoNotOverlap) {
  const Sizes sizes = {0x1000, 0x1000, 0, 0, 0, 0};
  EXPECT_THAT(Validate(3, 0x100, 0x140, sizes), IsOk());
  EXPECT_THAT(Validate(3, 0x100, 0x0f8, sizes), IsOk());
}

TEST(MsixCapabilityValidateTest, SameOffsetInAnotherBarIsNoOverlap) {
  EXPECT_THAT(Validate(3, 0x100, 0x101, Sizes{0x1000, 0x1000, 0, 0, 0, 0}),
              IsOk());
}

TEST(MsixCapabilityTest, ATableIsSoundWhereverThePbaIs) {
  const auto msix =
      MsixCapability::Parse(Image(3, 0x100, 0x8000).bytes(), kMsixOffset);
  ASSERT_THAT(msix, IsOk());
  const Sizes sizes = {0x1000, 0, 0, 0, 0, 0};
  EXPECT_THAT(msix->ValidateTable(sizes), IsOk());
  EXPECT_FALSE(msix->Validate(sizes).ok());

  const MsixCapability moved =
      msix->WithPba(MsixLocation::At(BarIndex(0), 0x140));
  EXPECT_EQ(moved.pba_bar(), BarIndex(0));
  EXPECT_EQ(moved.pba_offset(), 0x140u);
  EXPECT_EQ(moved.table_offset(), 0x100u);
  EXPECT_THAT(moved.Validate(sizes), IsOk());
}

}  // namespace
}  // namespace passthru::pci
