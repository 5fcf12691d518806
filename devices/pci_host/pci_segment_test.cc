// SPDX-License-Identifier: Apache-2.0

#include "passthru/devices/pci_host/pci_segment.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "absl/types/span.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/devices/pci_host/fake_pci_function.h"
#include "passthru/devices/pci_host/pci_bridge.h"
#include "passthru/devices/pci_host/pci_function.h"
#include "passthru/pci/bdf.h"

namespace passthru::pci_host {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::IsOkAndHolds;
using ::absl_testing::StatusIs;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr pci::Bdf kNvme(0, 0, 3, 0);
constexpr uint16_t kHeaderType = 0x0e;

class PciSegmentTest : public testing::Test {
 protected:
  std::shared_ptr<FakePciFunction> AddFunction(pci::Bdf bdf) {
    auto function = std::make_shared<FakePciFunction>();
    EXPECT_THAT(segment_.Add(bdf, function), IsOk());
    return function;
  }

  std::vector<uint8_t> Read(pci::Bdf bdf, uint16_t offset, size_t size) {
    // This is neither the answer of a function nor all ones.
    std::vector<uint8_t> data(size, 0xee);
    segment_.ConfigRead(bdf, offset, absl::MakeSpan(data));
    return data;
  }

  uint8_t HeaderType(pci::Bdf bdf) { return Read(bdf, kHeaderType, 1)[0]; }

  PciSegment segment_;
};

TEST_F(PciSegmentTest, WhatIsAbsentReadsAllOnes) {
  EXPECT_THAT(Read(kNvme, 0, 4), Each(0xff));
  segment_.ConfigWrite(kNvme, 0, {1, 2});
}

TEST_F(PciSegmentTest, AnotherFunctionOfTheSlotIsAbsent) {
  AddFunction(kNvme);
  for (uint8_t function = 1; function < 8; ++function)
    EXPECT_THAT(Read(pci::Bdf(0, 0, 3, function), 0, 4), Each(0xff));
}

TEST_F(PciSegmentTest, ReadsAndWritesTheFunction) {
  const auto nvme = AddFunction(kNvme);
  segment_.ConfigWrite(kNvme, 0x40, {1, 2, 3, 4});
  EXPECT_THAT(Read(kNvme, 0x40, 4), ElementsAre(1, 2, 3, 4));
  EXPECT_THAT(Read(kNvme, 0x42, 2), ElementsAre(3, 4));
  EXPECT_THAT(nvme->log,
              ElementsAre("write 0x40 4", "read 0x40 4", "read 0x42 2"));
}

TEST_F(PciSegmentTest, EachFunctionIsItsOwn) {
  const pci::Bdf places[] = {pci::Bdf(0, 0, 0, 0), pci::Bdf(0, 0, 0, 7),
                             pci::Bdf(0, 0, 31, 0), pci::Bdf(0, 1, 0, 0),
                             pci::Bdf(0, 255, 31, 7)};
  for (uint8_t i = 0; i < 5; ++i) AddFunction(places[i])->bytes[0] = i;
  for (uint8_t i = 0; i < 5; ++i)
    EXPECT_THAT(Read(places[i], 0, 1), ElementsAre(i));
  EXPECT_THAT(segment_.Functions(), testing::ElementsAreArray(places));
}

TEST_F(PciSegmentTest, AccessesAreCutToAlignedPieces) {
  const auto nvme = AddFunction(kNvme);
  Read(kNvme, 0x11, 8);
  EXPECT_THAT(nvme->log, ElementsAre("read 0x11 1", "read 0x12 2",
                                     "read 0x14 4", "read 0x18 1"));
}

TEST_F(PciSegmentTest, WhatIsBeyondTheEndReadsAllOnes) {
  const auto nvme = AddFunction(kNvme);
  EXPECT_THAT(Read(kNvme, 4094, 4), ElementsAre(0, 0, 0xff, 0xff));
  EXPECT_THAT(Read(kNvme, 4096, 4), Each(0xff));
  EXPECT_THAT(Read(kNvme, 0xffff, 4), Each(0xff));
  segment_.ConfigWrite(kNvme, 4094, {1, 2, 3, 4});
  segment_.ConfigWrite(kNvme, 0xffff, {1});
  EXPECT_THAT(nvme->log, ElementsAre("read 0xffe 2", "write 0xffe 2"));
}

TEST_F(PciSegmentTest, ASingleFunctionIsNotMultiFunction) {
  const auto nvme = AddFunction(kNvme);
  nvme->bytes[kHeaderType] = 0x80;  // As in its host.
  EXPECT_EQ(HeaderType(kNvme), 0x00);
  nvme->bytes[kHeaderType] = 0x81;
  EXPECT_EQ(HeaderType(kNvme), 0x01);
}

TEST_F(PciSegmentTest, FunctionsThatShareASlotAreMultiFunction) {
  AddFunction(kNvme);
  AddFunction(pci::Bdf(0, 0, 4, 0));
  EXPECT_EQ(HeaderType(kNvme), 0x00);
  AddFunction(pci::Bdf(0, 0, 3, 2));
  EXPECT_EQ(HeaderType(kNvme), 0x80);
  EXPECT_EQ(HeaderType(pci::Bdf(0, 0, 3, 2)), 0x80);
  EXPECT_EQ(HeaderType(pci::Bdf(0, 0, 4, 0)), 0x00);
  EXPECT_THAT(segment_.Remove(pci::Bdf(0, 0, 3, 2)), IsOk());
  EXPECT_EQ(HeaderType(kNvme), 0x00);
}

TEST_F(PciSegmentTest, TheMultiFunctionBitIsSeenAtEveryWidth) {
  AddFunction(kNvme)->bytes[kHeaderType + 1] = 0x77;
  AddFunction(pci::Bdf(0, 0, 3, 1));
  EXPECT_THAT(Read(kNvme, 0x0c, 4), ElementsAre(0, 0, 0x80, 0x77));
  EXPECT_THAT(Read(kNvme, 0x0e, 2), ElementsAre(0x80, 0x77));
  EXPECT_THAT(Read(kNvme, 0x0d, 2), ElementsAre(0, 0x80));
  EXPECT_THAT(Read(kNvme, 0x0b, 8), ElementsAre(0, 0, 0, 0x80, 0x77, 0, 0, 0));
}

TEST_F(PciSegmentTest, TheBitIsNowhereElse) {
  const auto nvme = AddFunction(kNvme);
  AddFunction(pci::Bdf(0, 0, 3, 1));
  for (uint16_t offset = 0; offset < 4096; ++offset) {
    EXPECT_EQ(Read(kNvme, offset, 1)[0], offset == kHeaderType ? 0x80 : 0)
        << offset;
  }
}

TEST_F(PciSegmentTest, AFunctionThatDoesNotAnswerStaysAllOnes) {
  AddFunction(kNvme)->bytes.fill(0xff);
  EXPECT_THAT(Read(kNvme, 0, 64), Each(0xff));
}

TEST_F(PciSegmentTest, AWriteToTheHeaderTypeIsTheFunctionsBusiness) {
  const auto nvme = AddFunction(kNvme);
  segment_.ConfigWrite(kNvme, kHeaderType, {0x80});
  EXPECT_EQ(nvme->bytes[kHeaderType], 0x80);
  EXPECT_EQ(HeaderType(kNvme), 0x00);
}

TEST_F(PciSegmentTest, RefusesNoFunction) {
  EXPECT_THAT(
      segment_.Add(kNvme, nullptr),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("0000:00:03.0")));
}

TEST_F(PciSegmentTest, RefusesAnotherSegment) {
  EXPECT_THAT(
      segment_.Add(pci::Bdf(1, 0, 3, 0), std::make_shared<FakePciFunction>()),
      StatusIs(absl::StatusCode::kInvalidArgument,
               "0001:00:03.0 is not on PCI segment 0000"));
}

TEST_F(PciSegmentTest, RefusesAPlaceThatIsTaken) {
  const auto nvme = AddFunction(kNvme);
  nvme->bytes[0] = 0x42;
  EXPECT_THAT(
      segment_.Add(kNvme, std::make_shared<FakePciFunction>()),
      StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr("0000:00:03.0")));
  EXPECT_THAT(Read(kNvme, 0, 1), ElementsAre(0x42));
  EXPECT_EQ(HeaderType(kNvme), 0x00);
}

TEST_F(PciSegmentTest, AnEmptyPlaceIsNotFound) {
  EXPECT_THAT(segment_.Remove(kNvme),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("0000:00:03.0")));
}

TEST_F(PciSegmentTest, ARemovedFunctionIsAbsentAndLetGo) {
  std::weak_ptr<PciFunction> nvme = AddFunction(kNvme);
  ASSERT_THAT(segment_.Remove(kNvme), IsOk());
  EXPECT_TRUE(nvme.expired());
  EXPECT_THAT(Read(kNvme, 0, 4), Each(0xff));
  EXPECT_THAT(segment_.Functions(), IsEmpty());
  AddFunction(kNvme);
}

TEST_F(PciSegmentTest, AFunctionMayRemoveItself) {
  auto nvme = AddFunction(kNvme);
  const std::weak_ptr<PciFunction> alive = nvme;
  bool alive_after_removal = false;
  nvme->during_call = [&] {
    EXPECT_THAT(segment_.Remove(kNvme), IsOk());
    alive_after_removal = !alive.expired();
  };
  nvme.reset();
  segment_.ConfigWrite(kNvme, 0x40, {1});
  EXPECT_TRUE(alive_after_removal);
  EXPECT_TRUE(alive.expired());
}

TEST_F(PciSegmentTest, ASegmentOtherThanZeroHasItsOwnAddresses) {
  PciSegment segment(0x12);
  EXPECT_THAT(segment.Add(kNvme, std::make_shared<FakePciFunction>()),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(
      segment.Add(pci::Bdf(0x12, 0, 3, 0), std::make_shared<FakePciFunction>()),
      IsOk());
}

// A bridge that forwards buses 3 to 5 and logs what it forwards.
class FakeBridge final : public PciBridge {
 public:
  uint32_t ConfigRead(uint16_t, unsigned) override { return 0x42; }
  void ConfigWrite(uint16_t, absl::Span<const uint8_t>) override {}
  bool Forwards(uint8_t bus) const override { return bus >= 3 && bus <= 5; }
  void ForwardRead(pci::Bdf bdf, uint16_t offset,
                   absl::Span<uint8_t> data) override {
    EXPECT_THAT(data, Each(0xff));
    log.push_back(absl::StrCat("read ", bdf, " ", offset, " ", data.size()));
    data[0] = 0x77;
  }
  void ForwardWrite(pci::Bdf bdf, uint16_t offset,
                    absl::Span<const uint8_t> data) override {
    log.push_back(absl::StrCat("write ", bdf, " ", offset, " ", data.size()));
  }
  std::vector<std::string> log;
};

class PciSegmentBridgeTest : public PciSegmentTest {
 protected:
  PciSegmentBridgeTest() {
    EXPECT_THAT(segment_.AddBridge(pci::Bdf(0, 0, 4, 0), bridge_), IsOk());
  }
  const std::shared_ptr<FakeBridge> bridge_ = std::make_shared<FakeBridge>();
};

TEST_F(PciSegmentBridgeTest, ABridgeIsAFunctionToo) {
  EXPECT_THAT(Read(pci::Bdf(0, 0, 4, 0), 0, 1), ElementsAre(0x42));
  EXPECT_THAT(bridge_->log, IsEmpty());
}

TEST_F(PciSegmentBridgeTest, ItGetsTheAccessesToItsBuses) {
  EXPECT_THAT(Read(pci::Bdf(0, 3, 0, 0), 2, 4),
              ElementsAre(0x77, 0xff, 0xff, 0xff));
  segment_.ConfigWrite(pci::Bdf(0, 5, 31, 7), 4094, {1, 2, 3, 4});
  EXPECT_THAT(bridge_->log, ElementsAre("read 0000:03:00.0 2 4",
                                        "write 0000:05:1f.7 4094 2"));
}

TEST_F(PciSegmentBridgeTest, OtherBusesAreNotItsBusiness) {
  for (const uint8_t bus : {0, 1, 2, 6, 255}) {
    EXPECT_THAT(Read(pci::Bdf(0, bus, 0, 0), 0, 4), Each(0xff));
  }
  EXPECT_THAT(bridge_->log, IsEmpty());
}

TEST_F(PciSegmentBridgeTest, OfTwoThatForwardABusTheLowestGetsTheAccess) {
  const auto second = std::make_shared<FakeBridge>();
  ASSERT_THAT(segment_.AddBridge(pci::Bdf(0, 0, 2, 0), second), IsOk());
  Read(pci::Bdf(0, 3, 0, 0), 0, 1);
  EXPECT_THAT(bridge_->log, IsEmpty());
  EXPECT_THAT(second->log, ElementsAre("read 0000:03:00.0 0 1"));
}

TEST_F(PciSegmentBridgeTest, NoBridgeIsRefused) {
  EXPECT_THAT(segment_.AddBridge(kNvme, nullptr),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST_F(PciSegmentBridgeTest, ARemovedBridgeForwardsNothing) {
  ASSERT_THAT(segment_.Remove(pci::Bdf(0, 0, 4, 0)), IsOk());
  EXPECT_THAT(Read(pci::Bdf(0, 3, 0, 0), 0, 4), Each(0xff));
  EXPECT_THAT(bridge_->log, IsEmpty());
}

TEST_F(PciSegmentTest, TheFirstSlotWithoutAFunctionIsFree) {
  PciSegment segment(2);
  for (uint8_t slot = 0; slot < pci::Bdf::kDevicesPerBus; ++slot) {
    EXPECT_THAT(segment.FreeSlot(), IsOkAndHolds(pci::Bdf(2, 0, slot, 0)));
    // Any function takes the slot.
    ASSERT_THAT(segment.Add(pci::Bdf(2, 0, slot, slot % 8),
                            std::make_shared<FakePciFunction>()),
                IsOk());
  }
  EXPECT_THAT(segment.FreeSlot(),
              StatusIs(absl::StatusCode::kResourceExhausted));
}

TEST_F(PciSegmentTest, EachFunctionIsVisited) {
  AddFunction(kNvme)->bytes[0] = 1;
  AddFunction(pci::Bdf(0, 0, 5, 0))->bytes[0] = 2;
  std::vector<uint32_t> seen;
  segment_.ForEach([&seen](PciFunction& function) {
    seen.push_back(function.ConfigRead(0, 1) & 0xff);
  });
  EXPECT_THAT(seen, ElementsAre(1, 2));
}

// `left` is neither atomic nor locked, so a removal that does not wait is a
// data race.
TEST(PciSegmentConcurrencyTest, RemovalWaitsForAccessesInFlight) {
  PciSegment segment;
  const auto function = std::make_shared<FakePciFunction>();
  absl::Notification entered;
  absl::Notification let_go;
  bool left = false;
  function->during_call = [&] {
    entered.Notify();
    let_go.WaitForNotification();
    left = true;
  };
  ASSERT_THAT(segment.Add(kNvme, function), IsOk());
  uint8_t data[1] = {0xee};
  std::thread vcpu([&] { segment.ConfigRead(kNvme, 0, absl::MakeSpan(data)); });
  entered.WaitForNotification();
  bool left_before_removal_ended = false;
  std::thread remover([&] {
    EXPECT_THAT(segment.Remove(kNvme), IsOk());
    left_before_removal_ended = left;
  });
  // The function is out of reach while the access is still inside.
  while (!segment.Functions().empty()) std::this_thread::yield();
  let_go.Notify();
  remover.join();
  vcpu.join();
  EXPECT_TRUE(left_before_removal_ended);
  EXPECT_EQ(data[0], 0);
}

}  // namespace
}  // namespace passthru::pci_host
