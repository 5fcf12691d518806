// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/demo/demo.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
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
      : timeline_(options.timeline),
        calls_(syscalls, options.journal, options.timeline),
        simulated_(simulated),
        may_write_(simulated != nullptr || options.may_write) {}

  absl::Status Run(const std::vector<pci::Bdf>& devices) {
    BeginPhase("create VM");
    PASSTHRU_ASSIGN_OR_RETURN(
        machine_, Machine::Create({.syscalls = &calls_, .ram_size = kRamSize}));
    PASSTHRU_ASSIGN_OR_RETURN(devices_, DeviceManager::Create(machine_.get()));

    BeginPhase("attach");
    for (const pci::Bdf device : devices) {
      PASSTHRU_ASSIGN_OR_RETURN(const auto guest, devices_->Attach(device));
      attached_.push_back({.host = device, .guest = guest});
      const auto group = vfio::FindGroup(&calls_, device);
      *report_.add_devices() = ReportAttached(
          {.host = device,
           .guest = guest,
           .iommu_group = group.ok() ? std::optional(*group) : std::nullopt,
           .report = devices_->Find(guest)->Describe()});
    }
    PASSTHRU_RETURN_IF_ERROR(RunGuest());

    BeginPhase("detach");
    for (const Attached& attached : attached_) {
      PASSTHRU_RETURN_IF_ERROR(devices_->Detach(attached.guest));
    }
    devices_.reset();
    EndPhase();
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
      BeginPhase(guest::Name(phase));
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

  // Ends the current phase and begins the phase `name`. Phases change on one
  // thread at a time, which is the caller's, then the guest's, then the
  // caller's again.
  void BeginPhase(std::string_view name) {
    EndPhase();
    phase_ = report_.add_phases();
    phase_->set_name(std::string(name));
    if (timeline_ != nullptr) timeline_->BeginPhase(name);
  }

  // Ends the current phase, if there is one, and adds the counts since its
  // beginning to the report.
  void EndPhase() {
    const journal::CallRecorder::Counts calls = calls_.Take();
    const ExitCounts exits =
        runner_ == nullptr ? ExitCounts() : runner_->counts();
    const uint64_t overhead =
        guest_run_ == nullptr ? 0 : guest_run_->overhead();
    if (phase_ != nullptr) {
      for (const auto& [name, count] : calls) {
        (*phase_->mutable_kernel_calls())[name] = count;
      }
      const auto add = [this](const char* name, uint64_t count) {
        if (count != 0) (*phase_->mutable_exits())[name] = count;
      };
      add("MMIO read", exits.mmio_reads - exits_before_.mmio_reads);
      add("MMIO write", exits.mmio_writes - exits_before_.mmio_writes);
      add("port read", exits.io_reads - exits_before_.io_reads);
      add("port write", exits.io_writes - exits_before_.io_writes -
                            (overhead - overhead_before_));
      add("memory fault", exits.faults - exits_before_.faults);
    }
    exits_before_ = exits;
    overhead_before_ = overhead;
    phase_ = nullptr;
    if (timeline_ != nullptr) timeline_->EndPhase();
  }

  Timeline* const timeline_;
  journal::CallRecorder calls_;
  fake::SimulatedHost* const simulated_;
  const bool may_write_;
  RunReport report_;

  // The destructor destroys these in reverse order, so that the machine
  // outlives everything that uses it.
  std::unique_ptr<Machine> machine_;
  std::unique_ptr<DeviceManager> devices_;
  std::unique_ptr<GuestRun> guest_run_;
  std::unique_ptr<VcpuRunner> runner_;

  Phase* phase_ = nullptr;
  ExitCounts exits_before_;
  uint64_t overhead_before_ = 0;
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
  report.mutable_source()->set_kernel(
      absl::StrCat("Linux ", fake::Name(options.kernel)));
  for (const std::string& leak : host.kernel().CheckLeaks(before).leaks) {
    report.mutable_teardown()->add_leftovers(leak);
  }
  return report;
}

}  // namespace passthru::vmm
