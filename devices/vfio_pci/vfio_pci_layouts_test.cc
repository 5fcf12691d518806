// SPDX-License-Identifier: Apache-2.0
//
// Devices whose MSI-X structures lie where no specification has them, modelled
// on real ones (testing/fixtures/modelled). Each is attached, and its last
// vector interrupts, waits while it is masked, and shows its pending bit.

#include <cstdint>
#include <memory>
#include <ostream>
#include <string>

#include "absl/status/status_matchers.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/devices/vfio_pci/device_report.h"
#include "passthru/devices/vfio_pci/vfio_pci_device.h"
#include "passthru/testing/rig/passthrough_rig.h"

namespace passthru::vfio_pci {
namespace {

using ::absl_testing::IsOk;
using fake::PassthroughRig;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr uint32_t kLayoutVectorData = 0x55;

struct MsixCase {
  std::string fixture;
  uint16_t vectors = 0;
  uint8_t table_bar = 0;
  uint64_t bar_size = 0;
  uint32_t table_offset = 0;

  friend std::ostream& operator<<(std::ostream& out, const MsixCase& value) {
    return out << value.fixture;
  }
};

class VfioPciLayoutsTest : public ::testing::TestWithParam<MsixCase> {
 protected:
  VfioPciLayoutsTest()
      : rig_(PassthroughRig::Options{
            .fixture = absl::StrCat("modelled/", GetParam().fixture)}) {}

  PassthroughRig rig_;
};

TEST_P(VfioPciLayoutsTest, EveryVectorWorks) {
  const MsixCase& expected = GetParam();
  ASSERT_THAT(rig_.Attach(), IsOk());
  EXPECT_THAT(rig_.device().Describe().degraded, IsEmpty());

  const uint16_t msix = rig_.FindCapability(0x11);
  ASSERT_NE(msix, 0);
  EXPECT_EQ((rig_.Read(static_cast<uint16_t>(msix + 2), 2) & 0x7ff) + 1,
            expected.vectors);
  const uint32_t table = rig_.Read(static_cast<uint16_t>(msix + 4), 4);
  EXPECT_EQ(table, expected.table_offset | expected.table_bar);
  // The pending bits are behind the table's entries and inside of the BAR.
  const uint32_t pba = rig_.Read(static_cast<uint16_t>(msix + 8), 4);
  const uint32_t pba_offset = pba & ~uint32_t{7};
  const uint32_t pba_size = (expected.vectors + 63u) / 64 * 8;
  EXPECT_EQ(pba & 7, expected.table_bar);
  EXPECT_GE(pba_offset, expected.table_offset + 16u * expected.vectors);
  EXPECT_LE(pba_offset + pba_size, expected.bar_size);

  rig_.PlaceBar(expected.table_bar, PassthroughRig::kBarAddress);
  const auto last = static_cast<uint16_t>(expected.vectors - 1);
  rig_.WriteVector(last, kLayoutVectorData, /*masked=*/false);
  rig_.SetMsixControl(/*enable=*/true, /*function_mask=*/false);
  rig_.RaiseMsix(last);
  EXPECT_THAT(rig_.TakeMessages(), ElementsAre(kLayoutVectorData));

  rig_.WriteVector(last, kLayoutVectorData, /*masked=*/true);
  rig_.RaiseMsix(last);
  EXPECT_THAT(rig_.TakeMessages(), IsEmpty());
  const uint64_t pending = PassthroughRig::kBarAddress + pba_offset;
  EXPECT_EQ(rig_.Load(pending + last / 64 * 8, 8), uint64_t{1} << last % 64);
  rig_.WriteVector(last, kLayoutVectorData, /*masked=*/false);
  rig_.RunLoop();
  EXPECT_THAT(rig_.TakeMessages(), ElementsAre(kLayoutVectorData));
  EXPECT_EQ(rig_.Load(pending + last / 64 * 8, 8), 0u);

  EXPECT_EQ(rig_.host().vfio().Snapshot(rig_.bdf())->mapped_msix_table_accesses,
            0u);
  rig_.device_pointer().reset();
  EXPECT_TRUE(rig_.Leaks().empty()) << rig_.Leaks();
}

INSTANTIATE_TEST_SUITE_P(Modelled, VfioPciLayoutsTest,
                         ::testing::Values(MsixCase{.fixture = "nic_nfp4000",
                                                    .vectors = 257,
                                                    .table_bar = 0,
                                                    .bar_size = 0x8000000,
                                                    .table_offset = 0},
                                           MsixCase{.fixture = "nvme_660p",
                                                    .vectors = 22,
                                                    .table_bar = 0,
                                                    .bar_size = 0x4000,
                                                    .table_offset = 0x2000},
                                           MsixCase{.fixture = "vf_t5",
                                                    .vectors = 9,
                                                    .table_bar = 4,
                                                    .bar_size = 0x2000,
                                                    .table_offset = 0},
                                           MsixCase{.fixture = "vf_kunlun",
                                                    .vectors = 32,
                                                    .table_bar = 2,
                                                    .bar_size = 0x10000,
                                                    .table_offset = 0xb000},
                                           MsixCase{.fixture = "vf_82599",
                                                    .vectors = 3,
                                                    .table_bar = 3,
                                                    .bar_size = 0x4000,
                                                    .table_offset = 0}),
                         ::testing::PrintToStringParamName());

// Windows refuses a PCI Express capability of version 0.
TEST(VfioPciVirtualFunctionTest, AnIntel82599HasVersionOne) {
  PassthroughRig rig({.fixture = "modelled/vf_82599"});
  ASSERT_THAT(rig.Attach(), IsOk());
  const uint16_t express = rig.FindCapability(0x10);
  ASSERT_NE(express, 0);
  EXPECT_EQ(rig.Read(static_cast<uint16_t>(express + 2), 2) & 0xf, 1u);
  EXPECT_EQ(rig.Read(0x3d, 1), 0u) << "a virtual function has no pin";
  EXPECT_NE(rig.FindExtendedCapability(0x1), 0) << "it keeps AER";
}

}  // namespace
}  // namespace passthru::vfio_pci
