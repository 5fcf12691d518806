// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_HOST_FAKE_KERNEL_TEST_BASE_H_
#define PASSTHRU_TESTING_HOST_FAKE_KERNEL_TEST_BASE_H_

#include "gtest/gtest.h"
#include "passthru/testing/host/fake_kernel.h"

namespace passthru::fake {

// The base class of tests that own a fake kernel. It fails a test that leaves
// anything in the kernel. Its destructor checks that after the members of the
// derived class were destroyed.
class FakeKernelTest : public ::testing::Test {
 protected:
  FakeKernelTest() : FakeKernelTest(FakeKernel::Options()) {}
  explicit FakeKernelTest(FakeKernel::Options options) : kernel_(options) {}

  ~FakeKernelTest() override {
    const LeakReport leaks = kernel_.CheckLeaks();
    EXPECT_TRUE(leaks.empty()) << leaks;
  }

  FakeKernel& kernel() { return kernel_; }

 private:
  FakeKernel kernel_;
};

}  // namespace passthru::fake

#endif  // PASSTHRU_TESTING_HOST_FAKE_KERNEL_TEST_BASE_H_
