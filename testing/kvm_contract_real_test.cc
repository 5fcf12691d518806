// SPDX-License-Identifier: Apache-2.0
//
// The same questions to the machine's own KVM. Needs /dev/kvm, which nothing
// promises; its result is not cached.
#include <fcntl.h>
#include <sys/utsname.h>

#include <cstdio>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "devices/kernel/linux_syscalls.h"
#include "gtest/gtest.h"
#include "testing/kernel_version.h"
#include "testing/kvm_contract.h"

namespace passthru::fake {
namespace {

// The newest of the known kernels that is not newer than this machine's.
KernelVersion NearestVersion() {
  utsname name{};
  ::uname(&name);
  int major = 0;
  int minor = 0;
  std::sscanf(name.release, "%d.%d", &major, &minor);
  const auto release = std::pair(major, minor);
  if (release >= std::pair(7, 2)) return KernelVersion::k7_2;
  if (release >= std::pair(6, 18)) return KernelVersion::k6_18;
  if (release >= std::pair(6, 12)) return KernelVersion::k6_12;
  return KernelVersion::k6_1;
}

// What a kernel's build options decide, not its version.
const std::set<std::string>& BuildOptions() {
  static const auto* const options = new std::set<std::string>{
      "CHECK_EXTENSION 118",  // KVM_SMM
      "slot as_id=1",
      "CHECK_EXTENSION 234",  // KVM_GENERIC_PRIVATE_MEM
  };
  return *options;
}

TEST(KvmContractRealTest, LinuxAnswersAsTheTranscript) {
  kernel::LinuxSyscalls linux_syscalls;
  const auto opened = linux_syscalls.Open("/dev/kvm", O_RDWR | O_CLOEXEC);
  if (!opened.ok()) {
    GTEST_SKIP() << "SKIPPED: this machine has no usable /dev/kvm, so the fake "
                    "was not held against a real one";
  }
  linux_syscalls.Close(opened.value);

  const auto expected = KvmTranscript(NearestVersion());
  const auto observed = ObserveKvm(&linux_syscalls);
  ASSERT_EQ(observed.size(), expected.size());
  for (size_t i = 0; i < observed.size(); ++i) {
    if (BuildOptions().contains(observed[i].question)) continue;
    EXPECT_EQ(observed[i].ToString(), expected[i].ToString());
  }
}

}  // namespace
}  // namespace passthru::fake
