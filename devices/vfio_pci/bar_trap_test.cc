// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/vfio_pci/bar_trap.h"

#include <cstdint>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/barrier.h"
#include "absl/types/span.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/devices/kernel/failure_log.h"
#include "passthru/devices/kernel/mapped_region.h"
#include "passthru/devices/vfio_pci/device_regions.h"
#include "passthru/devices/vfio_pci/fake_regions.h"

namespace passthru::vfio_pci {
namespace {

using ::absl_testing::IsOk;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

class BarTrapTest : public ::testing::Test {
 protected:
  FakeRegions regions_;
  kernel::FailureLog failures_{"device"};
  BarTrap trap_{"BAR", pci::BarIndex(1), &regions_, &failures_, nullptr};
};

TEST_F(BarTrapTest, ForwardsAnAccessInOnePiece) {
  std::vector<uint8_t> data(8);
  ASSERT_THAT(trap_.Read(0x10, absl::MakeSpan(data)), IsOk());
  ASSERT_THAT(trap_.Write(0x20, absl::MakeSpan(data).first(2)), IsOk());
  EXPECT_THAT(data,
              ElementsAre(0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17));
  EXPECT_THAT(regions_.log,
              ElementsAre("read BAR1+0x10 0x8", "write BAR1+0x20 0x2"));
  EXPECT_EQ(trap_.device_reads(), 1u);
  EXPECT_EQ(trap_.device_writes(), 1u);
}

TEST_F(BarTrapTest, ReportsAndCountsWhatTheDeviceRefuses) {
  regions_.fail = true;
  std::vector<uint8_t> data(4);
  EXPECT_THAT(trap_.Read(0, absl::MakeSpan(data)), Not(IsOk()));
  EXPECT_THAT(trap_.Write(0, data), Not(IsOk()));
  EXPECT_EQ(trap_.failures(), 2u);
  EXPECT_THAT(failures_.Recent(),
              ElementsAre(HasSubstr("device: BAR1 read becomes all ones: "),
                          HasSubstr("device: BAR1 write is dropped: ")));
}

// Answers a read only after another one has begun. The reads end only if
// neither blocks the other.
class MeetingRegions final : public DeviceRegions {
 public:
  absl::Status ReadConfig(uint16_t, absl::Span<uint8_t>) override {
    return absl::UnimplementedError("");
  }
  absl::Status WriteConfig(uint16_t, absl::Span<const uint8_t>) override {
    return absl::UnimplementedError("");
  }
  absl::Status ReadBar(pci::BarIndex, uint64_t, absl::Span<uint8_t>) override {
    both_.Block();
    return absl::OkStatus();
  }
  absl::Status WriteBar(pci::BarIndex, uint64_t,
                        absl::Span<const uint8_t>) override {
    return absl::UnimplementedError("");
  }
  absl::StatusOr<kernel::MappedRegion> MapBar(pci::BarIndex, uint64_t,
                                              uint64_t) override {
    return absl::UnimplementedError("");
  }

 private:
  absl::Barrier both_{2};
};

TEST(BarTrapConcurrencyTest, AnAccessDoesNotHoldUpAnother) {
  MeetingRegions regions;
  kernel::FailureLog failures("device");
  BarTrap trap("BAR", pci::BarIndex(1), &regions, &failures, nullptr);
  const auto read = [&trap] {
    std::vector<uint8_t> data(4);
    EXPECT_THAT(trap.Read(0, absl::MakeSpan(data)), IsOk());
  };
  std::thread other(read);
  read();
  other.join();
}

}  // namespace
}  // namespace passthru::vfio_pci
