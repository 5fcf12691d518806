// SPDX-License-Identifier: Apache-2.0
// The simulated kernel. Fails the test if the test leaks any of its objects.
#include <memory>
#include <utility>

#include "gtest/gtest.h"
#include "passthru/devices/kernel/syscalls.h"
#include "passthru/testing/guest/guest_cpu.h"
#include "passthru/testing/host/fake_kernel.h"
#include "passthru/testing/rig/kvm_test_backend.h"

namespace passthru::fake {
namespace {

class FakeBackend final : public KvmTestBackend {
 public:
  ~FakeBackend() override {
    EXPECT_TRUE(kernel_.CheckLeaks().empty()) << kernel_.CheckLeaks();
  }

  kernel::Syscalls* syscalls() override { return &kernel_; }
  bool executes_code() const override { return false; }
  void SetGuestProgram(guest::GuestProgram program) override {
    kernel_.kvm().SetGuestProgram(0, std::move(program));
  }

 private:
  FakeKernel kernel_;
};

}  // namespace

std::unique_ptr<KvmTestBackend> KvmTestBackend::Create() {
  return std::make_unique<FakeBackend>();
}

}  // namespace passthru::fake
