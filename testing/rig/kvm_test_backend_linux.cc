// SPDX-License-Identifier: Apache-2.0
// The kernel of this machine.
#include <fcntl.h>

#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "passthru/devices/kernel/errors.h"
#include "passthru/devices/kernel/linux_syscalls.h"
#include "passthru/devices/kernel/syscalls.h"
#include "passthru/testing/guest/guest_cpu.h"
#include "passthru/testing/rig/kvm_test_backend.h"

namespace passthru::fake {
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
  void SetGuestProgram(guest::GuestProgram) override {}

 private:
  kernel::LinuxSyscalls linux_;
};

}  // namespace

std::unique_ptr<KvmTestBackend> KvmTestBackend::Create() {
  return std::make_unique<LinuxBackend>();
}

}  // namespace passthru::fake
