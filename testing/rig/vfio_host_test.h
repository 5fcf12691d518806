// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_DEVICES_VFIO_VFIO_TEST_FIXTURE_H_
#define PASSTHRU_DEVICES_VFIO_VFIO_TEST_FIXTURE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status_matchers.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "devices/kernel/forwarding_syscalls.h"
#include "devices/kernel/syscalls.h"
#include "devices/vfio/vfio_container.h"
#include "devices/vfio/vfio_device.h"
#include "devices/vfio/vfio_group.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "pci/bdf.h"
#include "testing/fake_kernel.h"
#include "testing/simulated_host.h"
#include "testing/vfio/fake_vfio.h"

namespace passthru::vfio {

// The fixture of this package's component tests: a simulated host, which must
// have got everything back in the end.
class VfioTest : public testing::Test {
 protected:
  VfioTest() : VfioTest(fake::SimulatedHost::Options()) {}
  explicit VfioTest(fake::SimulatedHost::Options options)
      : host_(std::move(options)) {}

  ~VfioTest() override {
    const fake::LeakReport leaks = kernel().CheckLeaks();
    EXPECT_TRUE(leaks.empty()) << leaks;
  }

  // Plugs in the device of testing/fixtures/<name>.textproto.
  pci::Bdf Plug(const std::string& name, fake::DeviceOptions options = {}) {
    const absl::StatusOr<pci::Bdf> address =
        host_.AddFixture(absl::StrCat("testing/fixtures/", name, ".textproto"),
                         std::move(options));
    EXPECT_THAT(address, absl_testing::IsOk());
    return address.value_or(pci::Bdf());
  }

  std::shared_ptr<VfioContainer> OpenContainer() {
    absl::StatusOr<std::shared_ptr<VfioContainer>> container =
        VfioContainer::Create(&kernel());
    EXPECT_THAT(container, absl_testing::IsOk());
    return *std::move(container);
  }

  std::shared_ptr<VfioGroup> OpenGroup(uint32_t number) {
    absl::StatusOr<std::shared_ptr<VfioGroup>> group =
        VfioGroup::Open(OpenContainer(), number);
    EXPECT_THAT(group, absl_testing::IsOk());
    return *std::move(group);
  }

  // With a container of its own.
  std::unique_ptr<VfioDevice> OpenDevice(pci::Bdf address, uint32_t group) {
    absl::StatusOr<std::unique_ptr<VfioDevice>> device =
        VfioDevice::Open(OpenGroup(group), address);
    EXPECT_THAT(device, absl_testing::IsOk());
    return *std::move(device);
  }

  fake::SimulatedHost& host() { return host_; }
  fake::FakeKernel& kernel() { return host_.kernel(); }

 private:
  fake::SimulatedHost host_;
};

// The simulated kernel but for what one function changes in an ioctl's answer,
// after the kernel has given it.
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

}  // namespace passthru::vfio

#endif  // PASSTHRU_DEVICES_VFIO_VFIO_TEST_FIXTURE_H_
