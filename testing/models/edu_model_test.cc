// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/models/edu_model.h"

#include <algorithm>
#include <cstdint>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/pci/bar_index.h"
#include "passthru/testing/models/device_model.h"
#include "passthru/testing/models/device_platform.h"
#include "passthru/testing/models/flat_memory.h"

namespace passthru::models {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr pci::BarIndex kBar0(0);
constexpr uint64_t kMemory = 0x100000;
constexpr uint64_t kBuffer = 0x40000;

class EduModelTest : public ::testing::Test {
 protected:
  EduModelTest() : host_(kMemory, 0x10000) { edu_.set_host(&host_); }

  uint64_t Read(uint64_t offset, unsigned width = 4) {
    return edu_.ReadBar(kBar0, offset, width);
  }
  void Write(uint64_t offset, uint64_t value, unsigned width = 4) {
    edu_.WriteBar(kBar0, offset, width, value);
  }
  void StartDma(uint64_t source, uint64_t destination, uint64_t count,
                uint64_t command) {
    Write(0x80, source, 8);
    Write(0x88, destination, 8);
    Write(0x90, count, 8);
    Write(0x98, command, 8);
  }

  FlatMemory host_;
  EduModel edu_;
};

TEST_F(EduModelTest, AllOfBar0IsRegistersAndNoOtherBarIs) {
  EXPECT_TRUE(edu_.HandlesBar(kBar0, 0));
  EXPECT_TRUE(edu_.HandlesBar(kBar0, 0xfffff));
  EXPECT_FALSE(edu_.HandlesBar(pci::BarIndex(1), 0));
  EXPECT_TRUE(edu_.IsPolled(kBar0, 0x98));
  EXPECT_FALSE(edu_.IsPolled(kBar0, 0xa0));
  EXPECT_FALSE(edu_.IsPolled(pci::BarIndex(1), 0));
}

TEST_F(EduModelTest, IdentificationReadsAsCaptured) {
  EXPECT_EQ(Read(0x00), 0x010000edu);
}

TEST_F(EduModelTest, LivenessReadsTheInverse) {
  Write(0x04, 0x12345678);
  EXPECT_EQ(Read(0x04), 0xedcba987u);
}

TEST_F(EduModelTest, LowRegistersTakeOnlyFourByteAccesses) {
  Write(0x04, 0xff, 1);
  EXPECT_EQ(Read(0x04), 0u);
  Write(0x04, 0xffff, 2);
  EXPECT_EQ(Read(0x04), 0u);
  Write(0x04, 1, 8);
  EXPECT_EQ(Read(0x04), 0u);
  EXPECT_EQ(Read(0x00, 1), ~uint64_t{0});
  EXPECT_EQ(Read(0x00, 2), ~uint64_t{0});
  EXPECT_EQ(Read(0x00, 8), ~uint64_t{0});
}

TEST_F(EduModelTest, DmaRegistersTakeFourAndEightByteAccesses) {
  Write(0x80, 0x1122334455667788, 8);
  EXPECT_EQ(Read(0x80, 8), 0x1122334455667788u);
  Write(0x80, 0xffffffff99aabbcc, 4);
  EXPECT_EQ(Read(0x80, 8), 0x99aabbccu);
  Write(0x80, 0, 2);
  EXPECT_EQ(Read(0x80, 8), 0x99aabbccu);
}

TEST_F(EduModelTest, UnknownRegistersReadAllOnesAndIgnoreWrites) {
  Write(0x0c, 1);
  EXPECT_EQ(Read(0x0c), ~uint64_t{0});
  EXPECT_EQ(Read(kBuffer), ~uint64_t{0});
  EXPECT_FALSE(edu_.Step());
}

TEST_F(EduModelTest, FactorialIsComputedInAStep) {
  Write(0x08, 10);
  EXPECT_EQ(Read(0x20), 0x01u);
  EXPECT_TRUE(edu_.Step());
  EXPECT_EQ(Read(0x20), 0x00u);
  EXPECT_EQ(Read(0x08), 3628800u);
  EXPECT_FALSE(edu_.Step());
  EXPECT_THAT(host_.msi(), IsEmpty());
  EXPECT_FALSE(host_.intx());
}

TEST_F(EduModelTest, FactorialIsModulo32Bits) {
  Write(0x08, 13);
  edu_.Step();
  EXPECT_EQ(Read(0x08), 1932053504u);
}

TEST_F(EduModelTest, FactorialOfAnyNumberEnds) {
  Write(0x08, 0xffffffff);
  EXPECT_TRUE(edu_.Step());
  EXPECT_EQ(Read(0x08), 0u);
}

TEST_F(EduModelTest, FactorialRegisterHoldsStillWhileComputing) {
  Write(0x08, 5);
  Write(0x08, 6);
  edu_.Step();
  EXPECT_EQ(Read(0x08), 120u);
}

TEST_F(EduModelTest, FactorialSignalsWhenAsked) {
  host_.SetInterruptMode(InterruptMode::kMsi);
  Write(0x20, 0x80);
  EXPECT_EQ(Read(0x20), 0x80u);
  Write(0x08, 4);
  EXPECT_EQ(Read(0x20), 0x81u);
  edu_.Step();
  EXPECT_THAT(host_.msi(), ElementsAre(0));
  EXPECT_EQ(Read(0x24), 0x1u);
  Write(0x64, 0x1);
  EXPECT_EQ(Read(0x24), 0u);
}

TEST_F(EduModelTest, RaisedBitsAddUpAndThePinFollows) {
  Write(0x60, 0x10);
  Write(0x60, 0x01);
  EXPECT_EQ(Read(0x24), 0x11u);
  EXPECT_TRUE(host_.intx());
  Write(0x64, 0x10);
  EXPECT_TRUE(host_.intx());
  Write(0x64, 0x01);
  EXPECT_FALSE(host_.intx());
  EXPECT_THAT(host_.msi(), IsEmpty());
}

TEST_F(EduModelTest, RaisingNothingSignalsNothing) {
  Write(0x60, 0);
  EXPECT_FALSE(host_.intx());
}

TEST_F(EduModelTest, MsiReplacesThePin) {
  host_.SetInterruptMode(InterruptMode::kMsi);
  Write(0x60, 0x1);
  Write(0x60, 0x1);
  EXPECT_THAT(host_.msi(), ElementsAre(0, 0));
  EXPECT_FALSE(host_.intx());
}

TEST_F(EduModelTest, DmaCarriesMemoryThroughTheBuffer) {
  host_.SetInterruptMode(InterruptMode::kMsi);
  for (int i = 0; i < 256; ++i) {
    host_.Bytes(kMemory + i, 1)[0] = static_cast<uint8_t>(i ^ 0x5a);
  }
  StartDma(kMemory, kBuffer + 0x100, 256, 0x1);
  EXPECT_EQ(Read(0x98, 8), 0x1u);
  EXPECT_TRUE(edu_.Step());
  EXPECT_EQ(Read(0x98, 8), 0x0u);
  StartDma(kBuffer + 0x100, kMemory + 0x2000, 256, 0x7);
  EXPECT_TRUE(edu_.Step());
  EXPECT_EQ(Read(0x98, 8), 0x6u);
  EXPECT_EQ(host_.Bytes(kMemory, 256), host_.Bytes(kMemory + 0x2000, 256));
  EXPECT_THAT(host_.msi(), ElementsAre(0));
  EXPECT_EQ(Read(0x24), 0x100u);
  EXPECT_EQ(edu_.counters().transfers, 2u);
  EXPECT_FALSE(edu_.Step());
}

TEST_F(EduModelTest, DmaRegistersHoldStillWhileRunning) {
  StartDma(kMemory, kBuffer, 16, 0x1);
  Write(0x80, 0xdead, 8);
  Write(0x98, 0x7, 8);
  EXPECT_EQ(Read(0x80, 8), kMemory);
  EXPECT_EQ(Read(0x98, 8), 0x1u);
}

TEST_F(EduModelTest, CommandWithoutRunStartsNothing) {
  Write(0x98, 0x6, 8);
  EXPECT_EQ(Read(0x98, 8), 0u);
  EXPECT_FALSE(edu_.Step());
}

TEST_F(EduModelTest, SystemAddressIsClampedTo28Bits) {
  host_.Store<uint32_t>(kMemory, 0xcafef00d);
  StartDma(kMemory | (uint64_t{1} << 28), kBuffer, 4, 0x1);
  edu_.Step();
  StartDma(kBuffer, (kMemory + 0x1000) | (uint64_t{0xff} << 32), 4, 0x3);
  edu_.Step();
  EXPECT_EQ(host_.Load<uint32_t>(kMemory + 0x1000), 0xcafef00du);
}

TEST_F(EduModelTest, RefusedDmaCompletesWithoutEffect) {
  // The real device was observed to do this behind an IOMMU: "DMA to unmapped
  // IOVA done, cmd=0x2".
  StartDma(kBuffer, 0x800000, 256, 0x3);
  EXPECT_TRUE(edu_.Step());
  EXPECT_EQ(Read(0x98, 8), 0x2u);
  EXPECT_EQ(edu_.counters().failed_transfers, 1u);
}

TEST_F(EduModelTest, RefusedReadLeavesTheBufferAlone) {
  host_.Store<uint32_t>(kMemory, 0x11111111);
  StartDma(kMemory, kBuffer, 4, 0x1);
  edu_.Step();
  host_.set_bus_master(false);
  StartDma(kMemory + 0x100, kBuffer, 4, 0x1);
  edu_.Step();
  host_.set_bus_master(true);
  StartDma(kBuffer, kMemory + 0x200, 4, 0x3);
  edu_.Step();
  EXPECT_EQ(host_.Load<uint32_t>(kMemory + 0x200), 0x11111111u);
}

struct BadRange {
  const char* name;
  uint64_t destination;
  uint64_t count;
};

class EduModelBadRangeTest : public EduModelTest,
                             public ::testing::WithParamInterface<BadRange> {};

TEST_P(EduModelBadRangeTest, TransfersNothingAndStillCompletes) {
  std::ranges::fill(host_.Bytes(kMemory, 0x2000), uint8_t{0xee});
  StartDma(kMemory, GetParam().destination, GetParam().count, 0x5);
  EXPECT_TRUE(edu_.Step());
  EXPECT_EQ(Read(0x98, 8), 0x4u);
  EXPECT_EQ(host_.dma_reads(), 0);
  EXPECT_TRUE(host_.intx());
  StartDma(kBuffer, kMemory, 4096, 0x3);
  edu_.Step();
  EXPECT_THAT(host_.Bytes(kMemory, 4096), Each(0));
}

INSTANTIATE_TEST_SUITE_P(
    Ranges, EduModelBadRangeTest,
    ::testing::Values(BadRange{"BelowTheBuffer", kBuffer - 1, 1},
                      BadRange{"BehindTheBuffer", kBuffer + 4096, 1},
                      BadRange{"AcrossTheEnd", kBuffer + 4095, 2},
                      BadRange{"TooLong", kBuffer, 4097},
                      BadRange{"CountWraps", kBuffer + 1, ~uint64_t{0}},
                      BadRange{"AddressWraps", ~uint64_t{0}, 2},
                      BadRange{"Nothing", kBuffer, 0}),
    [](const auto& param) { return param.param.name; });

TEST_F(EduModelTest, ResetForgetsEverything) {
  Write(0x04, 1);
  Write(0x20, 0x80);
  Write(0x08, 5);
  Write(0x60, 1);
  StartDma(kMemory, kBuffer, 4, 0x1);
  edu_.Reset(ResetKind::kFunctionLevel);
  EXPECT_EQ(Read(0x04), 0u);
  EXPECT_EQ(Read(0x08), 0u);
  EXPECT_EQ(Read(0x20), 0u);
  EXPECT_EQ(Read(0x24), 0u);
  EXPECT_EQ(Read(0x80, 8), 0u);
  EXPECT_EQ(Read(0x98, 8), 0u);
  EXPECT_FALSE(host_.intx());
  EXPECT_FALSE(edu_.Step());
}

TEST_F(EduModelTest, WithoutAHostNothingIsReached) {
  edu_.set_host(nullptr);
  Write(0x60, 1);
  StartDma(kMemory, kBuffer, 4, 0x1);
  EXPECT_TRUE(edu_.Step());
  EXPECT_EQ(edu_.counters().failed_transfers, 1u);
  EXPECT_FALSE(host_.intx());
}

}  // namespace
}  // namespace passthru::models
