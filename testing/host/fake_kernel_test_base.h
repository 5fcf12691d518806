// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_HOST_FAKE_KERNEL_TEST_BASE_H_
#define PASSTHRU_TESTING_HOST_FAKE_KERNEL_TEST_BASE_H_

#include "gtest/gtest.h"
#include "passthru/testing/host/fake_kernel.h"

namespace passthru::fake {

// A test that owns a fake kernel and fails if anything is left in it: members
// of a derived fixture are gone when this looks.
class FakeKernelTest : public ::testing::Test {
 protected:
  FakeKernelTest() : FakeKernelTest(FakeKernel::Options()) {}
  explicit FakeKernelTest(FakeKernel::Options options)
      : kernel_(std::move(options)) {}

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
