// SPDX-License-Identifier: Apache-2.0
#include "passthru/pci/config_space.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/pci/config_image.h"
#include "passthru/pci/config_reg.h"
#include "passthru/pci/registers.h"

namespace passthru::pci {
namespace {

using ::absl_testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

using Range = ConfigWriteResult::Range;
using Bytes = std::vector<uint8_t>;

TEST(ConfigSpaceTest, IsZeroAndReadOnlyAtFirst) {
  ConfigSpace config(256);
  const ConfigWriteResult result = config.Write(0, Bytes(256, 0xff));
  EXPECT_FALSE(result.any());
  EXPECT_THAT(config.bytes(), ::testing::Each(0));
}

TEST(ConfigSpaceTest, SetAndGetAreNotSubjectToTheMasks) {
  ConfigSpace config(256);
  config.Set(kVendorId, uint16_t{0x8086});
  config.Set(kCommand, Command{.raw = 0x0406});
  EXPECT_EQ(config.Get(kVendorId), 0x8086);
  EXPECT_TRUE(Command::kInterruptDisable.Get(config.Get(kCommand)));
}

TEST(ConfigSpaceTest, ReadTakesEveryWidthAndAlignment) {
  ConfigSpace config(256);
  config.SetBytes(0x10, Bytes{1, 2, 3, 4, 5});
  EXPECT_EQ(config.Read(0x10, 1), 0x01u);
  EXPECT_EQ(config.Read(0x11, 2), 0x0302u);
  EXPECT_EQ(config.Read(0x11, 3), 0x040302u);
  EXPECT_EQ(config.Read(0x11, 4), 0x05040302u);
}

TEST(ConfigSpaceTest, ReadAcrossTheEndIsAllOnesThere) {
  ConfigSpace config(256);
  config.SetBytes(0xff, Bytes{0x12});
  EXPECT_EQ(config.Read(0xff, 1), 0x12u);
  EXPECT_EQ(config.Read(0xff, 2), 0xff12u);
  EXPECT_EQ(config.Read(0xff, 4), 0xffffff12u);
  EXPECT_EQ(config.Read(0x100, 2), 0xffffu);
  EXPECT_EQ(config.Read(0xffffffff, 4), 0xffffffffu);
}

TEST(ConfigSpaceTest, ReadOfManyBytesAcrossTheEnd) {
  ConfigSpace config(256);
  config.SetBytes(0xfe, Bytes{0x12, 0x34});
  Bytes out(4);
  config.Read(0xfe, absl::MakeSpan(out));
  EXPECT_THAT(out, ElementsAre(0x12, 0x34, 0xff, 0xff));
  config.Read(0x1000, absl::MakeSpan(out));
  EXPECT_THAT(out, ElementsAre(0xff, 0xff, 0xff, 0xff));
}

TEST(ConfigSpaceTest, WriteGoesThroughTheMask) {
  ConfigSpace config(256);
  config.Set(kBar0, uint32_t{0x00000004});
  config.SetMask(kBar0, 0xffffc000);
  config.Write(kBar0.offset, Bytes{0xff, 0xff, 0xff, 0xff});
  EXPECT_EQ(config.Get(kBar0), 0xffffc004u);
}

TEST(ConfigSpaceTest, WriteOfPartOfARegisterLeavesTheRest) {
  ConfigSpace config(256);
  config.Set(kBar0, uint32_t{0x11223344});
  config.SetMask(kBar0, 0xffffffff);
  config.Write(kBar0.offset + 1u, Bytes{0xaa, 0xbb});
  EXPECT_EQ(config.Get(kBar0), 0x11bbaa44u);
}

TEST(ConfigSpaceTest, WriteAcrossTheEndStopsThere) {
  ConfigSpace config(256);
  config.SetMaskBytes(0, Bytes(256, 0xff));
  const ConfigWriteResult result = config.Write(0xfe, Bytes{1, 2, 3, 4});
  EXPECT_EQ(config.Read(0xfe, 2), 0x0201u);
  EXPECT_THAT(result.ranges(), ElementsAre(Range{.offset = 0xfe, .size = 2}));
  EXPECT_FALSE(config.Write(0xffffffff, Bytes{1, 2}).any());
}

TEST(ConfigSpaceTest, WriteOneClearsAndWriteZeroKeeps) {
  ConfigSpace config(256);
  config.Set(kStatus, Status{.raw = 0xf910});
  config.SetWriteOneToClear(kStatus, Status::kWriteOneToClear);
  EXPECT_FALSE(config.Write(kStatus.offset, Bytes{0x00, 0x00}).any());
  EXPECT_EQ(config.Get(kStatus).raw, 0xf910);
  EXPECT_TRUE(config.Write(kStatus.offset, Bytes{0xff, 0x81}).Changed(kStatus));
  EXPECT_EQ(config.Get(kStatus).raw, 0x7810);
}

TEST(ConfigSpaceTest, WriteOneToClearWinsOverTheWriteMask) {
  ConfigSpace config(256);
  config.Set(kStatus, Status{.raw = 0x0000});
  config.SetMask(kStatus, 0xffff);
  config.SetWriteOneToClear(kStatus, 0xff00);
  config.Write(kStatus.offset, Bytes{0x5a, 0x5a});
  EXPECT_EQ(config.Get(kStatus).raw, 0x005a);
}

TEST(ConfigSpaceTest, UnchangedValueIsNoChange) {
  ConfigSpace config(256);
  config.SetMask(kBar0, 0xffffffff);
  config.Set(kBar0, uint32_t{0x12345678});
  EXPECT_FALSE(config.Write(kBar0.offset, Bytes{0x78, 0x56, 0x34, 0x12}).any());
}

TEST(ConfigSpaceTest, ChangeIsToldForTheRegistersThatChanged) {
  ConfigSpace config(256);
  config.SetMask(kCommand, 0xffff);
  // A double word over Command and Status that changes only Command's high
  // byte.
  const ConfigWriteResult result =
      config.Write(kCommand.offset, Bytes{0x00, 0x04, 0xff, 0xff});
  EXPECT_TRUE(result.Changed(kCommand));
  EXPECT_FALSE(result.Changed(kStatus));
  EXPECT_FALSE(result.Changed(kDeviceId));
  EXPECT_TRUE(result.Changed(5, 1));
  EXPECT_FALSE(result.Changed(4, 1));
  EXPECT_THAT(result.ranges(), ElementsAre(Range{.offset = 5, .size = 1}));
}

TEST(ConfigSpaceTest, BytesBetweenChangesAreNotTold) {
  ConfigSpace config(256);
  config.SetMask(kBar0, 0xff0000ff);
  const ConfigWriteResult result =
      config.Write(kBar0.offset, Bytes{0xff, 0xff, 0xff, 0xff});
  EXPECT_THAT(result.ranges(), ElementsAre(Range{.offset = 0x10, .size = 1},
                                           Range{.offset = 0x13, .size = 1}));
  EXPECT_TRUE(result.Changed(kBar0));
  EXPECT_FALSE(result.Changed(0x11, 2));
}

TEST(ConfigSpaceTest, NothingChangedOverlapsNothing) {
  const ConfigWriteResult result;
  EXPECT_FALSE(result.any());
  EXPECT_THAT(result.ranges(), IsEmpty());
  EXPECT_FALSE(result.Changed(0, 0x1000));
}

TEST(ConfigSpaceTest, FromBytesCopiesAnImage) {
  const ConfigImage image = CapturedNvme();
  const absl::StatusOr<ConfigSpace> config =
      ConfigSpace::FromBytes(image.bytes());
  ASSERT_TRUE(config.ok());
  EXPECT_EQ(config->bytes(), image.bytes());
  EXPECT_EQ(config->size(), 4096u);
}

TEST(ConfigSpaceTest, FromBytesRefusesOtherSizes) {
  EXPECT_THAT(ConfigSpace::FromBytes(Bytes(255)),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("255")));
  EXPECT_THAT(ConfigSpace::FromBytes({}),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST(ConfigSpaceTest, MasksCanBeReadBack) {
  ConfigSpace config(256);
  config.SetMask(kCommand, 0x0507);
  EXPECT_EQ(config.GetMask(kCommand), 0x0507);
  EXPECT_EQ(config.masks()[4], 0x07);
}

// Every emulated register relies on this property. The result of a write does
// not depend on the number and sizes of the pieces in which it arrives, and the
// pieces together report the same bytes as changed.
TEST(ConfigSpacePropertyTest, AnySplitOfAWriteEqualsTheWhole) {
  std::mt19937 random(20240607);
  const auto byte = [&] { return static_cast<uint8_t>(random()); };
  for (int round = 0; round < 2000; ++round) {
    ConfigSpace whole(256);
    Bytes values(256), masks(256);
    for (uint8_t& b : values) b = byte();
    for (uint8_t& b : masks) b = byte();
    whole.SetBytes(0, values);
    whole.SetMaskBytes(0, masks);
    for (uint16_t offset = 0; offset < 256; offset += 4) {
      whole.SetWriteOneToClear(ConfigReg<uint32_t>{offset},
                               static_cast<uint32_t>(random()));
    }
    ConfigSpace split = whole;

    const auto start = static_cast<uint32_t>(random() % 260);
    Bytes data(random() % 16 + 1);
    for (uint8_t& b : data) b = byte();

    const ConfigWriteResult whole_result = whole.Write(start, data);
    std::array<bool, 256> split_changed{};
    for (size_t done = 0; done < data.size();) {
      const size_t piece =
          std::min<size_t>(random() % 4 + 1, data.size() - done);
      const ConfigWriteResult result =
          split.Write(start + static_cast<uint32_t>(done),
                      absl::MakeSpan(data).subspan(done, piece));
      for (const Range& range : result.ranges()) {
        for (unsigned i = 0; i < range.size; ++i) {
          split_changed[range.offset + i] = true;
        }
      }
      done += piece;
    }

    ASSERT_EQ(whole.bytes(), split.bytes()) << "round " << round;
    for (uint32_t i = 0; i < 256; ++i) {
      ASSERT_EQ(whole_result.Changed(i, 1), split_changed[i])
          << "round " << round << " byte " << i;
      // A byte is reported as changed exactly if it did change.
      ASSERT_EQ(whole_result.Changed(i, 1), whole.bytes()[i] != values[i])
          << "round " << round << " byte " << i;
    }
  }
}

TEST(ConfigSpacePropertyTest, AnySplitOfAReadEqualsTheWhole) {
  std::mt19937 random(20240608);
  ConfigSpace config(256);
  Bytes values(256);
  for (uint8_t& b : values) b = static_cast<uint8_t>(random());
  config.SetBytes(0, values);
  for (uint32_t offset = 0; offset < 260; ++offset) {
    const uint32_t whole = config.Read(offset, 4);
    EXPECT_EQ(whole, config.Read(offset, 2) | config.Read(offset + 2, 2) << 16);
    EXPECT_EQ(whole, config.Read(offset, 1) | config.Read(offset + 1, 3) << 8);
  }
}

TEST(ConfigSpaceDeathTest, ProgramsOwnWrongSizeDies) {
  EXPECT_DEATH(ConfigSpace(255), "255");
}

}  // namespace
}  // namespace passthru::pci
