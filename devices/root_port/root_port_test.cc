// SPDX-License-Identifier: Apache-2.0
//
// Tests a root port on a segment, by the guest's configuration accesses.

#include "passthru/devices/root_port/root_port.h"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <random>
#include <thread>
#include <tuple>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/types/span.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/devices/pci_host/fake_pci_function.h"
#include "passthru/devices/pci_host/pci_function.h"
#include "passthru/devices/pci_host/pci_segment.h"
#include "passthru/pci/bdf.h"
#include "passthru/pci/bridge_windows.h"
#include "passthru/pci/msi_message.h"
#include "passthru/testing/rig/interrupt_rig.h"

namespace passthru::root_port {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr pci::Bdf kPort(0, 0, 2, 0);
constexpr pci::MsiMessage kMessage = {.address = 0xfee00000, .data = 0x51};

// Offsets in the port's configuration space.
constexpr uint16_t kCommand = 0x04;
constexpr uint16_t kStatus = 0x06;
constexpr uint16_t kSecondary = 0x19;
constexpr uint16_t kSubordinate = 0x1a;
constexpr uint16_t kMemoryBase = 0x20;
constexpr uint16_t kBridgeControl = 0x3e;
constexpr uint16_t kPmControl = 0x44;
constexpr uint16_t kMsiControl = 0x4a;
constexpr uint16_t kLinkCtl = 0x70;
constexpr uint16_t kLinkSta = 0x72;
constexpr uint16_t kSlotCtl = 0x78;
constexpr uint16_t kSlotSta = 0x7a;

// Values of Slot Control. Both enable the interrupts that pciehp enables in a
// slot with a button, which are those of button, power fault and link.
constexpr uint32_t kPoweredOn = 0x11e3;   // power and power indicator on
constexpr uint32_t kPoweredOff = 0x17e3;  // both off
// Bits of Slot Status.
constexpr uint32_t kButtonBit = 0x001;
constexpr uint32_t kFaultBit = 0x002;
constexpr uint32_t kPresenceBit = 0x008;
constexpr uint32_t kPresentBit = 0x040;
constexpr uint32_t kLinkBit = 0x100;
// Link Status, Data Link Layer Link Active.
constexpr uint32_t kLinkActiveBit = 0x2000;

class LevelLine final : public interrupts::InterruptLine {
 public:
  explicit LevelLine(std::atomic<bool>* level) : level_(level) {}
  absl::Status Set(bool asserted) override {
    *level_ = asserted;
    return absl::OkStatus();
  }

 private:
  std::atomic<bool>* const level_;
};

// A function that counts what its bridge tells it, and asks the bridge then.
class FollowingFunction final : public pci_host::PciFunction {
 public:
  explicit FollowingFunction(const RootPort* port) : port_(port) {}
  uint32_t ConfigRead(uint16_t, unsigned) override { return 0x12345678; }
  void ConfigWrite(uint16_t, absl::Span<const uint8_t>) override { ++writes; }
  void OnUpstreamChange() override {
    ++changes;
    answers = port_->ForwardsMemory(0xc0000000, 0x4000);
  }

  std::atomic<int> writes = 0;
  std::atomic<int> changes = 0;
  std::atomic<bool> answers = false;

 private:
  const RootPort* const port_;
};

RootPort::Resources FirmwareResources() {
  return {
      .secondary_bus = 1,
      .subordinate_bus = 1,
      .windows = {.io = {.base = 0x1000, .size = 0x1000},
                  .memory = {.base = 0xc0000000, .size = 0x200000},
                  .prefetchable = {.base = 0x4000000000, .size = 0x10000000}}};
}

class RootPortTest : public ::testing::Test {
 protected:
  RootPortTest() {
    port_ = std::make_shared<RootPort>(
        RootPort::Options{.name = "root port",
                          .port_number = 1,
                          .slot_number = 1,
                          .controller = &controller_,
                          .line = std::make_unique<LevelLine>(&level_),
                          .on_removal_permitted = [this] { ++permitted_; },
                          .reset_bus =
                              [this] {
                                ++resets_;
                                if (while_reset_ != nullptr) while_reset_();
                              }});
    function_ = std::make_shared<FollowingFunction>(port_.get());
    EXPECT_THAT(segment_.AddBridge(kPort, port_), IsOk());
    EXPECT_THAT(port_->Reset(FirmwareResources()), IsOk());
  }

  // Puts a card in before the guest starts.
  void StartWithCard() {
    EXPECT_THAT(port_->bus()->Add(pci::Bdf(0, 1, 0, 0), function_), IsOk());
    port_->Insert();
    EXPECT_THAT(port_->Reset(FirmwareResources()), IsOk());
  }

  // Does what pciehp does when it takes over the port.
  void StartDriver(uint32_t slot_control) {
    Write(kSlotSta, 2, 0xffff);
    Write(kSlotCtl, 2, slot_control);
  }
  void EnableMsi() {
    Write(0x4c, 4, static_cast<uint32_t>(kMessage.address));
    Write(0x54, 2, kMessage.data);
    Write(kMsiControl, 2, 1);
  }

  uint32_t ReadAt(pci::Bdf bdf, uint16_t offset, size_t width) {
    std::vector<uint8_t> data(width);
    segment_.ConfigRead(bdf, offset, absl::MakeSpan(data));
    uint32_t value = 0;
    for (size_t i = 0; i < width; ++i) value |= uint32_t{data[i]} << 8 * i;
    return value;
  }
  void WriteAt(pci::Bdf bdf, uint16_t offset, size_t width, uint32_t value) {
    std::vector<uint8_t> data;
    for (size_t i = 0; i < width; ++i) {
      data.push_back(static_cast<uint8_t>(value >> 8 * i));
    }
    segment_.ConfigWrite(bdf, offset, data);
  }
  uint32_t Read(uint16_t offset, size_t width) {
    return ReadAt(kPort, offset, width);
  }
  void Write(uint16_t offset, size_t width, uint32_t value) {
    WriteAt(kPort, offset, width, value);
  }
  bool Answers(uint8_t bus) {
    return ReadAt(pci::Bdf(0, bus, 0, 0), 0, 4) == 0x12345678;
  }

  fake::InterruptRig controller_;
  std::atomic<bool> level_ = false;
  std::atomic<int> permitted_ = 0;
  std::atomic<int> resets_ = 0;
  std::function<void()> while_reset_;
  pci_host::PciSegment segment_;
  std::shared_ptr<RootPort> port_;
  std::shared_ptr<FollowingFunction> function_;
};

// --- Routing of configuration accesses.

TEST_F(RootPortTest, TheCardIsAtTheSecondaryBus) {
  StartWithCard();
  EXPECT_TRUE(Answers(1));
  EXPECT_FALSE(Answers(2));
  WriteAt(pci::Bdf(0, 1, 0, 0), 0x40, 4, 7);
  EXPECT_EQ(function_->writes, 1);
}

TEST_F(RootPortTest, OnlyDeviceZeroIsBehindALink) {
  StartWithCard();
  EXPECT_EQ(ReadAt(pci::Bdf(0, 1, 1, 0), 0, 4), 0xffffffff);
  EXPECT_EQ(ReadAt(pci::Bdf(0, 1, 31, 0), 0, 4), 0xffffffff);
  EXPECT_EQ(ReadAt(pci::Bdf(0, 1, 0, 1), 0, 4), 0xffffffff);
  EXPECT_THAT(port_->bus()->Add(pci::Bdf(0, 1, 1, 0), function_),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(port_->bus()->Remove(pci::Bdf(0, 1, 1, 0)),
              StatusIs(absl::StatusCode::kNotFound));
}

TEST_F(RootPortTest, TheGuestMayNumberTheBusAnew) {
  StartWithCard();
  Write(kSubordinate, 1, 9);
  Write(kSecondary, 1, 7);
  EXPECT_FALSE(Answers(1));
  EXPECT_TRUE(Answers(7));
  EXPECT_FALSE(Answers(8)) << "nothing is behind the card";
  // All three numbers at once, as Linux writes them.
  Write(0x18, 4, 0x00030300);
  EXPECT_TRUE(Answers(3));
  Write(0x18, 4, 0);
  EXPECT_FALSE(Answers(3));
  EXPECT_EQ(ReadAt(pci::Bdf(0, 0, 0, 0), 0, 4), 0xffffffff);
}

TEST_F(RootPortTest, ASubordinateBelowTheSecondaryForwardsNothing) {
  StartWithCard();
  Write(0x18, 4, 0x00010200);
  EXPECT_FALSE(Answers(1));
  EXPECT_FALSE(Answers(2));
}

TEST_F(RootPortTest, SeveralFunctionsAreMultiFunction) {
  StartWithCard();
  const auto second = std::make_shared<pci_host::FakePciFunction>();
  ASSERT_THAT(port_->bus()->Add(pci::Bdf(0, 1, 0, 3), second), IsOk());
  EXPECT_EQ(ReadAt(pci::Bdf(0, 1, 0, 3), 0x0e, 1), 0x80u);
  EXPECT_THAT(port_->Functions(), ElementsAre(0, 3));
  ASSERT_THAT(port_->bus()->Remove(pci::Bdf(0, 1, 0, 3)), IsOk());
  EXPECT_THAT(port_->Functions(), ElementsAre(0));
}

TEST_F(RootPortTest, WithoutALinkNothingAnswers) {
  StartWithCard();
  for (const auto& [offset, off, on] :
       {std::tuple(kSlotCtl, 0x0500u, 0x0100u),
        std::tuple(kLinkCtl, 0x10u, 0x00u),
        std::tuple(kBridgeControl, 0x40u, 0x00u)}) {
    const int resets = resets_;
    ASSERT_TRUE(Answers(1));
    Write(offset, 2, off);
    EXPECT_FALSE(Answers(1)) << offset;
    EXPECT_EQ(Read(kLinkSta, 2) & kLinkActiveBit, 0u);
    EXPECT_EQ(resets_, resets + 1) << "a card without a link is reset";
    EXPECT_FALSE(function_->answers);
    Write(offset, 2, on);
    EXPECT_TRUE(Answers(1));
    EXPECT_EQ(Read(kLinkSta, 2) & kLinkActiveBit, kLinkActiveBit);
    EXPECT_TRUE(function_->answers);
  }
}

// The reset would otherwise hit what the driver on the other vCPU sets up.
TEST_F(RootPortTest, ALinkThatAnotherVcpuWantsUpWaitsForTheReset) {
  StartWithCard();
  StartDriver(kPoweredOn);
  EnableMsi();
  while_reset_ = [this] {
    EXPECT_EQ(Read(kLinkSta, 2) & kLinkActiveBit, 0u);
    Write(kSlotSta, 2, kLinkBit);
    Write(kSlotCtl, 2, kPoweredOn);
    EXPECT_FALSE(Answers(1));
    EXPECT_EQ(Read(kSlotSta, 2) & kLinkBit, 0u);
    controller_.TakeDelivered();
  };
  Write(kSlotCtl, 2, kPoweredOff);
  EXPECT_EQ(resets_, 1);
  EXPECT_TRUE(Answers(1));
  EXPECT_TRUE(function_->answers);
  EXPECT_EQ(Read(kSlotSta, 2) & kLinkBit, kLinkBit);
  EXPECT_THAT(controller_.TakeDelivered(), ElementsAre(kMessage));
}

TEST_F(RootPortTest, InD3hotThePortForwardsNothingAndKeepsTheLink) {
  StartWithCard();
  Write(kPmControl, 2, 3);
  EXPECT_FALSE(Answers(1));
  EXPECT_FALSE(port_->ForwardsMemory(0xc0000000, 1));
  EXPECT_TRUE(port_->link_active());
  Write(kPmControl, 2, 1);
  EXPECT_EQ(Read(kPmControl, 2) & 3, 3u) << "there is no D1";
  Write(kPmControl, 2, 0);
  EXPECT_TRUE(Answers(1));
  EXPECT_EQ(resets_, 0);
}

// --- Windows.

TEST_F(RootPortTest, WindowsForwardWhatIsWhollyInside) {
  StartWithCard();
  EXPECT_TRUE(port_->ForwardsMemory(0xc0000000, 0x200000));
  EXPECT_FALSE(port_->ForwardsMemory(0xc0000000, 0x200001));
  EXPECT_TRUE(port_->ForwardsMemory(0x4000000000, 0x10000000));
  EXPECT_TRUE(port_->ForwardsIo(0x1ff0, 0x10));
  EXPECT_FALSE(port_->ForwardsIo(0x2000, 1));
  EXPECT_FALSE(port_->ForwardsMemory(0x1000, 0x1000));
}

TEST_F(RootPortTest, CommandGatesTheWindows) {
  StartWithCard();
  Write(kCommand, 2, 0x0004);
  EXPECT_FALSE(port_->ForwardsMemory(0xc0000000, 1));
  EXPECT_FALSE(port_->ForwardsIo(0x1000, 1));
  EXPECT_FALSE(function_->answers);
  Write(kCommand, 1, 0x02);
  EXPECT_TRUE(port_->ForwardsMemory(0xc0000000, 1));
  EXPECT_FALSE(port_->ForwardsIo(0x1000, 1));
  EXPECT_TRUE(function_->answers);
  Write(kCommand, 1, 0x01);
  EXPECT_TRUE(port_->ForwardsIo(0x1000, 1));
}

TEST_F(RootPortTest, AFunctionFollowsAWindowThatMoves) {
  StartWithCard();
  const int changes = function_->changes;
  ASSERT_TRUE(function_->answers);
  Write(kMemoryBase, 4, 0xd010d000);
  EXPECT_FALSE(function_->answers);
  Write(kMemoryBase, 4, 0xc010c000);
  EXPECT_TRUE(function_->answers);
  EXPECT_EQ(function_->changes, changes + 2);
}

// A function is told only of what concerns it.
TEST_F(RootPortTest, OtherWritesAreNotTheFunctionsBusiness) {
  StartWithCard();
  const int changes = function_->changes;
  Write(kSlotSta, 2, 0xffff);
  Write(kSecondary, 1, 1);
  Write(0x3c, 1, 11);
  Write(kSlotCtl, 2, kPoweredOn);
  EXPECT_EQ(function_->changes, changes);
}

TEST_F(RootPortTest, IsaEnableLeavesTheFirstQuarterOfEachKilobyte) {
  StartWithCard();
  Write(kBridgeControl, 2, 0x04);
  EXPECT_TRUE(port_->ForwardsIo(0x1400, 0x100));
  EXPECT_FALSE(port_->ForwardsIo(0x1500, 0x10));
  EXPECT_FALSE(port_->ForwardsIo(0x1400, 0x200));
}

TEST_F(RootPortTest, FirmwareCannotProgramABadWindow) {
  StartWithCard();
  RootPort::Resources bad = FirmwareResources();
  bad.windows.memory.size = 0x1234;
  EXPECT_THAT(port_->Reset(bad), StatusIs(absl::StatusCode::kInvalidArgument,
                                          ::testing::HasSubstr("root port")));
  EXPECT_TRUE(Answers(1));
}

// --- Registers.

TEST_F(RootPortTest, EveryWidthReadsTheSameBytes) {
  StartWithCard();
  for (uint16_t offset = 0; offset < 256; offset += 4) {
    const uint32_t dword = Read(offset, 4);
    for (uint16_t i = 0; i < 4; ++i) {
      EXPECT_EQ(Read(offset + i, 1), dword >> 8 * i & 0xff);
    }
    for (uint16_t i = 0; i < 4; i += 2) {
      EXPECT_EQ(Read(offset + i, 2), dword >> 8 * i & 0xffff);
    }
  }
}

TEST_F(RootPortTest, SlotStatusClearsBitByBitAtEveryWidth) {
  StartDriver(kPoweredOn);
  const uint32_t all = kButtonBit | kPresenceBit | kLinkBit | kPresentBit;
  port_->Insert();
  EXPECT_EQ(Read(kSlotSta, 2), all);
  Write(kSlotSta, 1, kButtonBit);
  EXPECT_EQ(Read(kSlotSta, 2), all & ~kButtonBit);
  Write(kSlotSta + 1, 1, kLinkBit >> 8);
  EXPECT_EQ(Read(kSlotSta, 2), kPresenceBit | kPresentBit);
  // Slot Control in the same dword stays as written.
  Write(kSlotCtl, 4, (kPresenceBit | kPresentBit) << 16 | kPoweredOn);
  EXPECT_EQ(Read(kSlotCtl, 4), kPresentBit << 16 | kPoweredOn);
}

TEST_F(RootPortTest, AWriteOfZeroClearsNoEvent) {
  port_->Insert();
  Write(kSlotSta, 2, 0);
  EXPECT_EQ(Read(kSlotSta, 2), kButtonBit | kPresenceBit | kPresentBit);
}

TEST_F(RootPortTest, ReservedIndicatorsKeepWhatTheyShow) {
  Write(kSlotCtl, 2, 0x0640);  // attention on, power blinks
  EXPECT_EQ(Read(kSlotCtl, 2), 0x0640u);
  Write(kSlotCtl, 2, 0x0400);
  EXPECT_EQ(Read(kSlotCtl, 2), 0x0640u);
  Write(kSlotCtl, 2, 0x0480);  // attention blinks
  EXPECT_EQ(Read(kSlotCtl, 2), 0x0680u);
}

TEST_F(RootPortTest, RetrainLinkReadsZeroAndKeepsTheLink) {
  StartWithCard();
  Write(kLinkCtl, 2, 0x0020);
  EXPECT_EQ(Read(kLinkCtl, 2), 0u);
  EXPECT_TRUE(Answers(1));
}

// --- Hot plug as pciehp does it.

TEST_F(RootPortTest, PlugPowerOnUnplugPowerOff) {
  StartDriver(kPoweredOff);
  EnableMsi();
  ASSERT_THAT(port_->bus()->Add(pci::Bdf(0, 1, 0, 0), function_), IsOk());
  EXPECT_FALSE(Answers(1));
  port_->Insert();
  EXPECT_THAT(controller_.TakeDelivered(), ElementsAre(kMessage));
  EXPECT_EQ(Read(kSlotSta, 2), kButtonBit | kPresenceBit | kPresentBit);
  Write(kSlotSta, 2, kButtonBit | kPresenceBit);
  EXPECT_FALSE(Answers(1));
  Write(kSlotCtl, 2, kPoweredOn);
  EXPECT_THAT(controller_.TakeDelivered(), ElementsAre(kMessage));
  EXPECT_EQ(Read(kSlotSta, 2), kLinkBit | kPresentBit);
  Write(kSlotSta, 2, kLinkBit);
  EXPECT_TRUE(Answers(1));

  ASSERT_THAT(port_->RequestRemoval(), IsOk());
  EXPECT_THAT(controller_.TakeDelivered(), ElementsAre(kMessage));
  EXPECT_EQ(Read(kSlotSta, 2), kButtonBit | kPresentBit);
  Write(kSlotSta, 2, kButtonBit);
  EXPECT_TRUE(port_->removal_pending());
  Write(kSlotCtl, 2, 0x12e3);  // the power indicator blinks
  Write(kSlotCtl, 2, 0x16e3);  // power off
  EXPECT_EQ(permitted_, 0);
  EXPECT_FALSE(Answers(1));
  Write(kSlotCtl, 2, kPoweredOff);
  EXPECT_EQ(permitted_, 1);
  Write(kSlotSta, 2, kLinkBit);
  controller_.TakeDelivered();
  port_->Remove();
  EXPECT_EQ(Read(kSlotSta, 2), kPresenceBit);
  EXPECT_THAT(controller_.TakeDelivered(), IsEmpty())
      << "pciehp does not enable the interrupt of the presence detect";
  EXPECT_FALSE(port_->card_present());
}

TEST_F(RootPortTest, ASurpriseRemovalIsALinkThatGoesDown) {
  StartWithCard();
  StartDriver(kPoweredOn);
  EnableMsi();
  port_->Remove();
  EXPECT_THAT(controller_.TakeDelivered(), ElementsAre(kMessage));
  EXPECT_EQ(Read(kSlotSta, 2), kPresenceBit | kLinkBit);
  EXPECT_FALSE(Answers(1));
  EXPECT_FALSE(function_->answers);
  EXPECT_EQ(resets_, 0) << "there is nothing to reset";
}

TEST_F(RootPortTest, PowerFaultInterruptsAndCutsTheLink) {
  StartWithCard();
  StartDriver(kPoweredOn);
  EnableMsi();
  port_->FailPower();
  EXPECT_THAT(controller_.TakeDelivered(), ElementsAre(kMessage));
  EXPECT_EQ(Read(kSlotSta, 2), kFaultBit | kLinkBit | kPresentBit);
  EXPECT_FALSE(Answers(1));
}

TEST_F(RootPortTest, RequestsThatMakeNoSenseAreRefused) {
  EXPECT_THAT(port_->RequestRemoval(),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       "root port: the slot is empty"));
  StartWithCard();
  EXPECT_THAT(port_->CancelRemoval(),
              StatusIs(absl::StatusCode::kFailedPrecondition));
  EXPECT_THAT(port_->RequestRemoval(), IsOk());
  EXPECT_THAT(port_->RequestRemoval(),
              StatusIs(absl::StatusCode::kAlreadyExists));
  EXPECT_THAT(port_->CancelRemoval(), IsOk());
}

TEST_F(RootPortTest, AResetInTheMiddleOfAnUnplugForgetsTheRequest) {
  StartWithCard();
  ASSERT_THAT(port_->RequestRemoval(), IsOk());
  ASSERT_THAT(port_->Reset(FirmwareResources()), IsOk());
  EXPECT_FALSE(port_->removal_pending());
  EXPECT_EQ(Read(kSlotSta, 2), kPresentBit);
  Write(kSlotCtl, 2, kPoweredOff);
  EXPECT_EQ(permitted_, 0);
}

// --- Interrupts.

TEST_F(RootPortTest, IntxIsALevelThatTheStatusBitsHold) {
  StartDriver(kPoweredOff);
  port_->Insert();
  EXPECT_TRUE(level_);
  EXPECT_EQ(Read(kStatus, 2) & 8, 8u);
  Write(kSlotSta, 2, kPresenceBit);
  EXPECT_TRUE(level_) << "the button is still there";
  Write(kSlotSta, 2, kButtonBit);
  EXPECT_FALSE(level_);
  EXPECT_EQ(Read(kStatus, 2) & 8, 0u);
}

TEST_F(RootPortTest, InterruptDisableTakesTheLineDown) {
  StartDriver(kPoweredOff);
  port_->Insert();
  Write(kCommand, 2, 0x0407);
  EXPECT_FALSE(level_);
  EXPECT_EQ(Read(kStatus, 2) & 8, 8u) << "the event is still there";
  Write(kCommand, 2, 0x0007);
  EXPECT_TRUE(level_);
}

TEST_F(RootPortTest, AnEventBeforeTheDriverInterruptsWhenItIsEnabled) {
  port_->Insert();
  EXPECT_FALSE(level_);
  EnableMsi();
  EXPECT_THAT(controller_.TakeDelivered(), IsEmpty());
  Write(kSlotCtl, 2, kPoweredOff);
  EXPECT_THAT(controller_.TakeDelivered(), ElementsAre(kMessage));
}

TEST_F(RootPortTest, AMaskedMessageIsPendingUntilItIsUnmasked) {
  StartDriver(kPoweredOff);
  EnableMsi();
  Write(0x58, 4, 1);
  port_->Insert();
  EXPECT_THAT(controller_.TakeDelivered(), IsEmpty());
  EXPECT_EQ(Read(0x5c, 4), 1u);
  Write(0x58, 1, 0);
  EXPECT_THAT(controller_.TakeDelivered(), ElementsAre(kMessage));
  EXPECT_EQ(Read(0x5c, 4), 0u);
}

TEST_F(RootPortTest, AResetTakesTheLineDown) {
  StartDriver(kPoweredOff);
  port_->Insert();
  ASSERT_TRUE(level_);
  ASSERT_THAT(port_->Reset(FirmwareResources()), IsOk());
  EXPECT_FALSE(level_);
}

// --- Everything at once, for ThreadSanitizer.

TEST_F(RootPortTest, GuestsAndTheVmmDoWhatTheyLikeAtOnce) {
  StartWithCard();
  std::vector<std::thread> threads;
  for (uint32_t seed = 0; seed < 3; ++seed) {
    threads.emplace_back([this, seed] {
      std::mt19937 random(seed);
      for (int i = 0; i < 3000; ++i) {
        const auto offset = static_cast<uint16_t>(random() % 0x9c);
        if (random() % 2 == 0) {
          Write(offset, 1 + random() % 4, static_cast<uint32_t>(random()));
        } else {
          ReadAt(pci::Bdf(0, random() % 4, 0, 0), offset, 1 + random() % 4);
        }
      }
    });
  }
  threads.emplace_back([this] {
    std::mt19937 random(99);
    for (int i = 0; i < 1000; ++i) {
      switch (random() % 5) {
        case 0:
          port_->Insert();
          break;
        case 1:
          port_->Remove();
          break;
        case 2:
          port_->RequestRemoval().IgnoreError();
          break;
        case 3:
          port_->CancelRemoval().IgnoreError();
          break;
        default:
          port_->FailPower();
      }
    }
  });
  for (std::thread& thread : threads) thread.join();
  // A reset brings the port back, whatever was done to it.
  port_->Insert();
  ASSERT_THAT(port_->Reset(FirmwareResources()), IsOk());
  EXPECT_TRUE(Answers(1));
  EXPECT_TRUE(port_->ForwardsMemory(0xc0000000, 0x4000));
}

}  // namespace
}  // namespace passthru::root_port
