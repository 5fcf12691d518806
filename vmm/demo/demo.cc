// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/demo/demo.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "passthru/devices/kernel/linux_syscalls.h"
#include "passthru/devices/kernel/status_macros.h"
#include "passthru/devices/kernel/syscalls.h"
#include "passthru/devices/kvm/vcpu_exit.h"
#include "passthru/devices/vfio/find_group.h"
#include "passthru/devices/vfio_pci/device_report.h"
#include "passthru/testing/guest/drivers/guest_driver.h"
#include "passthru/testing/host/simulated_host.h"
#include "passthru/testing/journal/call_recorder.h"
#include "passthru/vmm/demo/process_resources.h"
#include "passthru/vmm/demo/report_builder.h"
#include "passthru/vmm/device_manager.h"
#include "passthru/vmm/guest/agent_layout.h"
#include "passthru/vmm/guest/guest_run.h"
#include "passthru/vmm/machine.h"
#include "passthru/vmm/report/device_section.h"
#include "passthru/vmm/report/phase_recorder.h"
#include "passthru/vmm/report/timeline.h"
#include "passthru/vmm/vcpu_runner.h"

namespace passthru::vmm {
namespace {

constexpr uint64_t kRamSize = uint64_t{64} << 20;

// One run of the demo. It fills in the report as it proceeds.
class Demo {
 public:
  // `simulated` is null if `syscalls` is this machine's kernel.
  Demo(kernel::Syscalls* syscalls, fake::SimulatedHost* simulated,
       const DemoOptions& options)
      : kernel_(syscalls),
        timeline_(options.timeline),
        calls_(syscalls, options.journal, options.timeline),
        simulated_(simulated),
        may_write_(simulated != nullptr || options.may_write),
        phases_(
            &calls_, options.timeline, [this] { return Exits(); }, &report_) {
    report_.mutable_source()->set_program("passthrough_demo");
  }

  absl::Status Run(const std::vector<pci::Bdf>& devices) {
    phases_.Begin("create VM");
    PASSTHRU_ASSIGN_OR_RETURN(
        machine_, Machine::Create({.syscalls = &calls_, .ram_size = kRamSize}));
    PASSTHRU_ASSIGN_OR_RETURN(devices_, DeviceManager::Create(machine_.get()));

    phases_.Begin("attach");
    for (const pci::Bdf device : devices) {
      PASSTHRU_ASSIGN_OR_RETURN(const auto guest, devices_->Attach(device));
      attached_.push_back({.host = device, .guest = guest});
      // The report's own question is no cost of attaching.
      const auto group = vfio::FindGroup(kernel_, device);
      *report_.add_devices() = ReportAttached(
          {.host = device,
           .guest = guest,
           .iommu_group = group.ok() ? std::optional(*group) : std::nullopt,
           .report = devices_->Find(guest)->Describe()});
    }
    PASSTHRU_RETURN_IF_ERROR(RunGuest());

    phases_.Begin("detach");
    for (const Attached& attached : attached_) {
      PASSTHRU_RETURN_IF_ERROR(devices_->Detach(attached.guest));
    }
    devices_.reset();
    phases_.End();
    runner_.reset();
    guest_run_.reset();
    machine_.reset();
    return absl::OkStatus();
  }

  RunReport& report() { return report_; }

 private:
  struct Attached {
    pci::Bdf host;
    pci::Bdf guest;
    // The device's report from the time before the guest's driver released the
    // vectors.
    vfio_pci::DeviceReport settled;
  };

  absl::Status RunGuest() {
    runner_ = std::make_unique<VcpuRunner>(VcpuRunner::Options{
        .vcpu = &machine_->vcpu(0),
        .mmio = &machine_->mmio(),
        .pio = &machine_->pio(),
        .on_memory_fault = [this] { devices_->OnMemoryFault(); },
        .on_handled = [this](const kvm::VcpuExit& exit) { Record(exit); },
    });
    guest::GuestOptions options;
    options.layout = GuestLayoutOf(*machine_);
    options.nvme.read_only = !may_write_;
    for (size_t i = 0; simulated_ != nullptr && i < attached_.size(); ++i) {
      const std::string reason = simulated_->WhyNoModel(attached_[i].host);
      if (!reason.empty()) options.undriven[attached_[i].guest] = reason;
    }
    options.on_phase = [this](guest::GuestPhase phase) {
      if (phase == guest::GuestPhase::kShutDown) {
        for (Attached& attached : attached_) {
          attached.settled = devices_->Find(attached.guest)->Describe();
        }
      }
      phases_.Begin(guest::Name(phase));
    };
    guest::GuestProgram program = [this, options](guest::GuestCpu& cpu) {
      if (timeline_ == nullptr) {
        return guest::RunGuest(cpu, options, guest_report_);
      }
      RecordingCpu recording(&cpu, machine_->ram().size(), timeline_);
      return guest::RunGuest(recording, options, guest_report_);
    };
    PASSTHRU_ASSIGN_OR_RETURN(
        guest_run_, GuestRun::Create(
                        machine_.get(),
                        simulated_ == nullptr ? nullptr : &simulated_->kernel(),
                        std::move(program)));
    PASSTHRU_RETURN_IF_ERROR(guest_run_->Run(*runner_));
    for (size_t i = 0; i < attached_.size(); ++i) {
      AddUse(attached_[i].guest, attached_[i].settled, guest_report_,
             *report_.mutable_devices(static_cast<int>(i)));
    }
    return absl::OkStatus();
  }

  // Records an exit, unless it is one that the agent makes to be commanded.
  void Record(const kvm::VcpuExit& exit) {
    if (timeline_ == nullptr) return;
    const auto* const io = std::get_if<kvm::IoExit>(&exit);
    if (io != nullptr && io->port >= kAgentCommandPort &&
        io->port <= kAgentStopPort) {
      return;
    }
    timeline_->OnExit(exit);
  }

  // Returns the exits so far, without those that the agent makes to be
  // commanded.
  CountsByName Exits() const {
    if (runner_ == nullptr) return {};
    ExitCounts exits = runner_->counts();
    if (guest_run_ != nullptr) exits.io_writes -= guest_run_->overhead();
    return ByReason(exits);
  }

  kernel::Syscalls* const kernel_;
  Timeline* const timeline_;
  journal::CallRecorder calls_;
  fake::SimulatedHost* const simulated_;
  const bool may_write_;
  RunReport report_;
  // Phases change on one thread at a time, which is the caller's, then the
  // guest's, then the caller's again.
  PhaseRecorder phases_;

  // The destructor destroys these in reverse order, so that the machine
  // outlives everything that uses it.
  std::unique_ptr<Machine> machine_;
  std::unique_ptr<DeviceManager> devices_;
  std::unique_ptr<GuestRun> guest_run_;
  std::unique_ptr<VcpuRunner> runner_;

  guest::GuestReport guest_report_;
  std::vector<Attached> attached_;
};

// Adds a captured device to the simulated host and returns its address, which
// is the one where it was captured. If another device has that address, it is
// the first slot of the first bus where that slot is free.
absl::StatusOr<pci::Bdf> AddSimulated(fake::SimulatedHost& host,
                                      const std::string& fixture,
                                      std::optional<uint32_t> group) {
  auto added = host.AddFixture(fixture, {.group = group});
  for (int bus = 1; absl::IsAlreadyExists(added.status()) && bus < 256; ++bus) {
    added = host.AddFixture(
        fixture,
        {.bdf = pci::Bdf(0, static_cast<uint8_t>(bus), 0, 0), .group = group});
  }
  return added;
}

}  // namespace

absl::StatusOr<RunReport> RunDemo(const DemoOptions& options) {
  if (!options.devices.empty()) {
    PASSTHRU_ASSIGN_OR_RETURN(const auto before, ProcessResources());
    kernel::LinuxSyscalls linux_kernel;
    Demo demo(&linux_kernel, /*simulated=*/nullptr, options);
    PASSTHRU_RETURN_IF_ERROR(demo.Run(options.devices));
    RunReport report = std::move(demo.report());
    PASSTHRU_ASSIGN_OR_RETURN(const auto after, ProcessResources());
    report.mutable_teardown();
    for (const std::string& held : NewResources(before, after)) {
      report.mutable_teardown()->add_leftovers(held);
    }
    return report;
  }
  fake::SimulatedHost host({.kernel = {.version = options.kernel}});
  std::vector<pci::Bdf> devices;
  uint32_t group = 1;
  for (const std::string& fixture : options.fixtures) {
    PASSTHRU_ASSIGN_OR_RETURN(const auto device,
                              AddSimulated(host, fixture, group));
    devices.push_back(device);
    if (!options.one_group) ++group;
  }
  const fake::ResourceSnapshot before = host.kernel().Resources();
  Demo demo(&host.kernel(), &host, options);
  PASSTHRU_RETURN_IF_ERROR(demo.Run(devices));
  RunReport report = std::move(demo.report());
  for (size_t i = 0; i < devices.size(); ++i) {
    report.mutable_devices(static_cast<int>(i))
        ->mutable_device()
        ->set_fixture(options.fixtures[i]);
  }
  report.mutable_source()->set_simulated(true);
  report.mutable_teardown();
  report.mutable_source()->set_kernel(
      absl::StrCat("Linux ", fake::Name(options.kernel)));
  for (const std::string& leak : host.kernel().CheckLeaks(before).leaks) {
    report.mutable_teardown()->add_leftovers(leak);
  }
  return report;
}

}  // namespace passthru::vmm
