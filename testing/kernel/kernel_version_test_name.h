// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_KERNEL_KERNEL_VERSION_TEST_NAME_H_
#define PASSTHRU_TESTING_KERNEL_KERNEL_VERSION_TEST_NAME_H_

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "gtest/gtest.h"
#include "passthru/testing/kernel/kernel_version.h"

namespace passthru::fake {

// Returns a string like "Linux6_12".
inline std::string TestName(KernelVersion version) {
  return absl::StrCat("Linux",
                      absl::StrReplaceAll(Name(version), {{".", "_"}}));
}

// Names the instances of an INSTANTIATE_TEST_SUITE_P over kernels.
inline std::string KernelTestName(
    const ::testing::TestParamInfo<KernelVersion>& info) {
  return TestName(info.param);
}

}  // namespace passthru::fake

#endif  // PASSTHRU_TESTING_KERNEL_KERNEL_VERSION_TEST_NAME_H_
