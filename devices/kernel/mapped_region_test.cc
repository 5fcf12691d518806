// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/kernel/mapped_region.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/devices/kernel/errors.h"
#include "passthru/devices/kernel/file_descriptor.h"
#include "passthru/devices/kernel/forwarding_syscalls.h"
#include "passthru/devices/kernel/linux_syscalls.h"
#include "passthru/devices/kernel/page_size.h"
#include "passthru/devices/kernel/syscalls.h"

namespace passthru::kernel {
namespace {

using absl_testing::IsOk;
using absl_testing::StatusIs;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Pair;
using testing::SizeIs;

class MappingSyscalls : public ForwardingSyscalls {
 public:
  using ForwardingSyscalls::ForwardingSyscalls;
  SyscallResult<int> Munmap(void* address, size_t length) override {
    unmapped.emplace_back(address, length);
    return ForwardingSyscalls::Munmap(address, length);
  }
  SyscallResult<void*> Mmap(void* address, size_t length, int protection,
                            int flags, int fd, uint64_t offset) override {
    if (refuse_reservations && protection == PROT_NONE) {
      return {.error = ENOMEM};
    }
    return ForwardingSyscalls::Mmap(address, length, protection, flags, fd,
                                    offset);
  }
  bool refuse_reservations = false;
  std::vector<std::pair<void*, size_t>> unmapped;
};

class MappedRegionTest : public testing::Test {
 protected:
  absl::StatusOr<MappedRegion> MapAnonymous(size_t length) {
    return MappedRegion::Allocate(&syscalls_, length, "test memory");
  }

  LinuxSyscalls linux_;
  MappingSyscalls syscalls_{&linux_};
};

TEST_F(MappedRegionTest, MemoryIsUsableAndUnmappedOnDestruction) {
  void* data = nullptr;
  {
    absl::StatusOr<MappedRegion> region = MapAnonymous(2 * PageSize());
    ASSERT_THAT(region, IsOk());
    data = region->data();
    EXPECT_EQ(region->size(), 2 * PageSize());
    uint8_t& last = static_cast<uint8_t*>(data)[2 * PageSize() - 1];
    EXPECT_EQ(last, 0u);
    last = 1;
    EXPECT_THAT(syscalls_.unmapped, IsEmpty());
  }
  EXPECT_THAT(syscalls_.unmapped, ElementsAre(Pair(data, 2 * PageSize())));
}

TEST_F(MappedRegionTest, MovingKeepsTheAddressAndUnmapsOnce) {
  {
    absl::StatusOr<MappedRegion> region = MapAnonymous(PageSize());
    ASSERT_THAT(region, IsOk());
    void* const data = region->data();
    MappedRegion moved = *std::move(region);
    EXPECT_EQ(moved.data(), data);
    EXPECT_EQ(moved.size(), PageSize());
    // NOLINTNEXTLINE(bugprone-use-after-move): documented.
    EXPECT_EQ(region->data(), nullptr);
    EXPECT_EQ(region->size(), 0u);  // NOLINT(bugprone-use-after-move)
  }
  EXPECT_EQ(syscalls_.unmapped.size(), 1u);
}

TEST_F(MappedRegionTest, AssignmentUnmapsWhatWasHeld) {
  absl::StatusOr<MappedRegion> first = MapAnonymous(PageSize());
  ASSERT_THAT(first, IsOk());
  absl::StatusOr<MappedRegion> second = MapAnonymous(PageSize());
  ASSERT_THAT(second, IsOk());
  void* const held = first->data();
  *first = *std::move(second);
  EXPECT_THAT(syscalls_.unmapped, ElementsAre(Pair(held, PageSize())));
}

TEST_F(MappedRegionTest, ResetUnmapsNowAndNotAgain) {
  absl::StatusOr<MappedRegion> region = MapAnonymous(PageSize());
  ASSERT_THAT(region, IsOk());
  region->reset();
  region->reset();
  EXPECT_EQ(region->data(), nullptr);
  EXPECT_EQ(syscalls_.unmapped.size(), 1u);
}

TEST_F(MappedRegionTest, FailureNamesWhatWasToBeMapped) {
  const absl::StatusOr<MappedRegion> region =
      MappedRegion::Map(&syscalls_, {.length = PageSize(),
                                     .protection = PROT_READ,
                                     .flags = MAP_SHARED,
                                     .fd = -1,
                                     .name = "BAR 0 of 0000:01:00.0"});
  EXPECT_EQ(ErrnoOf(region.status()), EBADF);
  EXPECT_THAT(region.status().message(), HasSubstr("BAR 0 of 0000:01:00.0"));
}

// A memfd stands for the BAR of a device.
class AlignedRegionTest : public MappedRegionTest {
 protected:
  static constexpr size_t kHuge = size_t{2} << 20;

  AlignedRegionTest() {
    const int fd = memfd_create("BAR", MFD_CLOEXEC);
    file_ = FileDescriptor(&linux_, fd);
    EXPECT_EQ(ftruncate(fd, 4 * kHuge), 0);
  }
  absl::StatusOr<MappedRegion> MapBar(uint64_t offset, size_t length) {
    return MappedRegion::Map(&syscalls_, {.length = length,
                                          .protection = PROT_READ | PROT_WRITE,
                                          .flags = MAP_SHARED,
                                          .fd = file_.get(),
                                          .offset = offset,
                                          .alignment = kHuge,
                                          .name = "BAR"});
  }
  FileDescriptor file_;
};

TEST_F(AlignedRegionTest, AddressAndFileOffsetAreEqualModuloTheAlignment) {
  for (const uint64_t offset : {uint64_t{0}, uint64_t{PageSize()},
                                uint64_t{kHuge}, kHuge + 3 * PageSize()}) {
    const auto region = MapBar(offset, kHuge);
    ASSERT_THAT(region, IsOk());
    EXPECT_EQ(region->size(), kHuge);
    EXPECT_EQ((reinterpret_cast<uintptr_t>(region->data()) - offset) % kHuge,
              0u);
    static_cast<uint8_t*>(region->data())[kHuge - 1] = 7;
    uint8_t byte = 0;
    EXPECT_EQ(pread(file_.get(), &byte, 1, offset + kHuge - 1), 1);
    EXPECT_EQ(byte, 7);
  }
}

TEST_F(AlignedRegionTest, OneCallUnmapsAll) {
  auto region = MapBar(0, kHuge);
  ASSERT_THAT(region, IsOk());
  MappedRegion moved = *std::move(region);
  moved.reset();
  ASSERT_THAT(syscalls_.unmapped, SizeIs(1));
  EXPECT_EQ(syscalls_.unmapped[0].second, 2 * kHuge);
}

TEST_F(AlignedRegionTest, WithoutRoomItIsMappedUnaligned) {
  syscalls_.refuse_reservations = true;
  const auto region = MapBar(0, kHuge);
  ASSERT_THAT(region, IsOk());
  EXPECT_EQ(region->size(), kHuge);
}

TEST_F(AlignedRegionTest, AFailureGivesTheReservationBack) {
  file_.reset();
  EXPECT_EQ(ErrnoOf(MapBar(0, kHuge).status()), EBADF);
  ASSERT_THAT(syscalls_.unmapped, SizeIs(1));
  EXPECT_EQ(syscalls_.unmapped[0].second, 2 * kHuge);
}

TEST_F(MappedRegionTest, FixedAddressIsRefused) {
  EXPECT_THAT(MappedRegion::Map(
                  &syscalls_, {.length = PageSize(),
                               .flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
                               .name = "x"}),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

}  // namespace
}  // namespace passthru::kernel
