// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_RIG_KVM_TEST_BACKEND_H_
#define PASSTHRU_TESTING_RIG_KVM_TEST_BACKEND_H_

#include <memory>
#include <string>

#include "absl/status/status_matchers.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/devices/kernel/syscalls.h"
#include "passthru/devices/kvm/kvm_vm.h"
#include "passthru/testing/guest/guest_cpu.h"

namespace passthru::fake {

// The kernel that devices/kvm's contract tests run on, which is either the
// simulated kernel or that of this machine. A simulated kernel is only worth
// something if the same tests pass on both. The linked library determines the
// backend.
class KvmTestBackend {
 public:
  static std::unique_ptr<KvmTestBackend> Create();
  virtual ~KvmTestBackend() = default;

  // Returns why the tests cannot run on this machine, or "" if they can.
  virtual std::string Unavailable() const { return ""; }

  virtual kernel::Syscalls* syscalls() = 0;

  // Returns whether the kernel executes guest code in memory. If it does not,
  // guests are programs (see SetGuestProgram()).
  virtual bool executes_code() const = 0;
  // Sets what vCPU 0 does on a kernel where guests are programs. Does nothing
  // on a kernel that executes code.
  virtual void SetGuestProgram(guest::GuestProgram program) = 0;
};

// The base class of devices/kvm's contract tests.
class KvmContractTest : public testing::Test {
 protected:
  KvmContractTest() : backend_(KvmTestBackend::Create()) {}

  void SetUp() override {
    if (const std::string why = backend_->Unavailable(); !why.empty()) {
      GTEST_SKIP() << "NOT TESTED on this machine: " << why;
    }
    absl::StatusOr<std::unique_ptr<kvm::KvmVm>> vm =
        kvm::KvmVm::Create(syscalls());
    ASSERT_THAT(vm, absl_testing::IsOk());
    vm_ = *std::move(vm);
  }

  KvmTestBackend& backend() { return *backend_; }
  kernel::Syscalls* syscalls() { return backend_->syscalls(); }
  kvm::KvmVm& vm() { return *vm_; }

 private:
  const std::unique_ptr<KvmTestBackend> backend_;
  std::unique_ptr<kvm::KvmVm> vm_;
};

}  // namespace passthru::fake

#endif  // PASSTHRU_TESTING_RIG_KVM_TEST_BACKEND_H_
