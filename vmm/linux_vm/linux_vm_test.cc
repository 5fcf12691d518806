// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/linux_vm/linux_vm.h"

#include <cstdint>
#include <string>

#include "absl/base/log_severity.h"
#include "absl/log/scoped_mock_log.h"
#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/devices/root_port/root_port.h"
#include "passthru/pci/bdf.h"
#include "passthru/testing/guest/guest_cpu.h"
#include "passthru/vmm/guest_layout.h"
#include "passthru/vmm/linux_vm/linux_vm_test_base.h"

namespace passthru::vmm {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::IsOkAndHolds;
using ::absl_testing::StatusIs;
using ::testing::_;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST_F(LinuxVmTest, TheGuestTurnsThePowerOff) {
  EXPECT_THAT(RunGuest([](guest::GuestCpu& cpu) {
                for (const char c : std::string("bye")) {
                  cpu.Out(kSerialPort, 1, static_cast<uint8_t>(c));
                }
                cpu.Out(kPm1ControlPort, 2, kSleepTypeS5 << 10 | 1 << 13);
                while (!cpu.Stopping() && cpu.WaitForInterrupt().has_value()) {
                }
                return absl::OkStatus();
              }),
              IsOkAndHolds(VmEnd::kPowerOff));
  EXPECT_EQ(console_, "bye");
  ExpectNothingLeft();
}

TEST_F(LinuxVmTest, TheGuestResetsInTwoWays) {
  EXPECT_THAT(RunGuest([](guest::GuestCpu& cpu) {
                cpu.Out(kResetPort, 1, 0x02);  // not yet
                cpu.Out(kResetPort, 1, kResetValue);
                cpu.WaitForInterrupt();
                return absl::OkStatus();
              }),
              IsOkAndHolds(VmEnd::kReset));
  ExpectNothingLeft();
}

TEST_F(LinuxVmTest, TheKeyboardControllerResets) {
  EXPECT_THAT(RunGuest([](guest::GuestCpu& cpu) {
                cpu.Out(kKeyboardControllerPort, 1, 0xfe);
                cpu.WaitForInterrupt();
                return absl::OkStatus();
              }),
              IsOkAndHolds(VmEnd::kReset));
}

TEST_F(LinuxVmTest, AGuestThatShutsDownHadATripleFault) {
  EXPECT_THAT(RunGuest([](guest::GuestCpu&) { return absl::OkStatus(); }, 4),
              IsOkAndHolds(VmEnd::kTripleFault));
  ExpectNothingLeft();
}

TEST_F(LinuxVmTest, TheOwnerEndsARunOfSeveralVcpus) {
  EXPECT_THAT(RunGuest(
                  [this](guest::GuestCpu& cpu) {
                    cpu.In(kSerialPort, 1);
                    vm_->RequestEnd();
                    cpu.WaitForInterrupt();
                    return absl::OkStatus();
                  },
                  4),
              IsOkAndHolds(VmEnd::kRequested));
  ExpectNothingLeft();
}

TEST_F(LinuxVmTest, ADeviceThatTheHostWantsBackIsTakenAway) {
  absl::ScopedMockLog log(absl::MockLogDefault::kIgnoreUnexpected);
  EXPECT_CALL(log, Log(absl::LogSeverity::kWarning, _,
                       AllOf(HasSubstr("the host wants 0000:02:00.0 back"),
                             HasSubstr("not behind a root port"))))
      .Times(1);
  EXPECT_CALL(log, Log(absl::LogSeverity::kWarning, _,
                       "0000:02:00.0 is the host's again"))
      .Times(1);
  log.StartCapturingLogs();
  EXPECT_THAT(RunGuest([this](guest::GuestCpu& cpu) {
                const pci::Bdf guest = vm_->devices().Devices().at(0);
                const pci::Bdf host =
                    *pci::Bdf::Parse(vm_->devices().Find(guest)->name());
                // The kernel repeats it until the device is let go.
                for (int i = 0; i < 3; ++i) {
                  EXPECT_THAT(host_.vfio().RequestRelease(host), IsOk());
                }
                while (!cpu.Stopping() && !vm_->devices().Devices().empty()) {
                  cpu.In(kSerialPort, 1);
                }
                cpu.Out(kPm1ControlPort, 2, kSleepTypeS5 << 10 | 1 << 13);
                cpu.WaitForInterrupt();
                return absl::OkStatus();
              }),
              IsOkAndHolds(VmEnd::kPowerOff));
}

// --- Devices behind root ports.

TEST_F(LinuxVmPortTest, TheGuestLetsGoOfADevice) {
  Create([](guest::GuestCpu& cpu) {
    PortGuest guest(cpu);
    guest.AwaitStatus(kButton, kButton);
    guest.SetSlot(kSlotOff);
    guest.AwaitStatus(kPresent, 0);
    return guest.TurnOff();
  });
  Attach(host_nvme_);
  EXPECT_THAT(Run([this] {
                EXPECT_THAT(vm_->Unplug(kBehindPort, absl::InfiniteDuration()),
                            IsOkAndHolds(UnplugEnd::kLetGo));
              }),
              IsOkAndHolds(VmEnd::kPowerOff));
  EXPECT_THAT(vm_->kept(), IsEmpty());
}

TEST_F(LinuxVmPortTest, AGuestThatDoesNotAnswerLosesTheDeviceBySurprise) {
  Create([](guest::GuestCpu& cpu) {
    PortGuest guest(cpu);
    guest.AwaitAnswer(false);
    return guest.TurnOff();
  });
  Attach(host_nvme_);
  EXPECT_THAT(Run([this] {
                EXPECT_THAT(vm_->Unplug(kBehindPort, absl::ZeroDuration()),
                            IsOkAndHolds(UnplugEnd::kTaken));
                EXPECT_THAT(vm_->Unplug(kBehindPort, absl::ZeroDuration()),
                            StatusIs(absl::StatusCode::kNotFound));
              }),
              IsOkAndHolds(VmEnd::kPowerOff));
}

TEST_F(LinuxVmPortTest, ASecondRequestShortensTheTime) {
  Create([](guest::GuestCpu& cpu) {
    PortGuest guest(cpu);
    guest.AwaitAnswer(false);
    return guest.TurnOff();
  });
  Attach(host_nvme_);
  ASSERT_THAT(vm_->devices().RequestUnplug(kBehindPort), IsOk());
  EXPECT_THAT(Run([this] {
                EXPECT_THAT(vm_->Unplug(kBehindPort, absl::ZeroDuration()),
                            IsOkAndHolds(UnplugEnd::kTaken));
              }),
              IsOkAndHolds(VmEnd::kPowerOff));
}

// A guest that turned the slot on again uses the card.
TEST_F(LinuxVmPortTest, ADeviceThatTheGuestTakesBackStaysUntilItsTime) {
  Create([](guest::GuestCpu& cpu) {
    PortGuest guest(cpu);
    guest.AwaitStatus(kButton, kButton);
    return guest.TurnOff();
  });
  Attach(host_nvme_);
  root_port::RootPort& port = vm_->devices().root_ports().port(0);
  ASSERT_THAT(vm_->devices().RequestUnplug(kBehindPort), IsOk());
  const auto write = [&port](uint16_t control) {
    port.ConfigWrite(kSlotControl, {static_cast<uint8_t>(control),
                                    static_cast<uint8_t>(control >> 8)});
  };
  write(kSlotOff);
  ASSERT_TRUE(port.removal_requested());
  write(kSlotOn);
  EXPECT_THAT(vm_->Run(), IsOkAndHolds(VmEnd::kPowerOff));
  EXPECT_THAT(vm_->kept(), ElementsAre(host_nvme_.ToString()));
}

TEST_F(LinuxVmPortTest, AResetInTheMiddleOfAnUnplugEndsIt) {
  const auto other = host_.AddFixture("testing/fixtures/edu.textproto");
  ASSERT_THAT(other, IsOk());
  Create([](guest::GuestCpu& cpu) {
    PortGuest guest(cpu);
    guest.AwaitStatus(kButton, kButton);
    cpu.Out(kResetPort, 1, kResetValue);
    cpu.WaitForInterrupt();
    return absl::OkStatus();
  });
  Attach(host_nvme_);
  ASSERT_THAT(vm_->devices().Attach(*other), IsOk());
  EXPECT_THAT(Run([this] {
                EXPECT_THAT(vm_->Unplug(kBehindPort, absl::InfiniteDuration()),
                            IsOkAndHolds(UnplugEnd::kVmEnded));
              }),
              IsOkAndHolds(VmEnd::kReset));
  // The device that was asked for is not there after the reset.
  EXPECT_THAT(vm_->kept(), ElementsAre(other->ToString()));
  EXPECT_THAT(vm_->Plug({.host = host_nvme_}),
              StatusIs(absl::StatusCode::kFailedPrecondition));
}

TEST_F(LinuxVmPortTest, ADeviceIsPlugged) {
  Create([](guest::GuestCpu& cpu) {
    PortGuest guest(cpu);
    guest.AwaitStatus(kPresent, kPresent);
    guest.SetSlot(kSlotOn);
    guest.AwaitAnswer(true);
    return guest.TurnOff();
  });
  EXPECT_THAT(Run([this] {
                EXPECT_THAT(vm_->Plug({.host = host_nvme_}),
                            IsOkAndHolds(kBehindPort));
              }),
              IsOkAndHolds(VmEnd::kPowerOff));
  EXPECT_THAT(vm_->kept(), ElementsAre(host_nvme_.ToString()));
}

TEST_F(LinuxVmPortTest, PlugNeedsAnEmptyPort) {
  options_.root_ports = {{}};
  Create([](guest::GuestCpu&) { return absl::OkStatus(); });
  const auto other = host_.AddFixture("testing/fixtures/edu.textproto");
  ASSERT_THAT(other, IsOk());
  Attach(host_nvme_);
  EXPECT_THAT(vm_->Plug({.host = *other}),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("each of the guest's 1 root ports")));
  EXPECT_THAT(vm_->Unplug(pci::Bdf(0, 0, 3, 0), absl::ZeroDuration()),
              StatusIs(absl::StatusCode::kNotFound,
                       HasSubstr("no device behind a root port")));
}

TEST_F(LinuxVmPortTest, TheHostsRequestIsAnUnplug) {
  absl::ScopedMockLog log(absl::MockLogDefault::kIgnoreUnexpected);
  EXPECT_CALL(log, Log(absl::LogSeverity::kWarning, _,
                       AllOf(HasSubstr("the host wants 0000:02:00.0 back"),
                             HasSubstr("does not let go within 1m"))))
      .Times(1);
  EXPECT_CALL(log, Log(absl::LogSeverity::kWarning, _,
                       "0000:02:00.0 is the host's again"))
      .Times(1);
  log.StartCapturingLogs();
  Create([this](guest::GuestCpu& cpu) {
    PortGuest guest(cpu);
    EXPECT_THAT(host_.vfio().RequestRelease(host_nvme_), IsOk());
    guest.AwaitStatus(kButton, kButton);
    // The kernel repeats it until the device is let go.
    for (int i = 0; i < 3; ++i) {
      EXPECT_THAT(host_.vfio().RequestRelease(host_nvme_), IsOk());
    }
    guest.SetSlot(kSlotOff);
    guest.AwaitStatus(kPresent, 0);
    return guest.TurnOff();
  });
  Attach(host_nvme_);
  EXPECT_THAT(vm_->Run(), IsOkAndHolds(VmEnd::kPowerOff));
}

TEST_F(LinuxVmPortTest, TheHostsRequestEndsInASurpriseRemoval) {
  absl::ScopedMockLog log(absl::MockLogDefault::kIgnoreUnexpected);
  EXPECT_CALL(log, Log(absl::LogSeverity::kWarning, _,
                       HasSubstr("loses 0000:02:00.0 by surprise")))
      .Times(1);
  log.StartCapturingLogs();
  options_.unplug_time = absl::ZeroDuration();
  Create([this](guest::GuestCpu& cpu) {
    PortGuest guest(cpu);
    EXPECT_THAT(host_.vfio().RequestRelease(host_nvme_), IsOk());
    guest.AwaitAnswer(false);
    return guest.TurnOff();
  });
  Attach(host_nvme_);
  EXPECT_THAT(vm_->Run(), IsOkAndHolds(VmEnd::kPowerOff));
}

TEST_F(LinuxVmTest, MistakesAreRefused) {
  LinuxVm::Options options = Options();
  options.vcpu_count = 0;
  EXPECT_THAT(
      LinuxVm::Create(options),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("from 1 to 255")));
  options = Options();
  options.memory_size = 4096;
  EXPECT_THAT(LinuxVm::Create(options),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("4096 bytes of memory below 4 GiB")));
  options = Options();
  options.kernel = {};
  EXPECT_THAT(
      LinuxVm::Create(options),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("only 0 bytes")));
  ExpectNothingLeft();
}

}  // namespace
}  // namespace passthru::vmm
