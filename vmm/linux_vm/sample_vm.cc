// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/linux_vm/sample_vm.h"

#include <asm/bootparam.h>

#include <cstring>
#include <map>
#include <string_view>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/status/status.h"
#include "passthru/devices/kernel/status_macros.h"
#include "passthru/pci/bdf.h"
#include "passthru/testing/guest/drivers/guest_driver.h"
#include "passthru/testing/guest/guest_cpu.h"
#include "passthru/testing/host/simulated_host.h"
#include "passthru/vmm/guest/guest_run.h"
#include "passthru/vmm/guest_layout.h"
#include "passthru/vmm/linux_vm/linux_vm.h"

namespace passthru::vmm {

std::vector<uint8_t> EmptyKernel() {
  std::vector<uint8_t> file(4096);
  setup_header header = {};
  header.setup_sects = 1;
  header.boot_flag = 0xaa55;
  header.header = 0x53726448;
  header.version = 0x20f;
  header.syssize = (4096 - 1024) / 16;
  header.loadflags = LOADED_HIGH;
  header.xloadflags = XLF_KERNEL_64;
  header.kernel_alignment = 0x100000;
  header.pref_address = 0x100000;
  header.init_size = 0x10000;
  header.initrd_addr_max = 0x7fffffff;
  header.cmdline_size = 2047;
  std::memcpy(file.data() + 0x1f1, &header, sizeof(header));
  file[0x201] = sizeof(header) - (0x202 - 0x1f1);
  return file;
}

namespace {

absl::Status RunGuest(guest::GuestCpu& cpu, guest::GuestLayout layout) {
  guest::GuestOptions options;
  options.layout = layout;
  guest::GuestReport report;
  absl::Status driven = guest::RunGuest(cpu, options, report);
  for (const char c : std::string_view("bye\n")) {
    cpu.Out(kSerialPort, 1, static_cast<uint8_t>(c));
  }
  cpu.Out(kPm1ControlPort, 2, kSleepTypeS5 << 10 | 1 << 13);
  cpu.WaitForInterrupt();
  return driven;
}

}  // namespace

absl::StatusOr<std::unique_ptr<VmReport>> RunSampleVm(
    const std::vector<std::string>& fixtures) {
  fake::SimulatedHost host;
  std::map<pci::Bdf, std::string> devices;
  for (const std::string& fixture : fixtures) {
    PASSTHRU_ASSIGN_OR_RETURN(const pci::Bdf device, host.AddFixture(fixture));
    devices[device] = fixture;
  }
  auto report = std::make_unique<VmReport>(
      VmReport::Options{.syscalls = &host.kernel(), .fixtures = devices});
  host.vfio().SetInterruptListener(
      [report = report.get()](const pci::Bdf& device, std::string_view kind,
                              uint32_t vector) {
        report->OnInterrupt(device, kind, vector);
      });
  const std::vector<uint8_t> kernel = EmptyKernel();
  LinuxVm::Options options;
  options.memory_size = uint64_t{16} << 20;
  options.kernel = kernel;
  options.console = [](uint8_t) {};
  report->AddTo(options);
  report->Begin("create VM");
  PASSTHRU_ASSIGN_OR_RETURN(const auto vm, LinuxVm::Create(options));
  report->Watch(vm.get());
  const absl::Cleanup end = [ended = report.get()] { ended->End(); };
  host.kernel().kvm().SetGuestProgram(
      0, [layout = GuestLayoutOf(vm->machine())](guest::GuestCpu& cpu) {
        return RunGuest(cpu, layout);
      });
  report->Begin("attach");
  for (const auto& [device, fixture] : devices) {
    PASSTHRU_RETURN_IF_ERROR(vm->devices().Attach(device).status());
  }
  host.kernel().StartDeviceThread();
  report->Begin("run");
  const absl::StatusOr<VmEnd> ended = vm->Run();
  host.kernel().StopDeviceThread();
  host.vfio().SetInterruptListener(nullptr);
  if (!ended.ok()) return ended.status();
  return report;
}

}  // namespace passthru::vmm
