// SPDX-License-Identifier: Apache-2.0

#include "passthru/devices/bus/bus.h"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/strings/str_format.h"
#include "absl/types/span.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/devices/bus/address_space.h"
#include "passthru/devices/bus/bus_device.h"

namespace passthru::bus {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr uint64_t kMax = std::numeric_limits<uint64_t>::max();

// Reads as its tag plus the low bits of the offset, and records the calls.
class RecordingDevice final : public BusDevice {
 public:
  explicit RecordingDevice(uint8_t tag) : tag_(tag) {}

  std::string_view name() const override { return "recorder"; }

  absl::Status Read(uint64_t offset, absl::Span<uint8_t> data) override {
    log.push_back(absl::StrFormat("read 0x%x %u", offset, data.size()));
    for (size_t i = 0; i < data.size(); ++i)
      data[i] = static_cast<uint8_t>(tag_ + (offset + i) % 16);
    if (during_call) during_call();
    return result;
  }

  absl::Status Write(uint64_t offset, absl::Span<const uint8_t> data) override {
    std::string line = absl::StrFormat("write 0x%x", offset);
    for (uint8_t byte : data) absl::StrAppendFormat(&line, " %02x", byte);
    log.push_back(line);
    if (during_call) during_call();
    return result;
  }

  std::vector<std::string> log;
  absl::Status result;
  std::function<void()> during_call;

 private:
  const uint8_t tag_;
};

class BusTest : public testing::Test {
 protected:
  std::shared_ptr<RecordingDevice> AddDevice(uint64_t base, uint64_t size,
                                             uint8_t tag, int priority = 0) {
    auto device = std::make_shared<RecordingDevice>(tag);
    handle_ = bus_.Add(base, size, device, priority).value();
    return device;
  }

  std::vector<uint8_t> Read(uint64_t address, size_t size) {
    // This is neither the answer of a device nor all ones.
    std::vector<uint8_t> data(size, 0xee);
    bus_.Read(address, absl::MakeSpan(data));
    return data;
  }

  void Write(uint64_t address, const std::vector<uint8_t>& data) {
    bus_.Write(address, data);
  }

  Bus bus_{"mmio"};
  // The range of the last AddDevice().
  RangeHandle handle_;
};

TEST_F(BusTest, NothingThereReadsAllOnes) {
  EXPECT_THAT(Read(0x1000, 4), Each(0xff));
  EXPECT_EQ(bus_.stats(), (BusStats{.reads = 1, .misses = 1}));
}

TEST_F(BusTest, AWriteToNothingIsCounted) {
  Write(0x1000, {1, 2});
  EXPECT_EQ(bus_.stats(), (BusStats{.writes = 1, .misses = 1}));
}

TEST_F(BusTest, TheDeviceSeesTheOffsetInItsRange) {
  const auto device = AddDevice(0x1000, 0x100, 0x10);
  EXPECT_THAT(Read(0x1004, 2), ElementsAre(0x14, 0x15));
  Write(0x10fe, {0xaa, 0xbb});
  EXPECT_THAT(device->log, ElementsAre("read 0x4 2", "write 0xfe aa bb"));
  EXPECT_EQ(bus_.stats(), (BusStats{.reads = 1, .writes = 1}));
}

TEST_F(BusTest, EveryWidthArrivesWhole) {
  const auto device = AddDevice(0x1000, 0x100, 0);
  for (const size_t width : {1, 2, 3, 4, 7, 8, 16}) Read(0x1001, width);
  EXPECT_THAT(device->log, ElementsAre("read 0x1 1", "read 0x1 2", "read 0x1 3",
                                       "read 0x1 4", "read 0x1 7", "read 0x1 8",
                                       "read 0x1 16"));
}

TEST_F(BusTest, AnAccessOfNoBytesReachesNobody) {
  const auto device = AddDevice(0x1000, 0x100, 0);
  Read(0x1000, 0);
  Write(0x1000, {});
  EXPECT_THAT(device->log, IsEmpty());
  EXPECT_EQ(bus_.stats().misses, 0u);
}

TEST_F(BusTest, AFailedReadIsAllOnesWhateverTheDeviceLeftBehind) {
  const auto device = AddDevice(0x1000, 0x100, 0x10);
  device->result = absl::InternalError("broken");
  EXPECT_THAT(Read(0x1000, 4), Each(0xff));
  EXPECT_EQ(bus_.stats(), (BusStats{.reads = 1, .failures = 1}));
}

TEST_F(BusTest, AFailedWriteIsCounted) {
  const auto device = AddDevice(0x1000, 0x100, 0x10);
  device->result = absl::InternalError("broken");
  Write(0x1000, {1});
  EXPECT_EQ(bus_.stats(), (BusStats{.writes = 1, .failures = 1}));
}

TEST_F(BusTest, AnAccessAcrossTheEndIsCutThere) {
  const auto device = AddDevice(0x1000, 0x100, 0x10);
  EXPECT_THAT(Read(0x10fe, 4), ElementsAre(0x1e, 0x1f, 0xff, 0xff));
  Write(0x10ff, {1, 2, 3, 4});
  EXPECT_THAT(device->log, ElementsAre("read 0xfe 2", "write 0xff 01"));
  EXPECT_EQ(bus_.stats(),
            (BusStats{.reads = 1, .writes = 1, .misses = 2, .failures = 0}));
}

TEST_F(BusTest, AnAccessAcrossTheBeginningIsCutThere) {
  const auto device = AddDevice(0x1000, 0x100, 0x10);
  EXPECT_THAT(Read(0xfff, 4), ElementsAre(0xff, 0x10, 0x11, 0x12));
  Write(0xffe, {1, 2, 3, 4});
  EXPECT_THAT(device->log, ElementsAre("read 0x0 3", "write 0x0 03 04"));
}

TEST_F(BusTest, AnAccessMaySpanTwoRanges) {
  const auto low = AddDevice(0x1000, 0x100, 0x10);
  const auto high = AddDevice(0x1100, 0x100, 0x20);
  EXPECT_THAT(Read(0x10fe, 4), ElementsAre(0x1e, 0x1f, 0x20, 0x21));
  Write(0x10fd, {1, 2, 3, 4, 5});
  EXPECT_THAT(low->log, ElementsAre("read 0xfe 2", "write 0xfd 01 02 03"));
  EXPECT_THAT(high->log, ElementsAre("read 0x0 2", "write 0x0 04 05"));
  EXPECT_EQ(bus_.stats().misses, 0u);
}

TEST_F(BusTest, TheFailureOfOnePieceLeavesTheOther) {
  const auto low = AddDevice(0x1000, 0x100, 0x10);
  const auto high = AddDevice(0x1100, 0x100, 0x20);
  low->result = absl::InternalError("broken");
  EXPECT_THAT(Read(0x10fe, 4), ElementsAre(0xff, 0xff, 0x20, 0x21));
}

TEST_F(BusTest, TheHigherPriorityAnswers) {
  const auto low = AddDevice(0x1000, 0x100, 0x10, 0);
  const auto high = AddDevice(0x1040, 0x10, 0x20, 1);
  EXPECT_THAT(Read(0x103e, 4), ElementsAre(0x1e, 0x1f, 0x20, 0x21));
  // Beyond the higher range, offsets still count from the lower one's base.
  EXPECT_THAT(Read(0x104e, 4), ElementsAre(0x2e, 0x2f, 0x10, 0x11));
  EXPECT_THAT(low->log, ElementsAre("read 0x3e 2", "read 0x50 2"));
}

TEST_F(BusTest, TheOlderAnswersAmongEquals) {
  const auto older = AddDevice(0x1000, 0x100, 0x10);
  const auto newer = AddDevice(0x1000, 0x100, 0x20);
  EXPECT_THAT(Read(0x1000, 1), ElementsAre(0x10));
  EXPECT_THAT(newer->log, IsEmpty());
}

TEST_F(BusTest, RemovalUncoversWhatIsBelow) {
  const auto below = AddDevice(0x1000, 0x100, 0x10, 0);
  const auto above = AddDevice(0x1000, 0x100, 0x20, 1);
  bus_.Remove(handle_);
  EXPECT_THAT(Read(0x1000, 1), ElementsAre(0x10));
}

TEST_F(BusTest, TheHiddenPartOfARangeNeedsNoCutAfterRemoval) {
  const auto below = AddDevice(0x1000, 0x100, 0x10, 0);
  AddDevice(0x1040, 0x10, 0x20, 1);
  bus_.Remove(handle_);
  Read(0x103c, 8);
  EXPECT_THAT(below->log, ElementsAre("read 0x3c 8"));
}

TEST_F(BusTest, AddressesDoNotWrap) {
  const auto first = AddDevice(0, 0x100, 0x10);
  const auto last = AddDevice(kMax - 1, 2, 0x20);
  EXPECT_THAT(Read(kMax, 3), ElementsAre(0x21, 0xff, 0xff));
  Write(kMax - 1, {1, 2, 3});
  EXPECT_THAT(first->log, IsEmpty());
  EXPECT_THAT(last->log, ElementsAre("read 0x1 1", "write 0x0 01 02"));
  EXPECT_EQ(bus_.stats(), (BusStats{.reads = 1, .writes = 1, .misses = 2}));
}

TEST_F(BusTest, NothingAtTheLastAddressIsOneMiss) {
  EXPECT_THAT(Read(kMax - 1, 4), Each(0xff));
  EXPECT_EQ(bus_.stats().misses, 1u);
}

TEST_F(BusTest, ADeviceMayHaveSeveralRanges) {
  const auto device = AddDevice(0x1000, 0x10, 0);
  ASSERT_THAT(bus_.Add(0x2000, 0x10, device, 0), IsOk());
  Read(0x1001, 1);
  Read(0x2002, 1);
  EXPECT_THAT(device->log, ElementsAre("read 0x1 1", "read 0x2 1"));
}

TEST_F(BusTest, RefusesARangeWithoutDevice) {
  EXPECT_THAT(bus_.Add(0x1000, 0x10, nullptr, 0),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("mmio"), HasSubstr("0x1000"))));
}

TEST_F(BusTest, RefusesAnEmptyRange) {
  EXPECT_THAT(bus_.Add(0x1000, 0, std::make_shared<RecordingDevice>(0), 0),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("recorder"), HasSubstr("0x1000"))));
}

TEST_F(BusTest, RefusesARangeBeyondTheAddressSpace) {
  EXPECT_THAT(bus_.Add(kMax, 2, std::make_shared<RecordingDevice>(0), 0),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("recorder"), HasSubstr("2^64"))));
}

TEST_F(BusTest, AHandleThatNamesNothingIsIgnored) {
  const auto device = AddDevice(0x1000, 0x10, 0x10);
  bus_.Remove(RangeHandle());
  bus_.Remove(RangeHandle(handle_.id() + 1));
  EXPECT_THAT(Read(0x1000, 1), ElementsAre(0x10));
}

TEST_F(BusTest, RemovingTwiceTakesNobodyElsesRange) {
  AddDevice(0x1000, 0x10, 0x10);
  const RangeHandle first = handle_;
  bus_.Remove(first);
  const auto second = AddDevice(0x1000, 0x10, 0x20);
  bus_.Remove(first);
  EXPECT_THAT(Read(0x1000, 1), ElementsAre(0x20));
}

TEST_F(BusTest, AfterRemovalTheDeviceIsLetGo) {
  std::weak_ptr<BusDevice> device = AddDevice(0x1000, 0x10, 0);
  EXPECT_FALSE(device.expired());
  bus_.Remove(handle_);
  EXPECT_TRUE(device.expired());
}

TEST_F(BusTest, ADeviceMayRemoveItsOwnRange) {
  auto device = AddDevice(0x1000, 0x10, 0x10);
  const std::weak_ptr<BusDevice> alive = device;
  bool alive_after_removal = false;
  device->during_call = [&] {
    bus_.Remove(handle_);
    alive_after_removal = !alive.expired();
  };
  device.reset();
  EXPECT_THAT(Read(0x1000, 1), ElementsAre(0x10));
  EXPECT_TRUE(alive_after_removal);
  EXPECT_TRUE(alive.expired());
  EXPECT_THAT(Read(0x1000, 1), Each(0xff));
}

TEST_F(BusTest, ADeviceMayRemoveARangeThatItWasReachedThrough) {
  const auto outer = AddDevice(0x1000, 0x10, 0x10);
  const RangeHandle outer_range = handle_;
  const auto inner = AddDevice(0x2000, 0x10, 0x20);
  outer->during_call = [this] { Read(0x2000, 1); };
  inner->during_call = [&] { bus_.Remove(outer_range); };
  EXPECT_THAT(Read(0x1000, 1), ElementsAre(0x10));
  EXPECT_THAT(Read(0x1000, 1), Each(0xff));
}

TEST_F(BusTest, ADeviceMayMoveItself) {
  const auto device = AddDevice(0x1000, 0x10, 0x10);
  device->during_call = [&] {
    bus_.Remove(handle_);
    handle_ = bus_.Add(0x3000, 0x10, device, 0).value();
  };
  Write(0x1000, {1});
  Write(0x3001, {2});
  EXPECT_THAT(device->log, ElementsAre("write 0x0 01", "write 0x1 02"));
}

// Has the page around a range, until another range comes there.
class RecordingHolder final : public PageHolder {
 public:
  void LeavePages(RangeHandle own) override {
    left.push_back(own);
    if (on_leave) on_leave();
  }

  std::vector<RangeHandle> left;
  std::function<void()> on_leave;
};

TEST_F(BusTest, APageWithOneRangeIsGivenToItsHolder) {
  RecordingHolder holder;
  AddDevice(0x1000, 0x100, 0);
  EXPECT_TRUE(bus_.HoldPages(handle_, 0x1000, 0x1000, &holder));
  EXPECT_TRUE(bus_.HoldPages(handle_, 0x1000, 0x1000, &holder)) << "again";
  AddDevice(0x2000, 0x1000, 0);
  AddDevice(0xfff, 1, 0);
  EXPECT_THAT(holder.left, IsEmpty()) << "they are in the pages beside it";
}

TEST_F(BusTest, AHolderLeavesBeforeAnotherRangeAnswersInItsPage) {
  RecordingHolder holder;
  AddDevice(0x1000, 0x100, 0);
  const RangeHandle own = handle_;
  ASSERT_TRUE(bus_.HoldPages(own, 0x1000, 0x1000, &holder));
  holder.on_leave = [this] { EXPECT_THAT(Read(0x1fff, 1), Each(0xff)); };
  const auto neighbour = AddDevice(0x1fff, 1, 0x40);
  EXPECT_THAT(holder.left, ElementsAre(own));
  EXPECT_THAT(Read(0x1fff, 1), ElementsAre(0x40));
  AddDevice(0x1800, 1, 0);
  EXPECT_THAT(holder.left, ElementsAre(own)) << "it has left already";
  EXPECT_FALSE(bus_.HoldPages(own, 0x1000, 0x1000, &holder));
}

TEST_F(BusTest, AHolderMayComeBackWhenItsNeighboursHaveGone) {
  RecordingHolder holder;
  AddDevice(0x1000, 0x100, 0);
  const RangeHandle own = handle_;
  AddDevice(0x1100, 0x100, 0);
  EXPECT_FALSE(bus_.HoldPages(own, 0x1000, 0x1000, &holder));
  bus_.Remove(handle_);
  EXPECT_TRUE(bus_.HoldPages(own, 0x1000, 0x1000, &holder));
}

TEST_F(BusTest, ARangeThatGoesEndsWhatItsHolderHas) {
  RecordingHolder holder;
  AddDevice(0x1000, 0x100, 0);
  ASSERT_TRUE(bus_.HoldPages(handle_, 0x1000, 0x1000, &holder));
  bus_.Remove(handle_);
  AddDevice(0x1800, 1, 0);
  EXPECT_THAT(holder.left, IsEmpty());
}

TEST_F(BusTest, AllHoldersInTheWayLeave) {
  RecordingHolder first;
  RecordingHolder second;
  AddDevice(0x1000, 0x10, 0);
  ASSERT_TRUE(bus_.HoldPages(handle_, 0x1000, 0x1000, &first));
  AddDevice(0x2000, 0x10, 0);
  ASSERT_TRUE(bus_.HoldPages(handle_, 0x2000, 0x1000, &second));
  AddDevice(0x0, 0x10000, 0);
  EXPECT_THAT(first.left, SizeIs(1));
  EXPECT_THAT(second.left, SizeIs(1));
}

TEST_F(BusTest, PagesThatCannotBeHeldAreNot) {
  RecordingHolder holder;
  AddDevice(0x1000, 0x100, 0);
  EXPECT_FALSE(bus_.HoldPages(RangeHandle(77), 0x1000, 0x1000, &holder));
  EXPECT_FALSE(bus_.HoldPages(handle_, 0x1000, 0, &holder));
  EXPECT_FALSE(bus_.HoldPages(handle_, 0x1080, 0x1000, &holder));
  EXPECT_FALSE(bus_.HoldPages(handle_, 0x1000, 0x80, &holder));
  EXPECT_FALSE(bus_.HoldPages(handle_, 0x1000, kMax, &holder));
  // The pages of two holders do not overlap either.
  ASSERT_TRUE(bus_.HoldPages(handle_, 0x1000, 0x2000, &holder));
  AddDevice(0x3000, 0x100, 0);
  EXPECT_FALSE(bus_.HoldPages(handle_, 0x2000, 0x2000, &holder));
  EXPECT_TRUE(bus_.HoldPages(handle_, 0x3000, 0x1000, &holder));
}

}  // namespace
}  // namespace passthru::bus
