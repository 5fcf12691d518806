// SPDX-License-Identifier: Apache-2.0
//
// Asks the machine's own KVM the same questions. The test needs /dev/kvm, which
// a machine may lack. Bazel does not cache its result.
#include <fcntl.h>
#include <sys/utsname.h>

#include <cstdio>
#include <iostream>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/devices/kernel/linux_syscalls.h"
#include "passthru/testing/contract/answers.h"
#include "passthru/testing/contract/kvm/kvm_contract.h"
#include "passthru/testing/contract/observation.h"
#include "passthru/testing/kernel/kernel_version.h"

namespace passthru::contract {
namespace {

using ::absl_testing::IsOk;
using ::testing::IsEmpty;

// Returns the newest of the known kernels that is not newer than this
// machine's.
fake::KernelVersion NearestVersion() {
  utsname name{};
  ::uname(&name);
  int major = 0;
  int minor = 0;
  std::sscanf(name.release, "%d.%d", &major, &minor);
  const auto release = std::pair(major, minor);
  if (release >= std::pair(7, 2)) return fake::KernelVersion::k7_2;
  if (release >= std::pair(6, 18)) return fake::KernelVersion::k6_18;
  if (release >= std::pair(6, 12)) return fake::KernelVersion::k6_12;
  return fake::KernelVersion::k6_1;
}

// Questions whose answers depend on a kernel's build options, not on its
// version.
const std::set<std::string>& BuildOptions() {
  static const auto* const options = new std::set<std::string>{
      "CHECK_EXTENSION 118",  // KVM_SMM
      "slot as_id=1",
      "CHECK_EXTENSION 234",  // KVM_GENERIC_PRIVATE_MEM
  };
  return *options;
}

TEST(KvmContractRealTest, LinuxGivesTheStoredAnswers) {
  kernel::LinuxSyscalls linux_syscalls;
  const auto opened = linux_syscalls.Open("/dev/kvm", O_RDWR | O_CLOEXEC);
  if (!opened.ok()) {
    GTEST_SKIP() << "SKIPPED: this machine has no usable /dev/kvm, so the fake "
                    "was not held against a real one";
  }
  linux_syscalls.Close(opened.value);

  auto expected = LoadAnswers(kAnswersFolder, "kvm", NearestVersion());
  ASSERT_THAT(expected, IsOk());
  auto observed = ObserveKvm(&linux_syscalls);
  for (auto* const answers : {&*expected, &observed}) {
    std::erase_if(*answers, [](const Observation& one) {
      return BuildOptions().contains(one.question);
    });
  }
  Agreement agreement;
  agreement.Compare("kvm", observed, *expected);
  std::cout << "This machine's KVM, held against " << NearestVersion() << "\n"
            << agreement.Report();
  EXPECT_THAT(agreement.differences(), IsEmpty());
}

}  // namespace
}  // namespace passthru::contract
