// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/models/igb_model.h"

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/types/span.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/pci/bar_index.h"
#include "passthru/testing/models/device_model.h"
#include "passthru/testing/models/flat_memory.h"

namespace passthru::models {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr uint64_t kIgbMemory = 0x100000;
constexpr uint64_t kTxRing = kIgbMemory;
constexpr uint64_t kRxRing = kIgbMemory + 0x1000;
constexpr uint64_t kSource = kIgbMemory + 0x2000;
constexpr uint64_t kTarget = kIgbMemory + 0x8000;
constexpr uint32_t kRingDescriptors = 8;
// An advanced data descriptor that ends a frame.
constexpr uint32_t kSend = 0x20300000 | 0x01000000;
constexpr uint32_t kReport = 0x08000000;

class IgbModelTest : public ::testing::Test {
 protected:
  IgbModelTest() : host_(kIgbMemory, 0x10000) { igb_.set_host(&host_); }

  uint32_t Read(uint64_t offset) {
    return static_cast<uint32_t>(igb_.ReadBar(pci::BarIndex(0), offset, 4));
  }
  void Write(uint64_t offset, uint32_t value) {
    igb_.WriteBar(pci::BarIndex(0), offset, 4, value);
  }
  // Turns both rings and the loopback of the MAC on, with MSI-X vector 2 for
  // frames that arrive and 3 for frames that are sent.
  void Start() {
    Write(0x3800, kTxRing);
    Write(0x3808, kRingDescriptors * 16);
    Write(0x3828, 1u << 25);
    Write(0x2800, kRxRing);
    Write(0x2808, kRingDescriptors * 16);
    Write(0x280c, 1u << 25);  // Advanced, one buffer.
    Write(0x2828, 1u << 25);
    Write(0x0100, 0x42);
    Write(0x0400, 0x2);
    Write(0x1514, 0x40000010);
    Write(0x1700, 0x8382);
    Write(0x1524, 0xc);
  }
  void PutBuffer(uint32_t index, uint64_t address) {
    host_.Store<uint64_t>(kRxRing + 16 * index, address);
    host_.Store<uint64_t>(kRxRing + 16 * index + 8, 0);
    Write(0x2818, (index + 1) % kRingDescriptors);
  }
  void PutFrame(uint32_t index, uint64_t address, uint32_t command) {
    host_.Store<uint64_t>(kTxRing + 16 * index, address);
    host_.Store<uint32_t>(kTxRing + 16 * index + 8, command);
    host_.Store<uint32_t>(kTxRing + 16 * index + 12, 0);
    Write(0x3818, (index + 1) % kRingDescriptors);
  }
  void Fill(uint64_t address, size_t length, uint8_t first) {
    for (size_t i = 0; i < length; ++i) {
      host_.Bytes(address, length)[i] = static_cast<uint8_t>(first + i);
    }
  }
  uint32_t ReceiveStatus(uint32_t index) {
    return host_.Load<uint32_t>(kRxRing + 16 * index + 8);
  }
  uint16_t ReceivedLength(uint32_t index) {
    return host_.Load<uint16_t>(kRxRing + 16 * index + 12);
  }

  FlatMemory host_;
  IgbModel igb_{10};
};

TEST_F(IgbModelTest, RegistersThatDoNothingAreMemory) {
  EXPECT_TRUE(igb_.HandlesBar(pci::BarIndex(0), 0));
  EXPECT_TRUE(igb_.HandlesBar(pci::BarIndex(0), 0x3818));
  EXPECT_FALSE(igb_.HandlesBar(pci::BarIndex(0), 0x5b00));
  EXPECT_FALSE(igb_.HandlesBar(pci::BarIndex(3), 0));
}

// A look at EICR clears it.
TEST_F(IgbModelTest, LooksLeaveTheInterruptCauseAlone) {
  const pci::BarIndex bar(0);
  EXPECT_TRUE(igb_.IsPolled(bar, 0x1584));
  EXPECT_FALSE(igb_.IsPolled(bar, 0x1580));
}

TEST_F(IgbModelTest, ResetOfTheDeviceEndsAtOnce) {
  Start();
  Write(0, 1u << 26);
  EXPECT_EQ(Read(0), 0u);
  EXPECT_EQ(Read(0x3808), 0u);
  EXPECT_EQ(Read(0x10) & 0x200, 0x200u);  // EECD.AUTO_RD.
}

TEST_F(IgbModelTest, LinkIsUpIfItIsForced) {
  EXPECT_EQ(Read(0x08) & 2, 0u);
  Write(0, 0x40);
  EXPECT_EQ(Read(0x08) & 2, 2u);
}

TEST_F(IgbModelTest, PhyRegistersAreReadyAtOnce) {
  Write(0x20, 0x04000000 | 1u << 21 | 9u << 16 | 0xbeef);
  EXPECT_EQ(Read(0x20) & 0x10000000, 0x10000000u);
  Write(0x20, 0x08000000 | 1u << 21 | 9u << 16);
  EXPECT_EQ(Read(0x20) & 0x1000ffff, 0x1000beefu);
}

TEST_F(IgbModelTest, LoopbackCarriesAFrame) {
  Start();
  Fill(kSource, 100, 1);
  PutBuffer(0, kTarget);
  PutFrame(0, kSource, kSend | 100);
  EXPECT_TRUE(igb_.Step());
  EXPECT_FALSE(igb_.Step());
  EXPECT_EQ(host_.Bytes(kSource, 100), host_.Bytes(kTarget, 100));
  EXPECT_EQ(ReceiveStatus(0), 3u);
  EXPECT_EQ(ReceivedLength(0), 100);
  EXPECT_EQ(Read(0x3810), 1u);
  EXPECT_EQ(Read(0x2810), 1u);
  EXPECT_THAT(host_.msix(), ElementsAre(2));
}

TEST_F(IgbModelTest, PhyLoopsBackToo) {
  Start();
  Write(0x0100, 0x2);
  Write(0x20, 0x04000000 | 0x4000);
  PutBuffer(0, kTarget);
  PutFrame(0, kSource, kSend | 60);
  igb_.Step();
  EXPECT_EQ(igb_.counters().received, 1u);
}

TEST_F(IgbModelTest, WithoutLoopbackFramesAreLost) {
  Start();
  Write(0x0100, 0x2);
  PutBuffer(0, kTarget);
  PutFrame(0, kSource, kSend | kReport | 60);
  EXPECT_TRUE(igb_.Step());
  EXPECT_EQ(igb_.counters().sent, 1u);
  EXPECT_EQ(igb_.counters().received, 0u);
  EXPECT_EQ(host_.Load<uint32_t>(kTxRing + 12), 1u);
  EXPECT_THAT(host_.msix(), ElementsAre(3));
}

TEST_F(IgbModelTest, FrameOfSeveralPartsFillsSeveralBuffers) {
  Start();
  Write(0x280c, 1u << 25 | 1);  // Buffers of 1 KiB.
  Fill(kSource, 1500, 7);
  PutBuffer(0, kTarget);
  PutBuffer(1, kTarget + 0x1000);
  PutFrame(0, kSource, (kSend & ~0x01000000u) | 700);
  PutFrame(1, kSource + 700, kSend | 800);
  igb_.Step();
  EXPECT_EQ(host_.Bytes(kSource, 1024), host_.Bytes(kTarget, 1024));
  EXPECT_EQ(host_.Bytes(kSource + 1024, 476),
            host_.Bytes(kTarget + 0x1000, 476));
  EXPECT_EQ(ReceiveStatus(0), 1u);
  EXPECT_EQ(ReceiveStatus(1), 3u);
  EXPECT_EQ(ReceivedLength(1), 476);
  EXPECT_THAT(host_.msix(), ElementsAre(2));
}

TEST_F(IgbModelTest, LegacyDescriptorsWork) {
  Start();
  Write(0x280c, 0);
  PutBuffer(0, kTarget);
  PutFrame(0, kSource, 0x01000000 | 60);
  igb_.Step();
  EXPECT_EQ(host_.Load<uint64_t>(kRxRing), kTarget);
  EXPECT_EQ(host_.Load<uint16_t>(kRxRing + 8), 60);
  EXPECT_EQ(host_.Load<uint32_t>(kRxRing + 12), 3u);
}

TEST_F(IgbModelTest, ContextDescriptorIsNoFrame) {
  Start();
  PutFrame(0, 0, 0x20200000 | 0x01000000);
  igb_.Step();
  EXPECT_EQ(igb_.counters().sent, 0u);
  EXPECT_EQ(Read(0x3810), 1u);
}

TEST_F(IgbModelTest, RingWraps) {
  Start();
  Write(0x2810, 7);
  Write(0x3810, 7);
  PutBuffer(7, kTarget);
  PutFrame(7, kSource, kSend | 60);
  EXPECT_TRUE(igb_.Step());
  EXPECT_EQ(Read(0x3810), 0u);
  EXPECT_EQ(Read(0x2810), 0u);
  EXPECT_EQ(igb_.counters().received, 1u);
}

TEST_F(IgbModelTest, FrameWithoutABufferIsLost) {
  Start();
  PutFrame(0, kSource, kSend | 60);
  EXPECT_TRUE(igb_.Step());
  EXPECT_EQ(igb_.counters().received, 0u);
  EXPECT_THAT(host_.msix(), IsEmpty());
}

TEST_F(IgbModelTest, RefusedDmaLosesTheFrameOnly) {
  Start();
  Fill(kSource, 60, 3);
  PutBuffer(0, kTarget);
  PutFrame(0, 0, kSend | 60);  // Cannot be read.
  PutFrame(1, kSource, kSend | 60);
  igb_.Step();
  EXPECT_EQ(igb_.counters().refused, 1u);
  EXPECT_EQ(igb_.counters().received, 1u);
  PutBuffer(1, 0);  // Cannot be written.
  PutFrame(2, kSource, kSend | 60);
  igb_.Step();
  EXPECT_EQ(igb_.counters().refused, 2u);
  EXPECT_EQ(ReceiveStatus(1), 0u);
  host_.set_bus_master(false);
  PutFrame(3, kSource, kSend | 60);
  EXPECT_TRUE(igb_.Step());
  EXPECT_FALSE(igb_.Step());
}

TEST_F(IgbModelTest, FrameThatIsTooLongIsLost) {
  Start();
  PutBuffer(0, kTarget);
  PutFrame(0, kSource, (kSend & ~0x01000000u) | 0x2000);
  PutFrame(1, kSource, kSend | 0x2000);
  PutFrame(2, kSource, kSend | 60);
  igb_.Step();
  EXPECT_EQ(igb_.counters().sent, 1u);
  EXPECT_EQ(ReceivedLength(0), 60);
}

TEST_F(IgbModelTest, IndicesBeyondTheRingStopIt) {
  Start();
  Write(0x3818, 1000);
  EXPECT_FALSE(igb_.Step());
  Write(0x3818, 1);
  Write(0x3810, 0xffffffff);
  EXPECT_FALSE(igb_.Step());
  Write(0x3808, 0);
  Write(0x3810, 0);
  EXPECT_FALSE(igb_.Step());
}

TEST_F(IgbModelTest, SoftwareRaisesAVector) {
  Start();
  Write(0x1520, 1u << 2);
  EXPECT_THAT(host_.msix(), ElementsAre(2));
}

TEST_F(IgbModelTest, MaskedCauseIsSignalledWhenItIsUnmasked) {
  Start();
  Write(0x1528, 1u << 2);
  Write(0x1520, 1u << 2);
  EXPECT_THAT(host_.msix(), IsEmpty());
  Write(0x1524, 1u << 2);
  EXPECT_THAT(host_.msix(), ElementsAre(2));
}

TEST_F(IgbModelTest, ClearedCauseIsNotSignalled) {
  Start();
  Write(0x1528, 1u << 2);
  Write(0x1520, 1u << 2);
  Write(0x1580, 0xffffffff);
  Write(0x1524, 1u << 2);
  EXPECT_THAT(host_.msix(), IsEmpty());
  EXPECT_EQ(Read(0x1580), 0u);
}

TEST_F(IgbModelTest, SignalClearsAndMasksWhatItIsToldTo) {
  Start();
  Write(0x152c, 1u << 2);
  Write(0x1530, 1u << 2);
  Write(0x1520, 1u << 2);
  EXPECT_EQ(Read(0x1524), 1u << 3);  // EIMS.
  EXPECT_EQ(Read(0x1580), 0u);       // EICR.
  Write(0x1520, 1u << 2);
  EXPECT_THAT(host_.msix(), ElementsAre(2));
}

TEST_F(IgbModelTest, VectorBeyondTheTableIsNotSignalled) {
  Start();
  Write(0x1524, 1u << 20);
  Write(0x1520, 1u << 20);
  EXPECT_THAT(host_.msix(), IsEmpty());
}

TEST_F(IgbModelTest, ResetStopsEverything) {
  Start();
  PutBuffer(0, kTarget);
  PutFrame(0, kSource, kSend | 60);
  igb_.Reset(ResetKind::kFunctionLevel);
  EXPECT_FALSE(igb_.Step());
  EXPECT_EQ(Read(0x1524), 0u);
}

}  // namespace
}  // namespace passthru::models
