// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/vfio/vfio_irq_index.h"

#include <linux/vfio.h>

#include <cerrno>
#include <memory>

#include "absl/status/status_matchers.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/devices/interrupts/host_vectors.h"
#include "passthru/devices/kernel/errors.h"
#include "passthru/devices/kernel/event_fd.h"
#include "passthru/devices/vfio/vfio_device.h"
#include "passthru/testing/host/simulated_host.h"
#include "passthru/testing/kernel/kernel_version.h"
#include "passthru/testing/rig/vfio_host_test.h"

namespace passthru::vfio {
namespace {

using absl_testing::IsOk;
using absl_testing::IsOkAndHolds;
using fake::VfioTest;

class VfioIrqIndexTest : public VfioTest {};

TEST_F(VfioIrqIndexTest, MsixOfADynamicHost) {
  const std::unique_ptr<VfioDevice> device = OpenDevice(Plug("nvme"), 7);
  VfioIrqIndex vectors(device.get(), VFIO_PCI_MSIX_IRQ_INDEX);
  EXPECT_EQ(vectors.count(), 65u);
  EXPECT_TRUE(vectors.dynamic());

  absl::StatusOr<kernel::EventFd> event = kernel::EventFd::Create(&kernel());
  ASSERT_THAT(event, IsOk());
  EXPECT_THAT(vectors.Set(0, {VfioIrqIndex::kNoEventFd}), IsOkAndHolds(0));
  EXPECT_THAT(vectors.Set(5, {event->fd()}), IsOkAndHolds(0));
  EXPECT_THAT(device->TriggerIrq(VFIO_PCI_MSIX_IRQ_INDEX, 5, 1), IsOk());
  EXPECT_THAT(event->Read(), IsOkAndHolds(1));
  EXPECT_THAT(vectors.Disable(), IsOk());
  EXPECT_EQ(kernel::ErrnoOf(vectors.Disable()), EINVAL);
}

TEST_F(VfioIrqIndexTest, MsiDoesNotGrow) {
  const std::unique_ptr<VfioDevice> device = OpenDevice(Plug("edu"), 3);
  const VfioIrqIndex vectors(device.get(), VFIO_PCI_MSI_IRQ_INDEX);
  EXPECT_EQ(vectors.count(), 1u);
  EXPECT_FALSE(vectors.dynamic());
}

class OldKernelTest : public VfioTest {
 protected:
  OldKernelTest()
      : VfioTest({.kernel = {.version = fake::KernelVersion::k6_1}}) {}
};

TEST_F(OldKernelTest, MsixDoesNotGrow) {
  const std::unique_ptr<VfioDevice> device = OpenDevice(Plug("nvme"), 7);
  VfioIrqIndex vectors(device.get(), VFIO_PCI_MSIX_IRQ_INDEX);
  EXPECT_FALSE(vectors.dynamic());
  EXPECT_THAT(vectors.Set(0, {VfioIrqIndex::kNoEventFd}), IsOkAndHolds(0));
  EXPECT_EQ(
      kernel::ErrnoOf(vectors.Set(5, {VfioIrqIndex::kNoEventFd}).status()),
      EINVAL);
}

}  // namespace
}  // namespace passthru::vfio
