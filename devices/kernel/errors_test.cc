// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/kernel/errors.h"

#include <cerrno>
#include <tuple>

#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace passthru::kernel {
namespace {

TEST(ErrnoErrorTest, NamesWhatFailedAndTheErrno) {
  const absl::Status status = ErrnoError(EINVAL, "VFIO_DEVICE_RESET on x");
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(status.message(),
            "VFIO_DEVICE_RESET on x: Invalid argument (errno 22 / EINVAL)");
}

TEST(ErrnoErrorTest, NumberWithoutANameIsStated) {
  EXPECT_EQ(ErrnoError(9999, "call").message(),
            "call: Unknown error (errno 9999 / unknown)");
}

TEST(ErrnoErrorTest, CodesFollowWhatVfioAndKvmMeanByThem) {
  EXPECT_EQ(ErrnoError(EIO, "").code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(ErrnoError(ENOMEM, "").code(),
            absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ErrnoError(ENOTTY, "").code(), absl::StatusCode::kUnimplemented);
  EXPECT_EQ(ErrnoError(EBADFD, "").code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ErrnoError(EEXIST, "").code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(ErrnoError(ENOENT, "").code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(ErrnoError(EACCES, "").code(), absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(ErrnoError(EBUSY, "").code(),
            absl::StatusCode::kFailedPrecondition);
}

TEST(ErrnoErrorDeathTest, SuccessIsNotAnError) {
  EXPECT_DEATH(std::ignore = ErrnoError(0, "open"), "open");
}

TEST(ExplainedErrnoErrorTest, SentenceReplacesTheDescription) {
  const absl::Status status = ExplainedErrnoError(EACCES, "do this");
  EXPECT_EQ(status.message(), "do this (errno 13 / EACCES)");
  EXPECT_EQ(status.code(), absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(ErrnoOf(status), EACCES);
}

TEST(ErrnoOfTest, IsTheErrno) {
  EXPECT_EQ(ErrnoOf(ErrnoError(ENOSPC, "call")), ENOSPC);
}

TEST(ErrnoOfTest, IsZeroForWhatNoSystemCallSaid) {
  EXPECT_EQ(ErrnoOf(absl::OkStatus()), 0);
  EXPECT_EQ(ErrnoOf(absl::InternalError("ours")), 0);
}

TEST(AnnotateTest, AddsContextAndKeepsCodeAndErrno) {
  const absl::Status status = Annotate(ErrnoError(EBUSY, "call"), "attaching");
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(status.message(), testing::StartsWith("attaching: call: "));
  EXPECT_EQ(ErrnoOf(status), EBUSY);
}

TEST(AnnotateTest, LeavesSuccessAlone) {
  EXPECT_TRUE(Annotate(absl::OkStatus(), "attaching").ok());
}

}  // namespace
}  // namespace passthru::kernel
