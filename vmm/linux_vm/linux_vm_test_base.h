// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_VMM_LINUX_VM_LINUX_VM_TEST_BASE_H_
#define PASSTHRU_VMM_LINUX_VM_LINUX_VM_TEST_BASE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/pci/bdf.h"
#include "passthru/testing/guest/guest_cpu.h"
#include "passthru/testing/guest/linux/config_access.h"
#include "passthru/testing/host/simulated_host.h"
#include "passthru/vmm/guest_layout.h"
#include "passthru/vmm/linux_vm/linux_vm.h"
#include "passthru/vmm/linux_vm/sample_vm.h"

namespace passthru::vmm {

// A VM without a real kernel.
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
    EXPECT_THAT(host, ::absl_testing::IsOk());
    EXPECT_THAT((*vm)->devices().Attach(*host), ::absl_testing::IsOk());
    absl::StatusOr<VmEnd> end = (*vm)->Run();
    EXPECT_THAT((*vm)->devices().Devices(), ::testing::IsEmpty());
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

inline constexpr pci::Bdf kPort(0, 0, 1, 0);
inline constexpr pci::Bdf kBehindPort(0, 1, 0, 0);
// Slot Control with power and both indicators off, and what Slot Status has.
inline constexpr uint16_t kSlotControl = 0x78;
inline constexpr uint16_t kSlotOff = 0x17e1;
inline constexpr uint16_t kSlotOn = 0x11e1;
inline constexpr uint16_t kSlotStatus = 0x7a;
inline constexpr uint16_t kButton = 0x01;
inline constexpr uint16_t kPresent = 0x40;

// A guest that looks at its ports all the time.
class PortGuest {
 public:
  explicit PortGuest(guest::GuestCpu& cpu)
      : cpu_(cpu), config_(&cpu, {.base = kEcamBase, .size = kEcamSize}) {}

  uint32_t Read(pci::Bdf bdf, uint16_t offset, unsigned width) {
    return config_.Read(bdf, offset, width);
  }
  void SetSlot(uint16_t control) {
    config_.Write(kPort, kSlotControl, 2, control);
  }
  void AwaitStatus(uint16_t mask, uint16_t value) {
    Await([=, this] { return (Read(kPort, kSlotStatus, 2) & mask) == value; });
  }
  void AwaitAnswer(bool answers) {
    Await([=, this] {
      return (Read(kBehindPort, 0, 4) != 0xffffffff) == answers;
    });
  }
  absl::Status TurnOff() {
    cpu_.Out(kPm1ControlPort, 2, kSleepTypeS5 << 10 | 1 << 13);
    cpu_.WaitForInterrupt();
    return absl::OkStatus();
  }

 private:
  void Await(const std::function<bool()>& condition) {
    while (!cpu_.Stopping() && !condition()) {
    }
  }

  guest::GuestCpu& cpu_;
  guest::EcamConfigAccess config_;
};

// A VM with two root ports.
class LinuxVmPortTest : public LinuxVmTest {
 protected:
  void SetUp() override {
    options_ = Options();
    options_.root_ports = {{}, {}};
    host_nvme_ = *host_.AddFixture("testing/fixtures/nvme.textproto");
  }
  void Create(guest::GuestProgram program) {
    host_.kernel().kvm().SetGuestProgram(0, std::move(program));
    owned_ = *LinuxVm::Create(options_);
    vm_ = owned_.get();
  }
  void Attach(pci::Bdf host) {
    ASSERT_THAT(vm_->devices().Attach({.host = host, .root_port = 0}),
                ::absl_testing::IsOkAndHolds(kBehindPort));
  }
  // Runs the VM, and `meanwhile` on another thread.
  absl::StatusOr<VmEnd> Run(const std::function<void()>& meanwhile) {
    std::thread thread(meanwhile);
    absl::StatusOr<VmEnd> end = vm_->Run();
    thread.join();
    return end;
  }

  LinuxVm::Options options_;
  pci::Bdf host_nvme_;
  std::unique_ptr<LinuxVm> owned_;
};

}  // namespace passthru::vmm

#endif  // PASSTHRU_VMM_LINUX_VM_LINUX_VM_TEST_BASE_H_
