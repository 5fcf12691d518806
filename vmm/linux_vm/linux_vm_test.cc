// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/linux_vm/linux_vm.h"

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/pci/bdf.h"
#include "passthru/testing/guest/guest_cpu.h"
#include "passthru/testing/host/simulated_host.h"
#include "passthru/vmm/guest_layout.h"
#include "passthru/vmm/linux_vm/sample_vm.h"

namespace passthru::vmm {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::IsOkAndHolds;
using ::absl_testing::StatusIs;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class LinuxVmTest : public ::testing::Test {
 protected:
  LinuxVm::Options Options() {
    LinuxVm::Options options;
    options.syscalls = &host_.kernel();
    options.memory_size = uint64_t{16} << 20;
    options.kernel = kernel_;
    options.console = [this](uint8_t byte) {
      console_ += static_cast<char>(byte);
    };
    return options;
  }
  // Runs the program as the guest, with a device.
  absl::StatusOr<VmEnd> RunGuest(guest::GuestProgram program,
                                 unsigned vcpu_count = 1) {
    host_.kernel().kvm().SetGuestProgram(0, std::move(program));
    LinuxVm::Options options = Options();
    options.vcpu_count = vcpu_count;
    const auto vm = LinuxVm::Create(options);
    if (!vm.ok()) return vm.status();
    vm_ = vm->get();
    const auto host = host_.AddFixture("testing/fixtures/nvme.textproto");
    EXPECT_THAT(host, IsOk());
    EXPECT_THAT((*vm)->devices().Attach(*host), IsOk());
    absl::StatusOr<VmEnd> end = (*vm)->Run();
    EXPECT_THAT((*vm)->devices().Devices(), IsEmpty());
    return end;
  }
  void ExpectNothingLeft() {
    EXPECT_TRUE(host_.kernel().CheckLeaks().empty())
        << host_.kernel().CheckLeaks();
  }

  const std::vector<uint8_t> kernel_ = EmptyKernel();
  fake::SimulatedHost host_;
  std::string console_;
  LinuxVm* vm_ = nullptr;
};

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
  EXPECT_THAT(RunGuest([this](guest::GuestCpu& cpu) {
                const pci::Bdf guest = vm_->devices().Devices().at(0);
                EXPECT_THAT(host_.vfio().RequestRelease(*pci::Bdf::Parse(
                                vm_->devices().Find(guest)->name())),
                            IsOk());
                while (!cpu.Stopping() && !vm_->devices().Devices().empty()) {
                  cpu.In(kSerialPort, 1);
                }
                cpu.Out(kPm1ControlPort, 2, kSleepTypeS5 << 10 | 1 << 13);
                cpu.WaitForInterrupt();
                return absl::OkStatus();
              }),
              IsOkAndHolds(VmEnd::kPowerOff));
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
