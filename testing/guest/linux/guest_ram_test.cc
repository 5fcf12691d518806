// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/guest/linux/guest_ram.h"

#include <cstdint>
#include <numeric>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/testing/guest/direct/direct_machine.h"

namespace passthru::guest {
namespace {

using ::absl_testing::IsOkAndHolds;
using ::absl_testing::StatusIs;
using ::testing::Each;

constexpr uint64_t kBase = DirectMachine::kRamBase;

TEST(GuestRamTest, PagesAreDistinctZeroedAndRunOut) {
  DirectMachine machine;
  machine.Store(kBase, 4, 0xffffffff);
  GuestRam ram(&machine, {kBase, 3 * 4096});
  EXPECT_THAT(ram.AllocatePages(1), IsOkAndHolds(kBase));
  EXPECT_EQ(machine.Load(kBase, 4), 0u);
  EXPECT_THAT(ram.AllocatePages(2), IsOkAndHolds(kBase + 4096));
  EXPECT_THAT(ram.AllocatePages(1),
              StatusIs(absl::StatusCode::kResourceExhausted));
}

TEST(GuestRamTest, NoPagesAreAnError) {
  DirectMachine machine;
  GuestRam ram(&machine, {kBase, 4096});
  EXPECT_FALSE(ram.AllocatePages(0).ok());
  EXPECT_FALSE(ram.AllocatePages(~uint64_t{0}).ok());
}

TEST(GuestRamTest, BytesOfAnyLengthAndAlignmentComeBack) {
  DirectMachine machine;
  GuestRam ram(&machine, {kBase, 4096});
  std::vector<uint8_t> bytes(64);
  std::iota(bytes.begin(), bytes.end(), uint8_t{1});
  for (uint64_t offset = 0; offset < 9; ++offset) {
    for (size_t size = 0; size <= 33; ++size) {
      ram.Zero(kBase, 128);
      const std::vector<uint8_t> part(bytes.begin(), bytes.begin() + size);
      ram.Write(kBase + 16 + offset, part);
      EXPECT_EQ(ram.Read(kBase + 16 + offset, size), part);
      EXPECT_THAT(ram.Read(kBase, 16 + offset), Each(0));
      EXPECT_THAT(ram.Read(kBase + 16 + offset + size, 16), Each(0));
    }
  }
}

}  // namespace
}  // namespace passthru::guest
