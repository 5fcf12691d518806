// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/demo/demo.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "passthru/devices/kernel/linux_syscalls.h"
#include "passthru/devices/kernel/status_macros.h"
#include "passthru/devices/kernel/syscalls.h"
#include "passthru/devices/vfio/find_group.h"
#include "passthru/devices/vfio_pci/device_report.h"
#include "passthru/testing/guest/drivers/guest_driver.h"
#include "passthru/testing/host/simulated_host.h"
#include "passthru/testing/journal/call_recorder.h"
#include "passthru/vmm/demo/process_resources.h"
#include "passthru/vmm/device_manager.h"
#include "passthru/vmm/guest/guest_run.h"
#include "passthru/vmm/machine.h"
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
      : calls_(syscalls, options.journal),
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
      attached_.push_back({.guest = guest});
      ReportDevice(device, guest);
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

  DemoReport& report() { return report_; }

 private:
  struct Attached {
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
    });
    guest::GuestOptions options;
    options.layout = GuestLayoutOf(*machine_);
    options.nvme.read_only = !may_write_;
    options.on_phase = [this](guest::GuestPhase phase) {
      if (phase == guest::GuestPhase::kShutDown) {
        for (Attached& attached : attached_) {
          attached.settled = devices_->Find(attached.guest)->Describe();
        }
      }
      BeginPhase(guest::Name(phase));
    };
    guest::GuestProgram program = [this, options](guest::GuestCpu& cpu) {
      return guest::RunGuest(cpu, options, guest_report_);
    };
    PASSTHRU_ASSIGN_OR_RETURN(
        guest_run_, GuestRun::Create(
                        machine_.get(),
                        simulated_ == nullptr ? nullptr : &simulated_->kernel(),
                        std::move(program)));
    PASSTHRU_RETURN_IF_ERROR(guest_run_->Run(*runner_));
    for (size_t i = 0; i < attached_.size(); ++i) {
      ReportGuest(attached_[i], *report_.mutable_devices(static_cast<int>(i)));
    }
    return absl::OkStatus();
  }

  // Ends the current phase and begins the phase `name`. Phases change on one
  // thread at a time, which is the caller's, then the guest's, then the
  // caller's again.
  void BeginPhase(std::string_view name) {
    EndPhase();
    phase_ = report_.add_phases();
    phase_->set_name(std::string(name));
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
  }

  void ReportDevice(pci::Bdf host, pci::Bdf guest) {
    Passthrough* passthrough = report_.add_devices();
    Device* device = passthrough->mutable_device();
    device->set_host_bdf(host.ToString());
    device->set_guest_bdf(guest.ToString());
    const auto group = vfio::FindGroup(&calls_, host);
    if (group.ok()) device->set_iommu_group(*group);
    const vfio_pci::DeviceReport report = devices_->Find(guest)->Describe();
    if (!report.lines.empty()) device->set_identity(report.lines.front());
    for (const vfio_pci::CapabilityReport& from : report.capabilities) {
      Capability* to = passthrough->add_capabilities();
      to->set_offset(from.offset);
      to->set_name(from.name);
      to->set_treatment(std::string(vfio_pci::Name(from.treatment)));
      to->set_reason(from.reason);
      to->set_decoded(from.decoded);
    }
  }

  void ReportGuest(const Attached& attached, Passthrough& report) {
    const vfio_pci::DeviceReport& settled = attached.settled;
    Device* counted = report.mutable_device();
    counted->set_config_reads_from_shadow(settled.config.reads_from_shadow);
    counted->set_config_reads_from_device(settled.config.reads_from_device);
    counted->set_config_writes_to_shadow(settled.config.writes_to_shadow);
    counted->set_config_writes_to_device(settled.config.writes_to_device);
    for (const vfio_pci::VectorGroupReport& group : settled.vector_groups) {
      if (group.kind != settled.interrupt) continue;
      for (const interrupts::VectorReport& vector : group.vectors) {
        ReportVector(vector, report);
      }
    }
    for (const guest::GuestDeviceReport& device : guest_report_.devices) {
      if (device.pci.bdf != attached.guest) continue;
      for (const vfio_pci::BarReport& bar : settled.bars) {
        ReportBar(bar, device.moves, report);
      }
      ReportSteps(device, report);
    }
  }

  void ReportSteps(const guest::GuestDeviceReport& device,
                   Passthrough& report) {
    const auto add_step = [&report](std::string title, std::string result) {
      Step* step = report.add_steps();
      step->set_title(std::move(title));
      step->set_result(std::move(result));
    };
    add_step(
        "enumerate",
        absl::StrFormat("%d functions on bus 0; ours: %d BARs, %d capabilities",
                        guest_report_.devices.size(), device.pci.bars.size(),
                        device.pci.capabilities.size() +
                            device.pci.extended_capabilities.size()));
    if (device.nvme.has_value()) {
      const guest::GuestNvmeReport& nvme = *device.nvme;
      add_step("bring up",
               absl::StrFormat("\"%s\", %d blocks of %d bytes; %d I/O queues "
                               "on %d %s vectors",
                               nvme.model, nvme.blocks, nvme.block_size,
                               nvme.io_queues, nvme.interrupt_vectors,
                               nvme.interrupt_kind));
      if (nvme.blocks_written != 0) {
        add_step("write", absl::StrCat(nvme.blocks_written, " blocks by DMA"));
      }
      add_step("read", absl::StrCat(nvme.blocks_read, " blocks by DMA"));
      if (nvme.blocks_written != 0) {
        add_step("compare",
                 absl::StrFormat("%d blocks as written, %d not",
                                 nvme.blocks_verified, nvme.blocks_wrong));
      }
    } else if (device.edu.has_value()) {
      const guest::GuestEduReport& edu = *device.edu;
      add_step("bring up", absl::StrFormat("edu, identification 0x%08x, %s",
                                           edu.identification,
                                           edu.alive ? "alive" : "dead"));
      add_step("compute", absl::StrFormat("%d! = %d, said by interrupt",
                                          edu.factorial_of, edu.factorial));
      add_step("copy",
               absl::StrFormat("%d bytes to the device and back by DMA, %d as "
                               "sent",
                               edu.bytes_copied, edu.bytes_verified));
    } else {
      add_step("bring up",
               device.interrupt_vectors == 0
                   ? "no driver for it here, no message interrupts"
                   : absl::StrFormat("no driver for it here: %d %s vectors on "
                                     "and off",
                                     device.interrupt_vectors,
                                     device.interrupt_kind));
    }
    for (const guest::GuestBarMove& move : device.moves) {
      add_step("move a BAR",
               absl::StrFormat("BAR%d from 0x%x to 0x%x, and work "
                               "again",
                               move.bar, move.from, move.to));
    }
    uint64_t taken = 0;
    for (const Vector& vector : report.vectors()) taken += vector.taken();
    add_step("interrupts",
             absl::StrFormat("%d taken; unexpected in the guest: %d", taken,
                             guest_report_.unexpected_interrupts.size()));
  }

  void ReportBar(const vfio_pci::BarReport& from,
                 const std::vector<guest::GuestBarMove>& moves,
                 Passthrough& passthrough) {
    Bar* to = passthrough.add_bars();
    to->set_index(from.bar.index.value());
    to->set_type(std::string(pci::Name(from.bar.type)));
    to->set_size(from.bar.size);
    to->set_prefetchable(from.bar.prefetchable);
    to->set_address(from.bar.address);
    for (const guest::GuestBarMove& move : moves) {
      if (move.bar == from.bar.index.value()) to->set_moved_from(move.from);
    }
    for (const vfio_pci::BarAreaReport& area : from.areas) {
      Area* report = to->add_areas();
      report->set_offset(area.area.offset);
      report->set_size(area.area.size);
      report->set_mapped(area.in_guest);
      report->set_reason(area.refused.empty()
                             ? std::string(vfio_pci::Explain(area.area.kind))
                             : area.refused);
    }
  }

  void ReportVector(const interrupts::VectorReport& from,
                    Passthrough& passthrough) {
    Vector* to = passthrough.add_vectors();
    to->set_index(from.vector.value());
    to->set_state(std::string(interrupts::Name(from.state)));
    to->set_has_gsi(from.gsi.has_value());
    if (from.gsi.has_value()) to->set_gsi(from.gsi->value());
    to->set_message_address(from.message.address);
    to->set_message_data(from.message.data);
    to->set_from_user_space(from.user_space_signals);
    for (const auto& line : guest_report_.interrupts) {
      if (line.message.address == from.message.address &&
          line.message.data == from.message.data) {
        to->set_handler(line.name);
        to->set_taken(to->taken() + line.count);
      }
    }
  }

  journal::CallRecorder calls_;
  fake::SimulatedHost* const simulated_;
  const bool may_write_;
  DemoReport report_;

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

absl::StatusOr<DemoReport> RunDemo(const DemoOptions& options) {
  if (!options.devices.empty()) {
    PASSTHRU_ASSIGN_OR_RETURN(const auto before, ProcessResources());
    kernel::LinuxSyscalls linux_kernel;
    Demo demo(&linux_kernel, /*simulated=*/nullptr, options);
    PASSTHRU_RETURN_IF_ERROR(demo.Run(options.devices));
    DemoReport report = std::move(demo.report());
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
  DemoReport report = std::move(demo.report());
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
