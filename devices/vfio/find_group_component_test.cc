// SPDX-License-Identifier: Apache-2.0
// Tests FindGroup() and its messages on the simulated host. find_group_test.cc
// tests each function by itself.
#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/devices/vfio/find_group.h"
#include "passthru/devices/vfio/vfio_paths.h"
#include "passthru/pci/bdf.h"
#include "passthru/testing/rig/vfio_host_test.h"
#include "passthru/testing/vfio/fake_vfio.h"

namespace passthru::vfio {
namespace {

using absl_testing::IsOkAndHolds;
using absl_testing::StatusIs;
using fake::VfioTest;
using testing::ElementsAre;
using testing::FieldsAre;
using testing::HasSubstr;

class FindGroupOnHostTest : public VfioTest {};

TEST_F(FindGroupOnHostTest, DeviceThatIsReady) {
  EXPECT_THAT(FindGroup(&kernel(), Plug("nvme")), IsOkAndHolds(7));
}

TEST_F(FindGroupOnHostTest, DeviceThatIsNotThere) {
  EXPECT_THAT(FindGroup(&kernel(), pci::Bdf(0, 9, 0, 0)),
              StatusIs(absl::StatusCode::kNotFound,
                       HasSubstr("no PCI device 0000:09:00.0")));
}

TEST_F(FindGroupOnHostTest, DeviceOfAHostDriver) {
  EXPECT_THAT(FindGroup(&kernel(), Plug("nvme", {.driver = "nvme"})),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("bound to the driver nvme")));
}

TEST_F(FindGroupOnHostTest, DeviceOfNoDriver) {
  EXPECT_THAT(FindGroup(&kernel(), Plug("nvme", {.driver = ""})),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("not bound to any driver")));
}

TEST_F(FindGroupOnHostTest, HostWithoutAnIommu) {
  EXPECT_THAT(FindGroup(&kernel(),
                        Plug("nvme", {.has_iommu = false, .driver = "nvme"})),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("IOMMU is off")));
}

TEST_F(FindGroupOnHostTest, SiblingsThatBlock) {
  Plug("nvme");
  Plug("edu", {.group = 7, .driver = "snd_hda_intel"});
  Plug("e1000e", {.driver = "e1000e"});
  EXPECT_THAT(FindBlockingDevices(&kernel(), 7, VfioPaths()),
              ElementsAre(FieldsAre("0000:00:02.0", "snd_hda_intel")));
}

}  // namespace
}  // namespace passthru::vfio
