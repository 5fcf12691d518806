// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/machine.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/types/span.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/devices/memory/guest_address.h"
#include "passthru/testing/host/simulated_host.h"
#include "passthru/vmm/guest_layout.h"

namespace passthru::vmm {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

constexpr uint64_t kMiB = 1 << 20;

class MachineTest : public ::testing::Test {
 protected:
  Machine::Options Options(uint64_t ram_size, uint64_t low_ram_end) {
    return {.syscalls = &host_.kernel(),
            .ram_size = ram_size,
            .low_ram_end = low_ram_end};
  }

  fake::SimulatedHost host_;
};

TEST_F(MachineTest, RamIsOnBothSidesOf4GiB) {
  const auto machine = Machine::Create(Options(48 * kMiB, 16 * kMiB));
  ASSERT_THAT(machine, IsOk());
  EXPECT_EQ((*machine)->ram().size(), 16 * kMiB);
  EXPECT_EQ((*machine)->high_ram_size(), 32 * kMiB);
  const auto areas = (*machine)->memory().Areas();
  ASSERT_THAT(areas, SizeIs(2));
  EXPECT_EQ(areas[0].guest.value(), 0u);
  EXPECT_EQ(areas[0].size, 16 * kMiB);
  EXPECT_EQ(areas[1].guest.value(), kHighRamBase);
  EXPECT_EQ(areas[1].size, 32 * kMiB);
  EXPECT_THAT(host_.kernel().kvm().Slots(), SizeIs(2));
}

TEST_F(MachineTest, RamThatFitsBelowIsNotSplit) {
  const auto machine = Machine::Create(Options(16 * kMiB, 16 * kMiB));
  ASSERT_THAT(machine, IsOk());
  EXPECT_EQ((*machine)->high_ram_size(), 0u);
  EXPECT_THAT((*machine)->memory().Areas(), SizeIs(1));
}

TEST_F(MachineTest, AFileIsTheRam) {
  const int file = memfd_create("ram", MFD_CLOEXEC);
  ASSERT_GE(file, 0);
  ASSERT_EQ(ftruncate(file, 32 * kMiB), 0);
  Machine::Options options = Options(32 * kMiB, 16 * kMiB);
  options.ram_fd = file;
  const auto machine = Machine::Create(options);
  ASSERT_THAT(machine, IsOk());
  (*machine)->ram()[5] = 0x5a;
  const auto high =
      (*machine)->memory().Translate(memory::GuestAddress(kHighRamBase + 7), 1);
  ASSERT_THAT(high, IsOk());
  *static_cast<uint8_t*>(*high) = 0xa5;
  uint8_t byte = 0;
  EXPECT_EQ(pread(file, &byte, 1, 5), 1);
  EXPECT_EQ(byte, 0x5a);
  EXPECT_EQ(pread(file, &byte, 1, 16 * kMiB + 7), 1);
  EXPECT_EQ(byte, 0xa5);
  close(file);
}

TEST_F(MachineTest, SizesThatMakeNoSenseAreRefused) {
  const auto refused = [this](uint64_t size, uint64_t low_end,
                              const char* why) {
    EXPECT_THAT(Machine::Create(Options(size, low_end)),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(why)));
  };
  refused(0, 16 * kMiB, "guest RAM cannot have 0 bytes");
  refused(kMiB + 1, 16 * kMiB, "multiple of 4096");
  refused(32 * kMiB, 0, "end at 0");
  refused(32 * kMiB, 16 * kMiB + 1, "end at 16777217");
  refused(32 * kMiB, kMaxLowRamSize + 4096, "at most 2147483648");
  refused(16 * kMiB + kMaxHighRamSize + 4096, 16 * kMiB, "at most");
}

TEST_F(MachineTest, TheGuestReachesTheResetControlRegister) {
  std::vector<uint8_t> written;
  Machine::Options options = Options(16 * kMiB, 16 * kMiB);
  options.on_reset_control = [&written](uint8_t value) {
    written.push_back(value);
  };
  const auto machine = Machine::Create(options);
  ASSERT_THAT(machine, IsOk());
  const uint8_t value = kResetValue;
  (*machine)->pio().Write(kResetPort, absl::MakeConstSpan(&value, 1));
  EXPECT_THAT(written, ElementsAre(kResetValue));
}

}  // namespace
}  // namespace passthru::vmm
