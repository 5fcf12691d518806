// SPDX-License-Identifier: Apache-2.0
// The kernel of this machine.
#include <fcntl.h>

#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "devices/kernel/errors.h"
#include "devices/kernel/linux_syscalls.h"
#include "devices/kernel/syscalls.h"
#include "devices/kvm/kvm_test_backend.h"
#include "testing/guest_cpu.h"

namespace passthru::kvm {
namespace {

class LinuxBackend final : public KvmTestBackend {
 public:
  std::string Unavailable() const override {
    kernel::LinuxSyscalls linux;
    const kernel::SyscallResult<int> kvm = linux.Open("/dev/kvm", O_RDWR);
    if (!kvm.ok()) {
      return absl::StrCat(
          kernel::ErrnoError(kvm.error, "open of /dev/kvm").message());
    }
    linux.Close(kvm.value);
    return "";
  }

  kernel::Syscalls* syscalls() override { return &linux_; }
  bool executes_code() const override { return true; }
  void SetGuestProgram(fake::GuestProgram) override {}

 private:
  kernel::LinuxSyscalls linux_;
};

}  // namespace

std::unique_ptr<KvmTestBackend> KvmTestBackend::Create() {
  return std::make_unique<LinuxBackend>();
}

}  // namespace passthru::kvm
