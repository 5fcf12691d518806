// SPDX-License-Identifier: Apache-2.0
// The simulated kernel, which must have got everything back in the end.
#include <memory>
#include <utility>

#include "devices/kernel/syscalls.h"
#include "devices/kvm/kvm_test_backend.h"
#include "gtest/gtest.h"
#include "testing/fake_kernel.h"
#include "testing/guest_cpu.h"

namespace passthru::kvm {
namespace {

class FakeBackend final : public KvmTestBackend {
 public:
  ~FakeBackend() override {
    EXPECT_TRUE(kernel_.CheckLeaks().empty()) << kernel_.CheckLeaks();
  }

  kernel::Syscalls* syscalls() override { return &kernel_; }
  bool executes_code() const override { return false; }
  void SetGuestProgram(fake::GuestProgram program) override {
    kernel_.kvm().SetGuestProgram(0, std::move(program));
  }

 private:
  fake::FakeKernel kernel_;
};

}  // namespace

std::unique_ptr<KvmTestBackend> KvmTestBackend::Create() {
  return std::make_unique<FakeBackend>();
}

}  // namespace passthru::kvm
