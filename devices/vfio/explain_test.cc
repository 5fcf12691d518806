// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/vfio/explain.h"

#include <cerrno>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/devices/kernel/errors.h"
#include "passthru/devices/kernel/linux_syscalls.h"

namespace passthru::vfio {
namespace {

using absl_testing::StatusIs;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

TEST(ExplainContainerOpenTest, MissingNodeMeansTheModule) {
  for (const int error : {ENOENT, ENODEV}) {
    const absl::Status status = ExplainContainerOpen(error, "/dev/vfio/vfio");
    EXPECT_THAT(status.message(), AllOf(HasSubstr("there is no /dev/vfio/vfio"),
                                        HasSubstr("modprobe vfio-pci")));
    EXPECT_EQ(kernel::ErrnoOf(status), error);
  }
}

TEST(ExplainContainerOpenTest, Permission) {
  EXPECT_THAT(ExplainContainerOpen(EACCES, "/dev/vfio/vfio"),
              StatusIs(absl::StatusCode::kPermissionDenied,
                       HasSubstr("chmod 0666 /dev/vfio/vfio")));
}

TEST(ExplainContainerOpenTest, AnythingElseIsTheErrno) {
  EXPECT_EQ(ExplainContainerOpen(EMFILE, "/dev/vfio/vfio").message(),
            "open of /dev/vfio/vfio: Too many open files (errno 24 / EMFILE)");
}

TEST(ExplainNoType1v2Test, MeansTheModule) {
  EXPECT_THAT(ExplainNoType1v2("/dev/vfio/vfio"),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr("type1v2"),
                             HasSubstr("modprobe vfio_iommu_type1"))));
}

TEST(ExplainGroupOpenTest, MissingNodeMeansNoDeviceBound) {
  EXPECT_THAT(
      ExplainGroupOpen(ENOENT, "/dev/vfio/26"),
      StatusIs(absl::StatusCode::kNotFound,
               AllOf(HasSubstr("/dev/vfio/26"), HasSubstr("vfio-pci"))));
}

TEST(ExplainGroupOpenTest, PermissionSaysHowToGiveIt) {
  EXPECT_THAT(ExplainGroupOpen(EACCES, "/dev/vfio/26"),
              StatusIs(absl::StatusCode::kPermissionDenied,
                       AllOf(HasSubstr("chown $USER /dev/vfio/26"),
                             HasSubstr("udev"))));
}

TEST(ExplainGroupOpenTest, BusySaysWhoToLookFor) {
  EXPECT_THAT(ExplainGroupOpen(EBUSY, "/dev/vfio/26"),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr("in use by another process"),
                             HasSubstr("fuser -v /dev/vfio/26"))));
}

TEST(ExplainGroupOpenTest, NoiommuNeedsACapability) {
  EXPECT_THAT(ExplainGroupOpen(EPERM, "/dev/vfio/noiommu-0").message(),
              HasSubstr("CAP_SYS_RAWIO"));
}

TEST(ExplainGroupOpenTest, AnythingElseIsTheErrno) {
  EXPECT_EQ(ExplainGroupOpen(EIO, "/dev/vfio/26").message(),
            "open of /dev/vfio/26: Input/output error (errno 5 / EIO)");
}

TEST(ExplainNotViableTest, NamesTheSiblingItsDriverAndTheCommand) {
  EXPECT_THAT(
      ExplainNotViable(9, {{"0000:00:1f.3", "snd_hda_intel"}}),
      StatusIs(
          absl::StatusCode::kFailedPrecondition,
          AllOf(HasSubstr("IOMMU group 9 is not viable"),
                HasSubstr("0000:00:1f.3 is bound to snd_hda_intel"),
                HasSubstr("echo 0000:00:1f.3 > "
                          "/sys/bus/pci/devices/0000:00:1f.3/driver/unbind"))));
}

TEST(ExplainNotViableTest, NamesAllSiblings) {
  EXPECT_THAT(ExplainNotViable(9, {{"0000:00:1f.0", "lpc_ich"},
                                   {"0000:00:1f.3", "snd_hda_intel"}})
                  .message(),
              AllOf(HasSubstr("0000:00:1f.0 is bound to lpc_ich, 0000:00:1f.3 "
                              "is bound to snd_hda_intel"),
                    HasSubstr("bind them")));
}

TEST(ExplainNotViableTest, WithoutNamesStillSaysWhatToDo) {
  EXPECT_THAT(ExplainNotViable(9, {}).message(),
              AllOf(HasSubstr("IOMMU group 9"),
                    HasSubstr("bind every device of the group to vfio-pci")));
}

TEST(ExplainSetIommuTest, EpermMeansInterruptRemapping) {
  const absl::Status status = ExplainSetIommu(EPERM, 9);
  EXPECT_THAT(status.message(), AllOf(HasSubstr("IOMMU group 9"),
                                      HasSubstr("interrupt remapping"),
                                      HasSubstr("allow_unsafe_interrupts")));
  EXPECT_EQ(kernel::ErrnoOf(status), EPERM);
}

TEST(ExplainSetIommuTest, EnodevMeansTheModule) {
  EXPECT_THAT(ExplainSetIommu(ENODEV, 9).message(),
              HasSubstr("modprobe vfio_iommu_type1"));
}

TEST(ExplainSetIommuTest, AnythingElseIsTheErrno) {
  EXPECT_THAT(ExplainSetIommu(EINVAL, 9).message(),
              HasSubstr("VFIO_SET_IOMMU(VFIO_TYPE1v2_IOMMU) for group 9: "
                        "Invalid argument"));
}

TEST(ExplainDeviceOpenTest, EnodevMeansItWentMeanwhile) {
  EXPECT_THAT(ExplainDeviceOpen(ENODEV, "0000:01:00.0", 9).message(),
              AllOf(HasSubstr("0000:01:00.0"), HasSubstr("group 9"),
                    HasSubstr("unbound or removed")));
}

TEST(ExplainDeviceOpenTest, EaccesMeansTheToken) {
  EXPECT_THAT(ExplainDeviceOpen(EACCES, "0000:01:00.0", 9).message(),
              HasSubstr("vf_token"));
}

TEST(ExplainDeviceOpenTest, AnythingElseIsTheErrno) {
  EXPECT_THAT(
      ExplainDeviceOpen(EINVAL, "0000:01:00.0", 9).message(),
      HasSubstr("VFIO_GROUP_GET_DEVICE_FD of 0000:01:00.0 in group 9: Invalid "
                "argument"));
}

TEST(ExplainMapDmaTest, EnomemIsExplainedWithThisProcessesLimit) {
  kernel::LinuxSyscalls linux;
  const absl::Status status =
      ExplainMapDma(ENOMEM, "VFIO_IOMMU_MAP_DMA(...)", 1 << 30, &linux);
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kResourceExhausted,
                               AllOf(HasSubstr("VFIO_IOMMU_MAP_DMA(...)"),
                                     HasSubstr("1048576 KiB"),
                                     HasSubstr("locked memory"))));
  EXPECT_EQ(kernel::ErrnoOf(status), ENOMEM);
}

TEST(ExplainMapDmaTest, EnospcMeansTheEntryLimit) {
  EXPECT_THAT(ExplainMapDma(ENOSPC, "call", 1, nullptr).message(),
              HasSubstr("dma_entry_limit"));
}

TEST(ExplainMapDmaTest, EexistMeansOverlap) {
  EXPECT_THAT(
      ExplainMapDma(EEXIST, "call", 1, nullptr),
      StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr("mapped already")));
}

TEST(ExplainMapDmaTest, AnythingElseIsTheErrno) {
  EXPECT_EQ(ExplainMapDma(EFAULT, "call", 1, nullptr).message(),
            "call: Bad address (errno 14 / EFAULT)");
}

// A sentence ends without a full stop, so that a caller can append to it.
TEST(ExplainTest, SentencesAreSingle) {
  for (const absl::Status& status :
       {ExplainContainerOpen(ENOENT, "p"), ExplainContainerOpen(EACCES, "p"),
        ExplainNoType1v2("p"), ExplainGroupOpen(ENOENT, "p"),
        ExplainGroupOpen(EACCES, "p"), ExplainGroupOpen(EBUSY, "p"),
        ExplainGroupOpen(EPERM, "p"), ExplainNotViable(1, {}),
        ExplainNotViable(1, {{"d", "e"}}), ExplainSetIommu(EPERM, 1),
        ExplainSetIommu(ENODEV, 1), ExplainDeviceOpen(ENODEV, "d", 1),
        ExplainDeviceOpen(EACCES, "d", 1)}) {
    EXPECT_THAT(status.message(), Not(HasSubstr(". "))) << status;
    EXPECT_THAT(status.message(), Not(HasSubstr("\n"))) << status;
  }
}

}  // namespace
}  // namespace passthru::vfio
