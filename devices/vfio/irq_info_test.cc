// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/vfio/irq_info.h"

#include <linux/vfio.h>

#include <cerrno>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
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
using testing::HasSubstr;

VfioIrqInfo QueryAnswered(uint32_t flags, uint32_t count) {
  OddIoctl ioctl([=](unsigned long request, uint8_t* argument) {
    EXPECT_EQ(request, VFIO_DEVICE_GET_IRQ_INFO);
    auto* const info = reinterpret_cast<vfio_irq_info*>(argument);
    EXPECT_EQ(info->index, VFIO_PCI_MSIX_IRQ_INDEX);
    info->flags = flags;
    info->count = count;
    return SyscallResult<int>{};
  });
  return QueryIrqInfo(&ioctl, 5, VFIO_PCI_MSIX_IRQ_INDEX, "0000:01:00.0");
}

TEST(QueryIrqInfoTest, ResizableType) {
  const VfioIrqInfo irq = QueryAnswered(VFIO_IRQ_INFO_EVENTFD, 65);
  EXPECT_THAT(irq.status, IsOk());
  EXPECT_EQ(irq.index, VFIO_PCI_MSIX_IRQ_INDEX);
  EXPECT_EQ(irq.count, 65u);
  EXPECT_TRUE(irq.exists());
  EXPECT_TRUE(irq.eventfd());
  EXPECT_FALSE(irq.maskable());
  EXPECT_FALSE(irq.noresize());
}

TEST(QueryIrqInfoTest, FixedMaskableType) {
  const VfioIrqInfo irq =
      QueryAnswered(VFIO_IRQ_INFO_MASKABLE | VFIO_IRQ_INFO_NORESIZE, 1);
  EXPECT_FALSE(irq.eventfd());
  EXPECT_TRUE(irq.maskable());
  EXPECT_TRUE(irq.noresize());
}

TEST(QueryIrqInfoTest, AbsentTypeIsNoError) {
  const VfioIrqInfo irq = QueryAnswered(VFIO_IRQ_INFO_EVENTFD, 0);
  EXPECT_THAT(irq.status, IsOk());
  EXPECT_FALSE(irq.exists());
}

TEST(QueryIrqInfoTest, LargestMsixTableIsAccepted) {
  EXPECT_EQ(QueryAnswered(VFIO_IRQ_INFO_EVENTFD, 2048).count, 2048u);
}

TEST(QueryIrqInfoTest, MoreVectorsThanAFunctionCanHaveAreRefused) {
  const VfioIrqInfo irq = QueryAnswered(VFIO_IRQ_INFO_EVENTFD, 0xffffffff);
  EXPECT_THAT(irq.status,
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("4294967295")));
  EXPECT_FALSE(irq.exists());
}

TEST(QueryIrqInfoTest, RefusedQueryKeepsItsIndexAndErrno) {
  OddIoctl ioctl([](unsigned long, uint8_t*) {
    return SyscallResult<int>{.error = EINVAL};
  });
  const VfioIrqInfo irq =
      QueryIrqInfo(&ioctl, 5, VFIO_PCI_ERR_IRQ_INDEX, "0000:01:00.0");
  EXPECT_EQ(irq.index, VFIO_PCI_ERR_IRQ_INDEX);
  EXPECT_FALSE(irq.exists());
  EXPECT_EQ(kernel::ErrnoOf(irq.status), EINVAL);
  EXPECT_THAT(irq.status.message(),
              HasSubstr("VFIO_DEVICE_GET_IRQ_INFO(index=ERR) on 0000:01:00.0"));
}

TEST(IrqNameTest, IsWhatTheSpecificationCallsIt) {
  EXPECT_EQ(IrqName(0), "INTx");
  EXPECT_EQ(IrqName(1), "MSI");
  EXPECT_EQ(IrqName(2), "MSI-X");
  EXPECT_EQ(IrqName(3), "ERR");
  EXPECT_EQ(IrqName(4), "REQ");
  EXPECT_EQ(IrqName(5), "irq 5");
}

}  // namespace
}  // namespace passthru::vfio
