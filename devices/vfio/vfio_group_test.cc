// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/vfio/vfio_group.h"

#include <linux/vfio.h>

#include <cerrno>
#include <memory>

#include "absl/log/scoped_mock_log.h"
#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/devices/kernel/errors.h"
#include "passthru/devices/vfio/vfio_container.h"
#include "passthru/testing/journal/journal_matchers.h"
#include "passthru/testing/rig/vfio_host_test.h"

namespace passthru::vfio {
namespace {

using absl_testing::IsOk;
using absl_testing::IsOkAndHolds;
using absl_testing::StatusIs;
using fake::VfioTest;
using journal::IsCall;
using kernel::ErrnoOf;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

class VfioGroupTest : public VfioTest {
 protected:
  void SetUp() override { Plug("nvme"); }
};

TEST_F(VfioGroupTest, IsViableAndInItsContainer) {
  const std::shared_ptr<VfioGroup> group = OpenGroup(7);
  EXPECT_EQ(group->number(), 7u);
  EXPECT_THAT(group->GetStatus(), IsOkAndHolds(VFIO_GROUP_FLAGS_VIABLE |
                                               VFIO_GROUP_FLAGS_CONTAINER_SET));
}

TEST_F(VfioGroupTest, EntersTheContainerAndLeavesIt) {
  { const std::shared_ptr<VfioGroup> group = OpenGroup(7); }
  EXPECT_THAT(
      kernel().journal().EntriesNamed(
          {"VFIO_GROUP_GET_STATUS", "VFIO_GROUP_SET_CONTAINER",
           "VFIO_SET_IOMMU", "VFIO_GROUP_UNSET_CONTAINER"}),
      ElementsAre(IsCall("VFIO_GROUP_GET_STATUS"),
                  IsCall("VFIO_GROUP_SET_CONTAINER"), IsCall("VFIO_SET_IOMMU"),
                  IsCall("VFIO_GROUP_UNSET_CONTAINER")));
}

// The host's administrator may take the device from vfio-pci once it is closed.
TEST_F(VfioGroupTest, TheKernelMayTakeTheContainerAwayFirst) {
  absl::ScopedMockLog log(absl::MockLogDefault::kDisallowUnexpected);
  log.StartCapturingLogs();
  std::shared_ptr<VfioGroup> group = OpenGroup(7);
  ASSERT_THAT(host().vfio().SetDriver(pci::Bdf(0, 2, 0, 0), ""), IsOk());
  EXPECT_THAT(group->GetStatus(), IsOkAndHolds(VFIO_GROUP_FLAGS_VIABLE));
  group.reset();
  EXPECT_EQ(kernel().journal().Count("VFIO_GROUP_UNSET_CONTAINER"), 1u);
}

TEST_F(VfioGroupTest, SecondOpenIsBusy) {
  const std::shared_ptr<VfioGroup> group = OpenGroup(7);
  EXPECT_THAT(VfioGroup::Open(group->container(), 7),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("in use by another process")));
}

TEST_F(VfioGroupTest, GroupWithoutANodeIsExplained) {
  EXPECT_THAT(VfioGroup::Open(OpenContainer(), 99),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("/dev/vfio/99")));
}

TEST_F(VfioGroupTest, NoPermissionIsExplained) {
  kernel().SetOpenError("/dev/vfio/7", EACCES);
  EXPECT_THAT(VfioGroup::Open(OpenContainer(), 7),
              StatusIs(absl::StatusCode::kPermissionDenied,
                       HasSubstr("chown $USER /dev/vfio/7")));
}

TEST_F(VfioGroupTest, SiblingUnderAHostDriverIsNamed) {
  Plug("edu", {.group = 7, .driver = "snd_hda_intel"});
  EXPECT_THAT(
      VfioGroup::Open(OpenContainer(), 7),
      StatusIs(absl::StatusCode::kFailedPrecondition,
               AllOf(HasSubstr("IOMMU group 7 is not viable"),
                     HasSubstr("0000:00:02.0 is bound to snd_hda_intel"))));
}

TEST_F(VfioGroupTest, SiblingWithoutADriverIsNoObstacle) {
  Plug("edu", {.group = 7, .driver = ""});
  EXPECT_THAT(VfioGroup::Open(OpenContainer(), 7), IsOk());
}

TEST_F(VfioGroupTest, FailedStatusIsReported) {
  kernel().faults().FailNthOf("VFIO_GROUP_GET_STATUS", 1, EIO);
  const absl::Status status = VfioGroup::Open(OpenContainer(), 7).status();
  EXPECT_EQ(ErrnoOf(status), EIO);
  EXPECT_THAT(status.message(), HasSubstr("VFIO_GROUP_GET_STATUS of group 7"));
}

TEST_F(VfioGroupTest, FailedAttachmentIsReported) {
  kernel().faults().FailNthOf("VFIO_GROUP_SET_CONTAINER", 1, EINVAL);
  const absl::Status status = VfioGroup::Open(OpenContainer(), 7).status();
  EXPECT_EQ(ErrnoOf(status), EINVAL);
  EXPECT_THAT(status.message(),
              HasSubstr("VFIO_GROUP_SET_CONTAINER of group 7"));
}

TEST_F(VfioGroupTest, FailedIommuLeavesTheContainer) {
  kernel().faults().FailNthOf("VFIO_SET_IOMMU", 1, ENODEV);
  EXPECT_EQ(ErrnoOf(VfioGroup::Open(OpenContainer(), 7).status()), ENODEV);
  EXPECT_EQ(kernel().journal().Count("VFIO_GROUP_UNSET_CONTAINER"), 1u);
}

}  // namespace
}  // namespace passthru::vfio
