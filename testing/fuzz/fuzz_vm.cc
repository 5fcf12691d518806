// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/fuzz/fuzz_vm.h"

#include <map>
#include <optional>
#include <utility>

#include "absl/base/log_severity.h"
#include "absl/log/check.h"
#include "absl/log/globals.h"
#include "absl/log/initialize.h"
#include "absl/strings/str_cat.h"
#include "passthru/devices/kernel/status_macros.h"
#include "passthru/testing/fixture/fixture.h"
#include "passthru/testing/vfio/fake_vfio.h"
#include "passthru/vmm/vcpu_runner.h"

namespace passthru::fuzz {
namespace {

// Logs only fatal messages, because a fuzzer makes calls fail thousands of
// times a second.
void QuietLogs() {
  static const bool quiet = [] {
    absl::SetStderrThreshold(absl::LogSeverityAtLeast::kFatal);
    absl::InitializeLog();
    return true;
  }();
  CHECK(quiet);
}

fake::SimulatedHost::Options HostOptions(fake::KernelVersion version) {
  return {.kernel = {.version = version}};
}

}  // namespace

const fixture::PciDevice& Fixture(const std::string& name) {
  static auto* const fixtures = new std::map<std::string, fixture::PciDevice>();
  auto [found, added] = fixtures->try_emplace(name);
  if (added) {
    auto loaded = fixture::LoadFixture(
        absl::StrCat("testing/fixtures/", name, ".textproto"));
    CHECK_OK(loaded);
    found->second = *std::move(loaded);
  }
  return found->second;
}

FuzzVm::FuzzVm(fake::KernelVersion version) : host_(HostOptions(version)) {
  QuietLogs();
  // No target reads the entries.
  host_.kernel().journal().set_keep_entries(false);
}

FuzzVm::~FuzzVm() { Stop(); }

void FuzzVm::Stop() {
  host_.kernel().faults().Clear();
  devices_.reset();
  if (machine_ != nullptr) {
    // Routes that could not be removed from the kernel's table when a device
    // was detached are unused, and this commit removes them.
    CHECK_OK(machine_->router().Commit());
    const auto report = host_.kernel().CheckLeaks(empty_machine_);
    CHECK(report.empty()) << report;
  }
  machine_.reset();
  const auto report = host_.kernel().CheckLeaks();
  CHECK(report.empty()) << report;
  // A user of a kernel that lies may violate invariants, which is not the
  // user's fault.
  if (!truthful_) host_.invariants().Take();
}

absl::Status FuzzVm::AddDevice(const fixture::PciDevice& fixture,
                               pci::Bdf bdf) {
  PASSTHRU_ASSIGN_OR_RETURN(auto model, fake::MakeModel(fixture));
  fake::DeviceOptions options;
  options.bdf = bdf;
  options.group = ++groups_;
  options.model = std::move(model);
  return host_.vfio().AddDevice(fixture, std::move(options));
}

absl::Status FuzzVm::Start(kernel::Syscalls* syscalls,
                           vmm::DeviceManagerOptions options) {
  truthful_ = syscalls == nullptr;
  PASSTHRU_ASSIGN_OR_RETURN(
      auto machine,
      vmm::Machine::Create(
          {.syscalls = syscalls != nullptr ? syscalls : &host_.kernel(),
           .ram_size = uint64_t{1} << 20}));
  PASSTHRU_ASSIGN_OR_RETURN(
      auto devices,
      vmm::DeviceManager::Create(machine.get(), std::move(options)));
  machine_ = std::move(machine);
  devices_ = std::move(devices);
  empty_machine_ = host_.kernel().Resources();
  return absl::OkStatus();
}

absl::Status FuzzVm::RunGuest(guest::GuestProgram program) {
  host_.kernel().kvm().SetGuestProgram(0, std::move(program));
  vmm::VcpuRunner runner(
      {.vcpu = &machine_->vcpu(0),
       .mmio = &machine_->mmio(),
       .pio = &machine_->pio(),
       .on_memory_fault = [this] { devices_->OnMemoryFault(); }});
  absl::Status status = runner.Run();
  // A guest that cannot continue still returns before its resources are
  // destroyed.
  host_.kernel().kvm().StopGuests();
  return status;
}

}  // namespace passthru::fuzz
