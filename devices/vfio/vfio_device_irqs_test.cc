// SPDX-License-Identifier: Apache-2.0
// Tests the interrupts of VfioDevice.
#include <linux/vfio.h>

#include <cerrno>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/devices/kernel/errors.h"
#include "passthru/devices/kernel/event_fd.h"
#include "passthru/devices/vfio/vfio_device.h"
#include "passthru/pci/bdf.h"
#include "passthru/testing/models/device_platform.h"
#include "passthru/testing/rig/vfio_host_test.h"
#include "passthru/testing/vfio/fake_vfio.h"

namespace passthru::vfio {
namespace {

using absl_testing::IsOk;
using absl_testing::IsOkAndHolds;
using absl_testing::StatusIs;
using fake::VfioTest;
using kernel::ErrnoOf;
using testing::HasSubstr;
using testing::SizeIs;

constexpr uint32_t kIntx = VFIO_PCI_INTX_IRQ_INDEX;
constexpr uint32_t kMsi = VFIO_PCI_MSI_IRQ_INDEX;
constexpr uint32_t kMsix = VFIO_PCI_MSIX_IRQ_INDEX;
constexpr int kNone = -1;

class IrqTest : public VfioTest {
 protected:
  kernel::EventFd MakeEventFd() {
    absl::StatusOr<kernel::EventFd> event = kernel::EventFd::Create(&kernel());
    EXPECT_THAT(event, IsOk());
    return *std::move(event);
  }
};

class MsixTest : public IrqTest {
 protected:
  void SetUp() override { device_ = OpenDevice(Plug("nvme"), 7); }

  std::unique_ptr<VfioDevice> device_;
};

TEST_F(MsixTest, VectorSignalsItsEventfd) {
  kernel::EventFd first = MakeEventFd();
  kernel::EventFd second = MakeEventFd();
  EXPECT_THAT(
      device_->SetIrqEventFds(kMsix, 0, {first.fd(), kNone, second.fd()}),
      IsOkAndHolds(0));
  EXPECT_THAT(device_->TriggerIrq(kMsix, 0, 3), IsOk());
  EXPECT_THAT(first.Read(), IsOkAndHolds(1));
  EXPECT_THAT(second.Read(), IsOkAndHolds(1));
  EXPECT_THAT(device_->TriggerIrq(kMsix, 2, 1), IsOk());
  EXPECT_THAT(first.Read(), IsOkAndHolds(0));
  EXPECT_THAT(second.Read(), IsOkAndHolds(1));
}

TEST_F(MsixTest, VectorIsAddedAndTakenAway) {
  kernel::EventFd event = MakeEventFd();
  ASSERT_THAT(device_->SetIrqEventFds(kMsix, 0, {kNone}), IsOkAndHolds(0));
  EXPECT_THAT(device_->SetIrqEventFds(kMsix, 64, {event.fd()}),
              IsOkAndHolds(0));
  EXPECT_THAT(device_->TriggerIrq(kMsix, 64, 1), IsOk());
  EXPECT_THAT(event.Read(), IsOkAndHolds(1));
  EXPECT_THAT(device_->SetIrqEventFds(kMsix, 64, {kNone}), IsOkAndHolds(0));
  EXPECT_THAT(device_->TriggerIrq(kMsix, 64, 1), IsOk());
  EXPECT_THAT(event.Read(), IsOkAndHolds(0));
}

TEST_F(MsixTest, DisablingEndsAllAndIsDoneOnce) {
  const kernel::EventFd event = MakeEventFd();
  ASSERT_THAT(device_->SetIrqEventFds(kMsix, 0, {event.fd()}), IsOk());
  EXPECT_THAT(device_->DisableIrq(kMsix), IsOk());
  EXPECT_THAT(host().vfio().Snapshot(device_->address())->irqs.triggers,
              SizeIs(0));
  const absl::Status again = device_->DisableIrq(kMsix);
  EXPECT_EQ(ErrnoOf(again), EINVAL);
  EXPECT_THAT(again.message(),
              HasSubstr("VFIO_DEVICE_SET_IRQS(index=MSI-X, NONE|TRIGGER, "
                        "start=0, count=0) on 0000:02:00.0"));
}

TEST_F(MsixTest, MoreVectorsThanTheDeviceHasAreRefusedWithoutACall) {
  EXPECT_THAT(
      device_->SetIrqEventFds(kMsix, 64, {kNone, kNone}),
      StatusIs(absl::StatusCode::kOutOfRange, HasSubstr("there are 65")));
  EXPECT_THAT(device_->SetIrqEventFds(kMsix, 0xffffffff, {kNone}),
              StatusIs(absl::StatusCode::kOutOfRange));
  EXPECT_EQ(kernel().journal().Count("VFIO_DEVICE_SET_IRQS"), 0u);
}

TEST_F(MsixTest, NoVectorsAreRefused) {
  EXPECT_THAT(device_->SetIrqEventFds(kMsix, 0, {}),
              StatusIs(absl::StatusCode::kOutOfRange));
}

TEST_F(MsixTest, TriggeringNothingDoesNotDisable) {
  ASSERT_THAT(device_->SetIrqEventFds(kMsix, 0, {kNone}), IsOk());
  EXPECT_THAT(device_->TriggerIrq(kMsix, 0, 0),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(device_->DisableIrq(kMsix), IsOk());
}

TEST_F(MsixTest, AbsentTypeIsRefused) {
  EXPECT_THAT(device_->SetIrqEventFds(kMsi, 0, {kNone}),
              StatusIs(absl::StatusCode::kOutOfRange, HasSubstr("MSI")));
}

TEST_F(MsixTest, ClosedEventfdIsEbadf) {
  int fd = -1;
  { fd = MakeEventFd().fd(); }
  EXPECT_EQ(ErrnoOf(device_->SetIrqEventFds(kMsix, 0, {fd}).status()), EBADF);
}

TEST_F(MsixTest, MaskingByIoctlDoesNotExist) {
  ASSERT_THAT(device_->SetIrqEventFds(kMsix, 0, {kNone}), IsOk());
  EXPECT_EQ(ErrnoOf(device_->MaskIrq(kMsix)), ENOTTY);
}

TEST_F(IrqTest, FewerVectorsThanAskedForAreTold) {
  const std::unique_ptr<VfioDevice> device =
      OpenDevice(Plug("nvme", {.msix_vectors_available = 8}), 7);
  const std::vector<int> fds(16, kNone);
  EXPECT_THAT(device->SetIrqEventFds(kMsix, 0, fds), IsOkAndHolds(8));
  // EINVAL shows that the kernel enabled nothing.
  EXPECT_EQ(ErrnoOf(device->DisableIrq(kMsix)), EINVAL);
}

TEST_F(MsixTest, ErrorsAndRequestsOfTheHostAreSignalled) {
  kernel::EventFd error = MakeEventFd();
  kernel::EventFd request = MakeEventFd();
  EXPECT_THAT(device_->SetErrorEventFd(error.fd()), IsOk());
  EXPECT_THAT(device_->SetRequestEventFd(request.fd()), IsOk());
  ASSERT_THAT(host().vfio().ReportError(device_->address()), IsOk());
  EXPECT_THAT(error.Read(), IsOkAndHolds(1));
  EXPECT_THAT(request.Read(), IsOkAndHolds(0));
  ASSERT_THAT(host().vfio().RequestRelease(device_->address()), IsOk());
  EXPECT_THAT(request.Read(), IsOkAndHolds(1));

  EXPECT_THAT(device_->SetErrorEventFd(kNone), IsOk());
  EXPECT_THAT(device_->SetRequestEventFd(kNone), IsOk());
  ASSERT_THAT(host().vfio().ReportError(device_->address()), IsOk());
  EXPECT_THAT(error.Read(), IsOkAndHolds(0));
}

class IntxTest : public IrqTest {
 protected:
  void SetUp() override {
    device_ = OpenDevice(Plug("edu"), 3);
    // Clears the INTx disable bit, so that the device can assert the line.
    ASSERT_THAT(device_->WriteConfig<uint16_t>(4, 6), IsOk());
  }
  void SetLine(bool level) {
    ASSERT_THAT(
        host().vfio().WithHardware(
            device_->address(),
            [=](models::DevicePlatform& hardware) { hardware.SetIntx(level); }),
        IsOk());
  }

  std::unique_ptr<VfioDevice> device_;
};

TEST_F(IntxTest, IsMaskedWhenItFiresUntilItIsUnmasked) {
  kernel::EventFd event = MakeEventFd();
  ASSERT_THAT(device_->SetIrqEventFds(kIntx, 0, {event.fd()}), IsOkAndHolds(0));
  SetLine(true);
  EXPECT_THAT(event.Read(), IsOkAndHolds(1));
  // The line is still asserted, so unmasking signals again.
  EXPECT_THAT(device_->UnmaskIrq(kIntx), IsOk());
  EXPECT_THAT(event.Read(), IsOkAndHolds(1));
  SetLine(false);
  EXPECT_THAT(device_->UnmaskIrq(kIntx), IsOk());
  EXPECT_THAT(event.Read(), IsOkAndHolds(0));
}

TEST_F(IntxTest, IsHeldWhileMasked) {
  kernel::EventFd event = MakeEventFd();
  ASSERT_THAT(device_->SetIrqEventFds(kIntx, 0, {event.fd()}), IsOk());
  EXPECT_THAT(device_->MaskIrq(kIntx), IsOk());
  SetLine(true);
  EXPECT_THAT(event.Read(), IsOkAndHolds(0));
  EXPECT_THAT(device_->UnmaskIrq(kIntx), IsOk());
  EXPECT_THAT(event.Read(), IsOkAndHolds(1));
}

TEST_F(IntxTest, EventfdUnmasksIt) {
  kernel::EventFd event = MakeEventFd();
  kernel::EventFd unmask = MakeEventFd();
  ASSERT_THAT(device_->SetIrqEventFds(kIntx, 0, {event.fd()}), IsOk());
  EXPECT_THAT(device_->SetUnmaskEventFd(kIntx, unmask.fd()), IsOk());
  SetLine(true);
  EXPECT_THAT(event.Read(), IsOkAndHolds(1));
  EXPECT_THAT(unmask.Signal(), IsOk());
  EXPECT_THAT(event.Read(), IsOkAndHolds(1));
  EXPECT_THAT(device_->SetUnmaskEventFd(kIntx, kNone), IsOk());
}

TEST_F(IntxTest, SecondUnmaskEventfdIsBusy) {
  const kernel::EventFd event = MakeEventFd();
  const kernel::EventFd unmask = MakeEventFd();
  ASSERT_THAT(device_->SetIrqEventFds(kIntx, 0, {event.fd()}), IsOk());
  ASSERT_THAT(device_->SetUnmaskEventFd(kIntx, unmask.fd()), IsOk());
  EXPECT_EQ(ErrnoOf(device_->SetUnmaskEventFd(kIntx, event.fd())), EBUSY);
}

TEST_F(IntxTest, UnmaskingWhatIsOffIsEinval) {
  const absl::Status status = device_->UnmaskIrq(kIntx);
  EXPECT_EQ(ErrnoOf(status), EINVAL);
  EXPECT_THAT(status.message(), HasSubstr("index=INTx, NONE|UNMASK"));
}

TEST_F(IntxTest, OtherTypeMustBeOff) {
  const kernel::EventFd event = MakeEventFd();
  ASSERT_THAT(device_->SetIrqEventFds(kIntx, 0, {event.fd()}), IsOk());
  EXPECT_EQ(ErrnoOf(device_->SetIrqEventFds(kMsi, 0, {event.fd()}).status()),
            EINVAL);
  ASSERT_THAT(device_->DisableIrq(kIntx), IsOk());
  EXPECT_THAT(device_->SetIrqEventFds(kMsi, 0, {event.fd()}), IsOkAndHolds(0));
}

}  // namespace
}  // namespace passthru::vfio
