// SPDX-License-Identifier: Apache-2.0
//
// Runs the program passthrough_vm on the machine's own KVM, with a kernel of
// some instructions and a simulated device.

#include <fcntl.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <regex>
#include <string>
#include <vector>

#include "absl/base/config.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "passthru/testing/rig/page_sample.h"
#include "passthru/vmm/linux_vm/sample_vm.h"

extern "C" {
// The code of hello_kernel.S.
extern const uint8_t passthru_hello_kernel_begin[];
extern const uint8_t passthru_hello_kernel_end[];
}

namespace passthru::vmm {
namespace {

#ifdef ABSL_HAVE_ADDRESS_SANITIZER
constexpr bool kProgramIsSanitized = true;
#else
constexpr bool kProgramIsSanitized = false;
#endif

// Where the 64-bit entry is in a bzImage, which has one sector of setup code
// after the boot sector (Documentation/arch/x86/boot.rst, "64-bit Boot
// Protocol").
constexpr size_t kEntry = 2 * 512 + 0x200;

bool HasKvm() {
  const int kvm = ::open("/dev/kvm", O_RDWR | O_CLOEXEC);
  const int vm = kvm < 0 ? -1 : ::ioctl(kvm, KVM_CREATE_VM, 0);
  if (vm >= 0) ::close(vm);
  if (kvm >= 0) ::close(kvm);
  return vm >= 0;
}

// Returns the path of a kernel that says which device it has.
std::string HelloKernel() {
  std::vector<uint8_t> file = EmptyKernel();
  std::copy(passthru_hello_kernel_begin, passthru_hello_kernel_end,
            file.begin() + kEntry);
  std::string path = absl::StrCat(::testing::TempDir(), "/vmlinuz");
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(file.data()),
             static_cast<std::streamsize>(file.size()));
  return path;
}

// Returns the output with the beginning of the line of all calls, which is
// long, and without an interruption. Whether the vCPU is in KVM_RUN again when
// the VM ends differs from run to run.
std::string AsThePageHasIt(const std::string& output) {
  static const std::regex* const kCalls =
      new std::regex("(kernel calls: [A-Z_]+ [0-9]+ [A-Z_]+ [0-9]+) .*");
  static const std::regex* const kInterrupted =
      new std::regex("returned ([0-9]+) times(.*), interrupted ([0-9]+),");
  std::string text = std::regex_replace(output, *kCalls, "$1 ...");
  std::smatch match;
  int returns = 0;
  int interrupted = 0;
  if (!std::regex_search(text, match, *kInterrupted) ||
      !absl::SimpleAtoi(match[1].str(), &returns) ||
      !absl::SimpleAtoi(match[3].str(), &interrupted)) {
    return text;
  }
  return absl::StrCat(match.prefix().str(), "returned ", returns - interrupted,
                      " times", match[2].str(), ", interrupted 0,",
                      match.suffix().str());
}

TEST(PassthroughVmTest, ThePageShowsWhatItPrints) {
  if (!HasKvm()) {
    GTEST_SKIP() << "SKIPPED: this machine has no usable /dev/kvm, so no guest "
                    "ran";
  }
  if (kProgramIsSanitized) {
    GTEST_SKIP() << "SKIPPED: what the program prints is the same with a "
                    "sanitizer and without";
  }
  // `bazel run` sets it, and the program would look for the files there.
  ::unsetenv("BUILD_WORKING_DIRECTORY");
  const std::string command =
      absl::StrCat("vmm/linux_vm/passthrough_vm --kernel=", HelloKernel(),
                   " --fixture=testing/fixtures/nvme.textproto --statistics"
                   " </dev/null 2>&1");
  FILE* const pipe = ::popen(command.c_str(), "r");
  ASSERT_NE(pipe, nullptr);
  std::string output;
  char buffer[4096];
  for (size_t got; (got = fread(buffer, 1, sizeof(buffer), pipe)) > 0;) {
    output.append(buffer, got);
  }
  const int status = ::pclose(pipe);
  ASSERT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << output;
  EXPECT_TRUE(fake::PageShows("docs/boot-linux.md", AsThePageHasIt(output)));
}

}  // namespace
}  // namespace passthru::vmm
