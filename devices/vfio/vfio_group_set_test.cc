// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/vfio/vfio_group_set.h"

#include <memory>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/devices/vfio/vfio_device.h"
#include "passthru/devices/vfio/vfio_group.h"
#include "passthru/pci/bdf.h"
#include "passthru/testing/rig/vfio_host_test.h"

namespace passthru::vfio {
namespace {

using absl_testing::IsOk;
using absl_testing::StatusIs;
using fake::VfioTest;

class VfioGroupSetTest : public VfioTest {
 protected:
  void SetUp() override {
    nvme_ = Plug("nvme");
    edu_ = Plug("edu", {.group = 7});
  }

  pci::Bdf nvme_;
  pci::Bdf edu_;
};

TEST_F(VfioGroupSetTest, TwoDevicesOfAGroupShareIt) {
  VfioGroupSet groups(OpenContainer());
  absl::StatusOr<std::shared_ptr<VfioGroup>> first = groups.Get(7);
  absl::StatusOr<std::shared_ptr<VfioGroup>> second = groups.Get(7);
  ASSERT_THAT(first, IsOk());
  ASSERT_THAT(second, IsOk());
  EXPECT_EQ(*first, *second);
  const auto nvme = VfioDevice::Open(*std::move(first), nvme_);
  const auto edu = VfioDevice::Open(*std::move(second), edu_);
  EXPECT_THAT(nvme, IsOk());
  EXPECT_THAT(edu, IsOk());
}

TEST_F(VfioGroupSetTest, GroupThatNobodyHoldsIsOpenedAnew) {
  VfioGroupSet groups(OpenContainer());
  ASSERT_THAT(groups.Get(7), IsOk());
  EXPECT_EQ(kernel().journal().Count("VFIO_GROUP_UNSET_CONTAINER"), 1u);
  EXPECT_THAT(groups.Get(7), IsOk());
}

TEST_F(VfioGroupSetTest, FailureIsNotKept) {
  VfioGroupSet groups(OpenContainer());
  kernel().SetOpenError("/dev/vfio/7", 13);
  EXPECT_THAT(groups.Get(7), StatusIs(absl::StatusCode::kPermissionDenied));
  kernel().SetOpenError("/dev/vfio/7", 0);
  EXPECT_THAT(groups.Get(7), IsOk());
}

}  // namespace
}  // namespace passthru::vfio
