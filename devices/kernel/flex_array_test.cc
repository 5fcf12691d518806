// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/kernel/flex_array.h"

#include <linux/kvm.h>
#include <linux/vfio.h>

#include <cstddef>
#include <cstdint>
#include <utility>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace passthru::kernel {
namespace {

using testing::Each;

struct Header {
  uint64_t first;
  uint32_t second;
};
struct Element {
  uint32_t a;
  uint16_t b;
};

TEST(FlexArrayTest, IsZeroed) {
  FlexArray<Header, Element> array(37);
  EXPECT_EQ(array.size_bytes(), sizeof(Header) + 37 * sizeof(Element));
  EXPECT_THAT(array.bytes(), Each(std::byte{0}));
}

TEST(FlexArrayTest, ElementsFollowTheHeader) {
  FlexArray<Header, Element> array(3);
  array.header().second = 5;
  array.elements()[2].a = 7;
  EXPECT_EQ(array.elements().size(), 3u);
  EXPECT_EQ(static_cast<const void*>(&array.header()), array.data());
  EXPECT_EQ(reinterpret_cast<std::byte*>(array.elements().data()),
            array.bytes().data() + sizeof(Header));
  EXPECT_EQ(reinterpret_cast<std::byte*>(array.elements().data() + 3),
            array.bytes().data() + array.size_bytes());
}

TEST(FlexArrayTest, TailInTheHeadersPaddingOverlapsIt) {
  // The tail begins at 12 though the header has 16 bytes.
  FlexArray<Header, uint32_t, 12> array(2);
  EXPECT_EQ(array.size_bytes(), 20u);
  EXPECT_EQ(reinterpret_cast<std::byte*>(array.elements().data()),
            array.bytes().data() + 12);
}

TEST(FlexArrayTest, EmptyTailStillHoldsTheWholeHeader) {
  FlexArray<Header, uint32_t, 12> array(0);
  EXPECT_EQ(array.size_bytes(), sizeof(Header));
  EXPECT_TRUE(array.elements().empty());
}

TEST(FlexArrayTest, IsAlignedForItsParts) {
  FlexArray<Header, uint64_t> array(1);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(array.data()) % alignof(Header), 0u);
  EXPECT_EQ(
      reinterpret_cast<uintptr_t>(array.elements().data()) % alignof(uint64_t),
      0u);
}

TEST(FlexArrayTest, MovingKeepsTheContents) {
  FlexArray<Header, Element> array(1);
  array.elements()[0].b = 9;
  const void* const data = array.data();
  FlexArray<Header, Element> moved = std::move(array);
  EXPECT_EQ(moved.data(), data);
  EXPECT_EQ(moved.elements()[0].b, 9);
}

TEST(FlexArrayTest, LargestCountFitsTheSizeThatUapiStructuresState) {
  constexpr uint64_t kMax = FlexArray<Header, Element>::kMaxCount;
  EXPECT_LE(sizeof(Header) + kMax * sizeof(Element), UINT32_MAX);
  EXPECT_GT(sizeof(Header) + (kMax + 1) * sizeof(Element), UINT32_MAX);
}

TEST(FlexArrayDeathTest, CountThatWouldOverflowIsRefused) {
  using Array = FlexArray<Header, Element>;
  EXPECT_DEATH(Array(Array::kMaxCount + 1), "kMaxCount");
  EXPECT_DEATH(Array(SIZE_MAX), "kMaxCount");
}

// In C++, too, the tails of these UAPI structures must be where the kernel
// reads them.
TEST(FlexArrayTest, TailsOfUapiStructuresAreWhereTheKernelHasThem) {
  EXPECT_EQ(sizeof(kvm_irq_routing), 8u);
  EXPECT_EQ(sizeof(kvm_irq_routing_entry), 48u);
  EXPECT_EQ(sizeof(vfio_irq_set), 20u);
  EXPECT_EQ(sizeof(vfio_pci_hot_reset), 12u);
  EXPECT_EQ(sizeof(vfio_pci_hot_reset_info), 12u);
  EXPECT_EQ(sizeof(vfio_pci_dependent_device), 8u);
  EXPECT_EQ(sizeof(vfio_iommu_type1_dma_unmap), 24u);
}

}  // namespace
}  // namespace passthru::kernel
