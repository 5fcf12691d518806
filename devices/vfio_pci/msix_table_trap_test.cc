// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/vfio_pci/msix_table_trap.h"

#include <array>
#include <cstdint>
#include <memory>
#include <random>
#include <vector>

#include "absl/log/check.h"
#include "absl/types/span.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/devices/interrupts/gsi_router.h"
#include "passthru/devices/interrupts/routing_entries.h"
#include "passthru/devices/kernel/epoll_event_loop.h"
#include "passthru/devices/kernel/failure_log.h"
#include "passthru/pci/little_endian.h"
#include "passthru/testing/rig/interrupt_rig.h"

namespace passthru::vfio_pci {
namespace {

using interrupts::VectorState;
using Part = MsixTableTrap::Part;

constexpr uint16_t kShown = 70;
constexpr uint32_t kTable = 0x1800;  // 80 entries, up to 0x1d00
constexpr uint32_t kPba = 0x1d00;

pci::MsixCapability DeviceMsix() {
  std::vector<uint8_t> config(256);
  config[0x40] = 0x11;
  config[0x42] = 79;
  pci::StoreLittleEndian<uint32_t>(absl::MakeSpan(config), 0x44, kTable | 2);
  pci::StoreLittleEndian<uint32_t>(absl::MakeSpan(config), 0x48, kPba | 2);
  return *pci::MsixCapability::Parse(config, 0x40);
}

class MsixTableTrapTest : public ::testing::Test {
 protected:
  MsixTableTrapTest()
      : rig_({.vectors = kShown}),
        loop_(*kernel::EpollEventLoop::Create(rig_.syscalls())),
        router_(*interrupts::GsiRouter::Create(
            {.table = &rig_,
             .base_routes = interrupts::DefaultIrqchipRoutes()})),
        group_(interrupts::MsixVectorGroup::Options{.vectors = kShown,
                                                    .syscalls = rig_.syscalls(),
                                                    .host = &rig_,
                                                    .router = router_.get(),
                                                    .controller = &rig_,
                                                    .loop = loop_.get(),
                                                    .failures = &failures_,
                                                    .name = "trap"}),
        trap_(DeviceMsix(), &group_) {
    CHECK_OK(group_.Enable(kShown, /*function_masked=*/false));
  }

  void Write(uint64_t offset, unsigned width, uint64_t value) {
    std::array<uint8_t, 8> bytes;
    pci::StoreLittleEndian(absl::MakeSpan(bytes), 0, value);
    trap_.WriteTable(offset, absl::MakeSpan(bytes).first(width));
  }
  uint64_t Read(uint64_t offset, unsigned width) {
    std::array<uint8_t, 8> bytes = {};
    trap_.ReadTable(offset, absl::MakeSpan(bytes).first(width));
    return pci::LoadLittleEndian<uint64_t>(bytes, 0);
  }
  uint64_t ReadPba(uint64_t offset, unsigned width) {
    std::array<uint8_t, 8> bytes = {};
    trap_.ReadPba(offset, absl::MakeSpan(bytes).first(width));
    return pci::LoadLittleEndian<uint64_t>(bytes, 0);
  }
  // Makes `vector` armed, masked and pending.
  void MakePending(uint16_t vector) {
    Write(vector * 16u, 8, 0xfee00000);
    Write(vector * 16u + 8, 8, 0x40);
    Write(vector * 16u + 12, 4, 1);
    CHECK(rig_.Fire(vector));
  }

  kernel::FailureLog failures_{"device"};
  fake::InterruptRig rig_;
  std::unique_ptr<kernel::EpollEventLoop> loop_;
  std::unique_ptr<interrupts::GsiRouter> router_;
  interrupts::MsixVectorGroup group_;
  MsixTableTrap trap_;
};

TEST_F(MsixTableTrapTest, FindsThePartsOfItsBar) {
  const pci::BarIndex bar(2);
  EXPECT_EQ(trap_.Find(bar, kTable, 4).part, Part::kTable);
  EXPECT_EQ(trap_.Find(bar, kTable + 20, 4).offset, 20u);
  EXPECT_EQ(trap_.Find(bar, kPba + 15, 1).part, Part::kPba);
  EXPECT_EQ(trap_.Find(bar, kPba + 16, 1).part, Part::kDevice);
  EXPECT_EQ(trap_.Find(bar, kTable - 1, 1).part, Part::kDevice);
  EXPECT_EQ(trap_.Find(pci::BarIndex(0), kTable, 4).part, Part::kDevice);
}

TEST_F(MsixTableTrapTest, CutsAccessesAtTheEdges) {
  const pci::BarIndex bar(2);
  EXPECT_EQ(trap_.Find(bar, kTable - 2, 8).size, 2u);
  EXPECT_EQ(trap_.Find(bar, kPba - 3, 8).part, Part::kTable);
  EXPECT_EQ(trap_.Find(bar, kPba - 3, 8).size, 3u);
  EXPECT_EQ(trap_.Find(bar, kPba + 12, 8).size, 4u);
}

TEST_F(MsixTableTrapTest, APbaInPlaceOfTheLastEntriesWins) {
  const pci::BarIndex bar(2);
  // The table has 80 entries, of which the PBA takes the last.
  const uint32_t pba = kTable + 79 * 16;
  const MsixTableTrap trap(
      DeviceMsix().WithPba(pci::MsixLocation::At(bar, pba)), &group_);
  EXPECT_EQ(trap.Find(bar, pba - 1, 1).part, Part::kTable);
  EXPECT_EQ(trap.Find(bar, pba - 4, 8).size, 4u);
  EXPECT_EQ(trap.Find(bar, pba, 8).part, Part::kPba);
  EXPECT_EQ(trap.Find(bar, pba + 8, 8).offset, 8u);
  EXPECT_EQ(trap.Find(bar, pba + 16, 8).part, Part::kDevice);
}

TEST_F(MsixTableTrapTest, EntriesAreMaskedAtFirst) {
  EXPECT_EQ(Read(12, 4), 1u);
  EXPECT_EQ(Read(69 * 16 + 12, 4), 1u);
}

TEST_F(MsixTableTrapTest, DwordWritesReachTheVector) {
  Write(5 * 16, 4, 0xfee00000);
  Write(5 * 16 + 8, 4, 0x55);
  EXPECT_EQ(group_.state(pci::VectorIndex(5)), VectorState::kOff);
  Write(5 * 16 + 12, 4, 0);
  EXPECT_EQ(group_.state(pci::VectorIndex(5)), VectorState::kWatched);
  Write(5 * 16 + 12, 4, 1);
  EXPECT_EQ(group_.state(pci::VectorIndex(5)), VectorState::kMasked);
}

TEST_F(MsixTableTrapTest, AnyWidthAndAlignmentIsTheSame) {
  std::minstd_rand random(3);
  std::vector<uint8_t> expected(kShown * 16);
  for (uint16_t i = 0; i < kShown; ++i) expected[i * 16 + 12] = 1;
  for (int i = 0; i < 2000; ++i) {
    const uint32_t offset = random() % (kShown * 16 - 8);
    const unsigned width = 1 + random() % 8;
    std::vector<uint8_t> bytes(width);
    for (unsigned j = 0; j < width; ++j) {
      bytes[j] = static_cast<uint8_t>(random());
      const uint32_t at = (offset + j) % 16;
      // Reserved bits (address 1:0, all but bit 0 of control) stay zero.
      const uint8_t mask = at == 0    ? 0xfc
                           : at == 12 ? 0x01
                           : at > 12  ? 0
                                      : 0xff;
      expected[offset + j] = bytes[j] & mask;
    }
    trap_.WriteTable(offset, bytes);
  }
  std::vector<uint8_t> actual(expected.size());
  for (size_t i = 0; i < actual.size(); ++i) {
    actual[i] = static_cast<uint8_t>(Read(i, 1));
  }
  EXPECT_EQ(actual, expected);
}

TEST_F(MsixTableTrapTest, BeyondWhatIsShownThereIsNothing) {
  Write(75 * 16, 4, 0x12345678);
  EXPECT_EQ(Read(75 * 16, 4), 0xffffffffu);
}

TEST_F(MsixTableTrapTest, PbaBitsAreThePendingVectors) {
  MakePending(0);
  MakePending(9);
  MakePending(65);
  EXPECT_EQ(ReadPba(0, 8), 0x201u);
  EXPECT_EQ(ReadPba(8, 8), 0x2u);
  EXPECT_EQ(ReadPba(1, 1), 0x2u);
  EXPECT_EQ(ReadPba(4, 8), 0x2ull << 32);
}

TEST_F(MsixTableTrapTest, ResetMasksAndClears) {
  MakePending(3);
  trap_.Reset();
  EXPECT_EQ(Read(3 * 16 + 8, 4), 0u);
  EXPECT_EQ(Read(3 * 16 + 12, 4), 1u);
}

}  // namespace
}  // namespace passthru::vfio_pci
