// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/vfio/info_query.h"

#include <linux/vfio.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/devices/kernel/errors.h"
#include "passthru/devices/kernel/syscalls.h"
#include "passthru/devices/vfio/odd_ioctl.h"

namespace passthru::vfio {
namespace {

using absl_testing::IsOk;
using absl_testing::StatusIs;
using kernel::SyscallResult;
using testing::ElementsAre;
using testing::Field;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr int kInfoFd = 5;

absl::StatusOr<InfoAnswer<vfio_region_info>> Query(OddIoctl& ioctl) {
  vfio_region_info inputs = {};
  inputs.index = 3;
  return QueryInfo(&ioctl, kInfoFd, VFIO_DEVICE_GET_REGION_INFO, inputs,
                   "call");
}

void SetArgsz(uint8_t* argument, uint32_t argsz) {
  std::memcpy(argument, &argsz, sizeof(argsz));
}

TEST(QueryInfoTest, AnswerThatFitsIsOneCall) {
  OddIoctl ioctl([](unsigned long request, uint8_t* argument) {
    EXPECT_EQ(request, VFIO_DEVICE_GET_REGION_INFO);
    EXPECT_EQ(Argsz(argument), sizeof(vfio_region_info));
    auto* const info = reinterpret_cast<vfio_region_info*>(argument);
    EXPECT_EQ(info->index, 3u);
    info->size = 0x1000;
    return SyscallResult<int>{};
  });
  const auto answer = Query(ioctl);
  ASSERT_THAT(answer, IsOk());
  EXPECT_EQ(answer->info.size, 0x1000u);
  EXPECT_EQ(answer->bytes.size(), sizeof(vfio_region_info));
  EXPECT_EQ(ioctl.calls(), 1);
}

TEST(QueryInfoTest, LargerAnswerIsAskedForAgainWithTheInputs) {
  OddIoctl ioctl([](unsigned long, uint8_t* argument) {
    EXPECT_EQ(reinterpret_cast<vfio_region_info*>(argument)->index, 3u);
    if (Argsz(argument) < 40) {
      std::memset(argument, 0xee, sizeof(vfio_region_info));
    } else {
      argument[39] = 7;
    }
    SetArgsz(argument, 40);
    return SyscallResult<int>{};
  });
  const auto answer = Query(ioctl);
  ASSERT_THAT(answer, IsOk());
  ASSERT_EQ(answer->bytes.size(), 40u);
  EXPECT_EQ(answer->bytes[39], 7);
  EXPECT_EQ(ioctl.calls(), 2);
}

TEST(QueryInfoTest, AnswerThatShrinksEndsWhereItSays) {
  OddIoctl ioctl([](unsigned long, uint8_t* argument) {
    SetArgsz(argument, Argsz(argument) < 100 ? 100 : 48);
    return SyscallResult<int>{};
  });
  const auto answer = Query(ioctl);
  ASSERT_THAT(answer, IsOk());
  EXPECT_EQ(answer->bytes.size(), 48u);
}

TEST(QueryInfoTest, ArgszBelowTheStructureStillGivesTheStructure) {
  OddIoctl ioctl([](unsigned long, uint8_t* argument) {
    SetArgsz(argument, 0);
    return SyscallResult<int>{};
  });
  const auto answer = Query(ioctl);
  ASSERT_THAT(answer, IsOk());
  EXPECT_EQ(answer->bytes.size(), sizeof(vfio_region_info));
}

TEST(QueryInfoTest, AnswerThatGrowsForEverEnds) {
  OddIoctl ioctl([](unsigned long, uint8_t* argument) {
    SetArgsz(argument, Argsz(argument) + 8);
    return SyscallResult<int>{};
  });
  EXPECT_THAT(Query(ioctl),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("more room")));
  EXPECT_LE(ioctl.calls(), 16);
}

TEST(QueryInfoTest, AbsurdSizeIsNotAllocated) {
  OddIoctl ioctl([](unsigned long, uint8_t* argument) {
    SetArgsz(argument, 0xffffffff);
    return SyscallResult<int>{};
  });
  EXPECT_THAT(Query(ioctl),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("4294967295")));
  EXPECT_EQ(ioctl.calls(), 1);
}

TEST(QueryInfoTest, RefusalCarriesItsErrno) {
  OddIoctl ioctl([](unsigned long, uint8_t*) {
    return SyscallResult<int>{.error = EINVAL};
  });
  EXPECT_EQ(kernel::ErrnoOf(Query(ioctl).status()), EINVAL);
}

// A capability header that AnswerWith() places in its result, which has `size`
// bytes and is otherwise zero.
struct Placed {
  uint32_t offset;
  uint16_t id;
  uint32_t next;
};
std::vector<uint8_t> AnswerWith(size_t size,
                                const std::vector<Placed>& headers) {
  std::vector<uint8_t> bytes(size);
  for (const Placed& placed : headers) {
    const vfio_info_cap_header header = {
        .id = placed.id, .version = 1, .next = placed.next};
    std::memcpy(bytes.data() + placed.offset, &header, sizeof(header));
  }
  return bytes;
}

auto HasId(uint16_t id) { return Field(&InfoCapability::id, id); }

TEST(WalkInfoCapabilitiesTest, OffsetZeroIsAnEmptyChain) {
  const InfoCapabilities walked =
      WalkInfoCapabilities(std::vector<uint8_t>(64), 0, 32);
  EXPECT_THAT(walked.entries, IsEmpty());
  EXPECT_EQ(walked.malformed, "");
}

TEST(WalkInfoCapabilitiesTest, FollowsTheChainInItsOrder) {
  std::vector<uint8_t> answer =
      AnswerWith(64, {{32, 1, 48}, {48, 2, 40}, {40, 3, 0}});
  answer[63] = 9;
  const InfoCapabilities walked = WalkInfoCapabilities(answer, 32, 32);
  EXPECT_THAT(walked.entries, ElementsAre(HasId(1), HasId(2), HasId(3)));
  EXPECT_EQ(walked.entries[0].version, 1);
  EXPECT_EQ(walked.entries[0].payload.size(), 24u);
  EXPECT_EQ(walked.entries[1].payload.back(), 9);
  EXPECT_EQ(walked.malformed, "");
}

TEST(WalkInfoCapabilitiesTest, HeaderAtTheVeryEndHasAnEmptyPayload) {
  const std::vector<uint8_t> answer = AnswerWith(40, {{32, 3, 0}});
  const InfoCapabilities walked = WalkInfoCapabilities(answer, 32, 32);
  ASSERT_THAT(walked.entries, ElementsAre(HasId(3)));
  EXPECT_TRUE(walked.entries[0].payload.empty());
}

TEST(WalkInfoCapabilitiesTest, EntryThatPointsToItselfEnds) {
  const std::vector<uint8_t> answer = AnswerWith(40, {{32, 3, 32}});
  const InfoCapabilities walked = WalkInfoCapabilities(answer, 32, 32);
  EXPECT_THAT(walked.entries, ElementsAre(HasId(3)));
  EXPECT_THAT(walked.malformed, HasSubstr("returns to offset 0x20"));
}

TEST(WalkInfoCapabilitiesTest, LongerLoopEnds) {
  const std::vector<uint8_t> answer =
      AnswerWith(64, {{32, 1, 40}, {40, 2, 48}, {48, 3, 40}});
  const InfoCapabilities walked = WalkInfoCapabilities(answer, 32, 32);
  EXPECT_THAT(walked.entries, ElementsAre(HasId(1), HasId(2), HasId(3)));
  EXPECT_THAT(walked.malformed, HasSubstr("returns to offset 0x28"));
}

TEST(WalkInfoCapabilitiesTest, EntryOutsideTheAnswerEnds) {
  const std::vector<uint8_t> answer = AnswerWith(40, {{32, 1, 4096}});
  const InfoCapabilities walked = WalkInfoCapabilities(answer, 32, 32);
  EXPECT_THAT(walked.entries, ElementsAre(HasId(1)));
  EXPECT_THAT(walked.malformed, HasSubstr("0x1000"));
}

TEST(WalkInfoCapabilitiesTest, HeaderThatIsCutOffEnds) {
  const std::vector<uint8_t> answer(40);
  const InfoCapabilities walked = WalkInfoCapabilities(answer, 33, 32);
  EXPECT_THAT(walked.entries, IsEmpty());
  EXPECT_THAT(walked.malformed, HasSubstr("outside"));
}

TEST(WalkInfoCapabilitiesTest, OffsetNearTheTopOf32BitsEnds) {
  const std::vector<uint8_t> answer(40);
  const InfoCapabilities walked = WalkInfoCapabilities(answer, 0xffffffff, 32);
  EXPECT_THAT(walked.malformed, HasSubstr("outside"));
}

TEST(WalkInfoCapabilitiesTest, EntryInsideTheStructureEnds) {
  const std::vector<uint8_t> answer = AnswerWith(40, {{32, 1, 8}});
  const InfoCapabilities walked = WalkInfoCapabilities(answer, 32, 32);
  EXPECT_THAT(walked.entries, ElementsAre(HasId(1)));
  EXPECT_THAT(walked.malformed, HasSubstr("0x8"));
}

TEST(WalkInfoCapabilitiesTest, AnyBytesEndWithinTheirSize) {
  std::mt19937 random(20190714);
  for (int round = 0; round < 2000; ++round) {
    std::vector<uint8_t> answer(32 + random() % 256);
    for (uint8_t& byte : answer) {
      // Most bytes are zero, so that offsets are small and chains long.
      byte = static_cast<uint8_t>(random() % 4 == 0 ? random() : 0);
    }
    const uint32_t first = random() % 300;
    const InfoCapabilities walked = WalkInfoCapabilities(answer, first, 32);
    EXPECT_LE(walked.entries.size(), answer.size());
  }
}

}  // namespace
}  // namespace passthru::vfio
