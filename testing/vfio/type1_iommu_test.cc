// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/vfio/type1_iommu.h"

#include <linux/vfio.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/testing/kernel/fake_file.h"
#include "passthru/testing/kernel/kernel_version.h"
#include "passthru/testing/kernel/mapping_table.h"

namespace passthru::fake {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr uint64_t kIommuPage = 4096;
constexpr uint32_t kMayRead = VFIO_DMA_MAP_FLAG_READ;
constexpr uint32_t kMayWrite = VFIO_DMA_MAP_FLAG_WRITE;
constexpr uint32_t kMayReadAndWrite = kMayRead | kMayWrite;
using Access = Type1Iommu::Access;

// Pages of this process, which the destructor unmaps.
class Pages {
 public:
  explicit Pages(size_t count, int protection = PROT_READ | PROT_WRITE)
      : size_(count * kIommuPage),
        data_(mmap(nullptr, size_, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1,
                   0)) {
    EXPECT_NE(data_, MAP_FAILED);
  }
  ~Pages() { munmap(data_, size_); }
  Pages(const Pages&) = delete;
  Pages& operator=(const Pages&) = delete;

  uint64_t address() const { return reinterpret_cast<uintptr_t>(data_); }
  uint8_t* bytes() const { return static_cast<uint8_t*>(data_); }

 private:
  const size_t size_;
  void* const data_;
};

class Type1IommuTest : public ::testing::Test {
 protected:
  Type1IommuTest() : iommu_(Type1Iommu::Options{}) {}

  int Unmap(uint64_t iova, uint64_t size, uint32_t flags = 0) {
    unmapped_ = size;
    return iommu_.Unmap(flags, iova, &unmapped_);
  }

  Type1Iommu iommu_;
  Pages pages_{8};
  uint64_t unmapped_ = 0;
};

TEST_F(Type1IommuTest, DeviceReadsAndWritesWhatIsMapped) {
  ASSERT_EQ(
      iommu_.Map(kMayReadAndWrite, pages_.address(), 0x10000, 2 * kIommuPage),
      0);
  const std::vector<uint8_t> data = {1, 2, 3, 4};
  EXPECT_EQ(iommu_.Write(0x10ffe, data), Access::kDone);
  EXPECT_EQ(pages_.bytes()[0xffe], 1);
  EXPECT_EQ(pages_.bytes()[0x1001], 4);
  std::vector<uint8_t> back(4);
  EXPECT_EQ(iommu_.Read(0x10ffe, absl::MakeSpan(back)), Access::kDone);
  EXPECT_EQ(back, data);
}

TEST_F(Type1IommuTest, AccessMaySpanAdjacentMappings) {
  ASSERT_EQ(iommu_.Map(kMayReadAndWrite, pages_.address() + kIommuPage, 0x10000,
                       kIommuPage),
            0);
  ASSERT_EQ(iommu_.Map(kMayReadAndWrite, pages_.address(), 0x11000, kIommuPage),
            0);
  const std::vector<uint8_t> data = {7, 8};
  EXPECT_EQ(iommu_.Write(0x10fff, data), Access::kDone);
  EXPECT_EQ(pages_.bytes()[2 * kIommuPage - 1], 7);
  EXPECT_EQ(pages_.bytes()[0], 8);
}

TEST_F(Type1IommuTest, RefusedAccessTransfersNothing) {
  ASSERT_EQ(iommu_.Map(kMayReadAndWrite, pages_.address(), 0x10000, kIommuPage),
            0);
  EXPECT_EQ(iommu_.Write(0x10ffe, std::vector<uint8_t>(4, 9)),
            Access::kUnmapped);
  EXPECT_EQ(pages_.bytes()[kIommuPage - 1], 0);
  std::vector<uint8_t> data(1);
  EXPECT_EQ(iommu_.Read(0xffff, absl::MakeSpan(data)), Access::kUnmapped);
}

TEST_F(Type1IommuTest, PermissionsAreTheDevices) {
  ASSERT_EQ(iommu_.Map(kMayRead, pages_.address(), 0x10000, kIommuPage), 0);
  ASSERT_EQ(iommu_.Map(kMayWrite, pages_.address(), 0x20000, kIommuPage), 0);
  std::vector<uint8_t> data(1);
  EXPECT_EQ(iommu_.Write(0x10000, data), Access::kPermission);
  EXPECT_EQ(iommu_.Read(0x10000, absl::MakeSpan(data)), Access::kDone);
  EXPECT_EQ(iommu_.Read(0x20000, absl::MakeSpan(data)), Access::kPermission);
  EXPECT_EQ(iommu_.Write(0x20000, data), Access::kDone);
}

TEST_F(Type1IommuTest, AccessAtTheEndOfTheAddressSpaceDoesNotWrap) {
  Type1Iommu::Options options;
  options.iova_ranges = {{0, ~uint64_t{0}}};
  Type1Iommu iommu(options);
  const uint64_t last = ~uint64_t{0} - kIommuPage + 1;
  ASSERT_EQ(iommu.Map(kMayReadAndWrite, pages_.address(), last, kIommuPage), 0);
  ASSERT_EQ(iommu.Map(kMayReadAndWrite, pages_.address(), 0, kIommuPage), 0);
  EXPECT_EQ(iommu.Write(~uint64_t{0}, std::vector<uint8_t>(2)),
            Access::kUnmapped);
}

// The page stays mapped, without access, because the test itself could get its
// address meanwhile.
TEST_F(Type1IommuTest, MemoryTheProcessLostIsReportedNotTouched) {
  const Pages gone(1);
  ASSERT_EQ(iommu_.Map(kMayReadAndWrite, gone.address(), 0x10000, kIommuPage),
            0);
  ASSERT_EQ(mprotect(gone.bytes(), kIommuPage, PROT_NONE), 0);
  std::vector<uint8_t> data(8);
  EXPECT_EQ(iommu_.Read(0x10000, absl::MakeSpan(data)), Access::kUnpinned);
  EXPECT_EQ(iommu_.Write(0x10000, data), Access::kUnpinned);
}

// A BAR of another device.
class PeerFile final : public FakeFile {
 public:
  std::string Describe() const override { return "peer"; }
  bool PeerLoad(uint64_t offset, absl::Span<uint8_t> data) override {
    for (uint8_t& byte : data) byte = static_cast<uint8_t>(offset++ >> 4);
    return true;
  }
  bool PeerStore(uint64_t offset, absl::Span<const uint8_t> data) override {
    stores.emplace_back(offset, data.size());
    return true;
  }
  std::vector<std::pair<uint64_t, size_t>> stores;
};

TEST_F(Type1IommuTest, DmaToABarGoesThroughItsDevice) {
  MappingTable table;
  Type1Iommu iommu(Type1Iommu::Options{.mappings = &table});
  const auto peer = std::make_shared<PeerFile>();
  Pages pages(3);
  ASSERT_EQ(iommu.Map(kMayReadAndWrite, pages.address(), 0, 3 * kIommuPage), 0);
  // The page in the middle is the BAR's, from 0x100 on.
  table.Add({.address = pages.address() + kIommuPage,
             .length = kIommuPage,
             .file = peer,
             .offset = 0x100});
  std::vector<uint8_t> data(kIommuPage + 32, 7);
  EXPECT_EQ(iommu.Write(kIommuPage - 16, data), Access::kDone);
  EXPECT_THAT(peer->stores,
              ElementsAre(std::pair(uint64_t{0x100}, size_t{kIommuPage})));
  EXPECT_EQ(pages.bytes()[kIommuPage - 16], 7);
  EXPECT_EQ(pages.bytes()[kIommuPage], 0);
  EXPECT_EQ(pages.bytes()[2 * kIommuPage + 15], 7);
  EXPECT_EQ(iommu.Read(kIommuPage - 16, absl::MakeSpan(data)), Access::kDone);
  EXPECT_EQ(data[15], 7);
  EXPECT_EQ(data[16], 0x10);
  EXPECT_EQ(data[32], 0x11);
  EXPECT_EQ(data[kIommuPage + 31], 7);
}

TEST_F(Type1IommuTest, LargeRangeIsCheckedToItsEnd) {
  // The 4 MiB are more than PinError() makes present. They have a page that is
  // read-only and then has no access, or begin with a hole.
  Pages large(1024);
  EXPECT_EQ(iommu_.Map(kMayReadAndWrite, large.address(), 0x1000000,
                       1024 * kIommuPage),
            0);
  ASSERT_EQ(Unmap(0x1000000, 1024 * kIommuPage), 0);
  mprotect(large.bytes() + 1000 * kIommuPage, kIommuPage, PROT_READ);
  EXPECT_EQ(iommu_.Map(kMayReadAndWrite, large.address(), 0x1000000,
                       1024 * kIommuPage),
            EFAULT);
  EXPECT_EQ(iommu_.Map(kMayRead, large.address(), 0x1000000, 1024 * kIommuPage),
            0);
  ASSERT_EQ(Unmap(0x1000000, 1024 * kIommuPage), 0);
  mprotect(large.bytes() + 1000 * kIommuPage, kIommuPage, PROT_NONE);
  EXPECT_EQ(iommu_.Map(kMayRead, large.address(), 0x1000000, 1024 * kIommuPage),
            EFAULT);
  // This hole is below vm.mmap_min_addr, where no thread gets memory.
  EXPECT_EQ(iommu_.Map(kMayRead, kIommuPage, 0x1000000, 1024 * kIommuPage),
            EFAULT);
  EXPECT_THAT(iommu_.Mappings(), IsEmpty());
}

// The answer is no EFAULT, which would accuse the caller's address.
TEST_F(Type1IommuTest, OwnWantOfADescriptorHasItsErrno) {
  const Pages large(1024);
  rlimit before = {};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  rlimit none = before;
  none.rlim_cur = 0;
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
  const int error = iommu_.Map(kMayReadAndWrite, large.address(), 0x1000000,
                               1024 * kIommuPage);
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
  EXPECT_EQ(error, EMFILE);
  EXPECT_THAT(iommu_.Mappings(), IsEmpty());
  EXPECT_EQ(iommu_.Map(kMayReadAndWrite, large.address(), 0x1000000,
                       1024 * kIommuPage),
            0);
}

TEST_F(Type1IommuTest, LockedMemoryLimit) {
  Type1Iommu::Options options;
  options.locked_memory_limit = 2 * kIommuPage;
  Type1Iommu iommu(options);
  EXPECT_EQ(iommu.Map(kMayReadAndWrite, pages_.address(), 0, 3 * kIommuPage),
            ENOMEM);
  EXPECT_EQ(iommu.Map(kMayReadAndWrite, pages_.address(), 0, 2 * kIommuPage),
            0);
  EXPECT_EQ(iommu.Map(kMayReadAndWrite, pages_.address(), 0x10000, kIommuPage),
            ENOMEM);
  uint64_t size = 2 * kIommuPage;
  ASSERT_EQ(iommu.Unmap(0, 0, &size), 0);
  EXPECT_EQ(iommu.Map(kMayReadAndWrite, pages_.address(), 0x10000, kIommuPage),
            0);
}

TEST_F(Type1IommuTest, Version1RemovesAWholeMappingByItsStart) {
  Type1Iommu::Options options;
  options.version2 = false;
  Type1Iommu iommu(options);
  ASSERT_EQ(
      iommu.Map(kMayReadAndWrite, pages_.address(), 0x10000, 4 * kIommuPage),
      0);
  uint64_t size = kIommuPage;
  EXPECT_EQ(iommu.Unmap(0, 0x11000, &size), 0);
  EXPECT_EQ(size, 0u);
  size = kIommuPage;
  EXPECT_EQ(iommu.Unmap(0, 0x10000, &size), 0);
  EXPECT_EQ(size, 4 * kIommuPage);
}

TEST_F(Type1IommuTest, WrapIsAnotherErrorOnNewKernels) {
  Type1Iommu::Options options;
  options.rules = RulesOf(KernelVersion::k7_2);
  Type1Iommu iommu(options);
  const uint64_t last = ~uint64_t{0} - kIommuPage + 1;
  EXPECT_EQ(iommu.Map(kMayReadAndWrite, pages_.address(), last, 2 * kIommuPage),
            EOVERFLOW);
  EXPECT_EQ(
      iommu_.Map(kMayReadAndWrite, pages_.address(), last, 2 * kIommuPage),
      EINVAL);
  EXPECT_EQ(iommu_.Map(kMayReadAndWrite, last, 0, 2 * kIommuPage), EINVAL);
}

TEST_F(Type1IommuTest, InvalidatingAddressesIsAllOrNothing) {
  ASSERT_EQ(iommu_.Map(kMayReadAndWrite, pages_.address(), 0x10000, kIommuPage),
            0);
  ASSERT_EQ(iommu_.Map(kMayReadAndWrite, pages_.address(), 0x11000, kIommuPage),
            0);
  ASSERT_EQ(Unmap(0x11000, kIommuPage, VFIO_DMA_UNMAP_FLAG_VADDR), 0);
  EXPECT_EQ(Unmap(0x10000, 2 * kIommuPage, VFIO_DMA_UNMAP_FLAG_VADDR), EINVAL);
  EXPECT_THAT(iommu_.Mappings(),
              ElementsAre(::testing::Field(&DmaMapping::vaddr_invalid, false),
                          ::testing::Field(&DmaMapping::vaddr_invalid, true)));
}

// Compares the IOMMU with a plain model, which holds the owner of each page.
TEST_F(Type1IommuTest, RandomCallsAgreeWithAPageTable) {
  constexpr uint64_t kPagesOfSpace = 64;
  std::mt19937 random(7);
  std::vector<int> owner(kPagesOfSpace, -1);
  for (int call = 0; call < 20'000; ++call) {
    const uint64_t first = random() % kPagesOfSpace;
    const uint64_t count =
        1 + random() % std::min<uint64_t>(8, kPagesOfSpace - first);
    const auto begin = owner.begin() + static_cast<ptrdiff_t>(first);
    const auto end = begin + static_cast<ptrdiff_t>(count);
    if (random() % 2 == 0) {
      const bool free =
          std::all_of(begin, end, [](int page) { return page == -1; });
      const int expected = free ? 0 : EEXIST;
      ASSERT_EQ(iommu_.Map(kMayReadAndWrite, pages_.address(),
                           first * kIommuPage, count * kIommuPage),
                expected)
          << "call " << call;
      if (free) std::fill(begin, end, call);
    } else {
      const bool cut_front =
          first > 0 && owner[first] != -1 && owner[first - 1] == owner[first];
      const uint64_t last = first + count - 1;
      const bool cut_back = last + 1 < kPagesOfSpace && owner[last] != -1 &&
                            owner[last + 1] == owner[last];
      const uint64_t mapped = static_cast<uint64_t>(
          std::count_if(begin, end, [](int page) { return page != -1; }));
      const int expected = cut_front || cut_back ? EINVAL : 0;
      ASSERT_EQ(Unmap(first * kIommuPage, count * kIommuPage), expected)
          << "call " << call;
      if (expected == 0) {
        ASSERT_EQ(unmapped_, mapped * kIommuPage) << "call " << call;
        std::fill(begin, end, -1);
      }
    }
  }
}

}  // namespace
}  // namespace passthru::fake
