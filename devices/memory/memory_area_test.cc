// SPDX-License-Identifier: Apache-2.0

#include "passthru/devices/memory/memory_area.h"

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "passthru/devices/memory/guest_address.h"

namespace passthru::memory {
namespace {

TEST(MemoryAreaTest, PrintsWhatItIs) {
  MemoryArea area = {.guest = GuestAddress(0x1000),
                     .size = 0x2000,
                     .kind = MemoryArea::Kind::kRam,
                     .name = "ram-low"};
  EXPECT_EQ(absl::StrCat(area), "ram-low [0x1000, +0x2000) RAM");
  area.read_only = true;
  area.kind = MemoryArea::Kind::kDeviceBar;
  EXPECT_EQ(absl::StrCat(area),
            "ram-low [0x1000, +0x2000) device BAR read-only");
}

}  // namespace
}  // namespace passthru::memory
