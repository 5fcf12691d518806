// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_RIG_VFIO_HOST_TEST_H_
#define PASSTHRU_TESTING_RIG_VFIO_HOST_TEST_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status_matchers.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/devices/kernel/forwarding_syscalls.h"
#include "passthru/devices/kernel/syscalls.h"
#include "passthru/devices/vfio/vfio_container.h"
#include "passthru/devices/vfio/vfio_device.h"
#include "passthru/devices/vfio/vfio_group.h"
#include "passthru/pci/bdf.h"
#include "passthru/testing/host/fake_kernel.h"
#include "passthru/testing/host/simulated_host.h"
#include "passthru/testing/vfio/fake_vfio.h"

namespace passthru::fake {

// The base class of the component tests of devices/vfio. It has a simulated
// host and fails a test that leaks any of the host's objects.
class VfioTest : public testing::Test {
 protected:
  VfioTest() : VfioTest(SimulatedHost::Options()) {}
  explicit VfioTest(SimulatedHost::Options options)
      : host_(std::move(options)) {}

  ~VfioTest() override {
    const LeakReport leaks = kernel().CheckLeaks();
    EXPECT_TRUE(leaks.empty()) << leaks;
  }

  // Plugs in the device of testing/fixtures/<name>.textproto and returns its
  // address.
  pci::Bdf Plug(const std::string& name, DeviceOptions options = {}) {
    const absl::StatusOr<pci::Bdf> address =
        host_.AddFixture(absl::StrCat("testing/fixtures/", name, ".textproto"),
                         std::move(options));
    EXPECT_THAT(address, absl_testing::IsOk());
    return address.value_or(pci::Bdf());
  }

  std::shared_ptr<vfio::VfioContainer> OpenContainer() {
    absl::StatusOr<std::shared_ptr<vfio::VfioContainer>> container =
        vfio::VfioContainer::Create(&kernel());
    EXPECT_THAT(container, absl_testing::IsOk());
    return *std::move(container);
  }

  std::shared_ptr<vfio::VfioGroup> OpenGroup(uint32_t number) {
    absl::StatusOr<std::shared_ptr<vfio::VfioGroup>> group =
        vfio::VfioGroup::Open(OpenContainer(), number);
    EXPECT_THAT(group, absl_testing::IsOk());
    return *std::move(group);
  }

  // Opens the device in a new container.
  std::unique_ptr<vfio::VfioDevice> OpenDevice(pci::Bdf address,
                                               uint32_t group) {
    absl::StatusOr<std::unique_ptr<vfio::VfioDevice>> device =
        vfio::VfioDevice::Open(OpenGroup(group), address);
    EXPECT_THAT(device, absl_testing::IsOk());
    return *std::move(device);
  }

  SimulatedHost& host() { return host_; }
  FakeKernel& kernel() { return host_.kernel(); }

 private:
  SimulatedHost host_;
};

// A Syscalls that forwards to the simulated kernel and lets a function change
// the result of each ioctl.
class AlteredIoctl : public kernel::ForwardingSyscalls {
 public:
  using Alter = std::function<void(unsigned long request, void* argument,
                                   kernel::SyscallResult<int>& result)>;
  AlteredIoctl(kernel::Syscalls* target, Alter alter)
      : ForwardingSyscalls(target), alter_(std::move(alter)) {}

  kernel::SyscallResult<int> Ioctl(int fd, unsigned long request,
                                   void* argument) override {
    kernel::SyscallResult<int> result =
        ForwardingSyscalls::Ioctl(fd, request, argument);
    alter_(request, argument, result);
    return result;
  }

 private:
  const Alter alter_;
};

}  // namespace passthru::fake

#endif  // PASSTHRU_TESTING_RIG_VFIO_HOST_TEST_H_
