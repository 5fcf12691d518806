// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/regression/regression.h"

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "passthru/devices/kernel/status_macros.h"
#include "passthru/devices/kernel/syscalls.h"
#include "passthru/devices/kvm/vcpu_exit.h"
#include "passthru/pci/bdf.h"
#include "passthru/testing/fixture/fixture.h"
#include "passthru/testing/guest/guest_cpu.h"
#include "passthru/testing/guest/guest_layout.h"
#include "passthru/testing/host/fake_kernel.h"
#include "passthru/testing/host/simulated_host.h"
#include "passthru/testing/kernel/leak_check.h"
#include "passthru/vmm/device_manager.h"
#include "passthru/vmm/guest/guest_run.h"
#include "passthru/vmm/machine.h"
#include "passthru/vmm/regression/bench.h"
#include "passthru/vmm/regression/device_facts.h"
#include "passthru/vmm/regression/guest_program.h"
#include "passthru/vmm/regression/run_recorder.h"
#include "passthru/vmm/regression/transcript.h"
#include "passthru/vmm/vcpu_runner.h"

namespace passthru::vmm {
namespace {

constexpr uint64_t kRamSize = uint64_t{64} << 20;
constexpr uint64_t kDescriptors = 4096;

fake::SimulatedHost::Options HostOptions(fake::KernelVersion version) {
  fake::SimulatedHost::Options options;
  options.kernel.version = version;
  // Enough for any device, so that the transcript shows all of its vectors.
  options.kernel.descriptors = {.rlim_cur = kDescriptors,
                                .rlim_max = kDescriptors};
  // The guest waits only for interrupts that have already arrived.
  options.kernel.kvm.guest_wait_limit = absl::Seconds(5);
  // Violations become problems of the transcript.
  options.enforce_invariants = false;
  return options;
}

absl::Status RunGuest(fake::SimulatedHost& host, Machine& machine,
                      RegressionBench& bench, RunRecorder* recorder) {
  const guest::GuestLayout layout = GuestLayoutOf(machine);
  guest::GuestProgram program = [&](guest::GuestCpu& cpu) {
    if (recorder == nullptr) return RunRegressionGuest(cpu, layout, bench);
    RecordingCpu recording(&cpu, machine.ram().size(), &recorder->timeline());
    return RunRegressionGuest(recording, layout, bench);
  };
  PASSTHRU_ASSIGN_OR_RETURN(
      const auto guest,
      GuestRun::Create(&machine, &host.kernel(), std::move(program)));
  VcpuRunner::Options options = {
      .vcpu = &machine.vcpu(0), .mmio = &machine.mmio(), .pio = &machine.pio()};
  if (recorder != nullptr) {
    options.on_handled = [recorder](const kvm::VcpuExit& exit) {
      recorder->timeline().OnExit(exit);
    };
  }
  VcpuRunner runner(std::move(options));
  if (recorder != nullptr) recorder->SetRunner(&runner);
  const absl::Cleanup release = [recorder] {
    if (recorder != nullptr) recorder->SetRunner(nullptr);
  };
  return guest->Run(runner);
}

absl::Status RunMachine(fake::SimulatedHost& host, pci::Bdf device,
                        Transcript& transcript, DeviceFacts& facts,
                        RunRecorder* recorder) {
  kernel::Syscalls* const syscalls =
      recorder == nullptr ? &host.kernel() : recorder->syscalls();
  PASSTHRU_ASSIGN_OR_RETURN(
      auto machine,
      Machine::Create({.syscalls = syscalls, .ram_size = kRamSize}));
  // RegressionBench runs the loop. Stop() may leave one wake-up in it.
  machine->loop().Stop();
  if (const auto woken = machine->loop().RunOnce(0); !woken.ok()) {
    return woken.status();
  }
  PASSTHRU_ASSIGN_OR_RETURN(
      auto devices, DeviceManager::Create(machine.get(), {.intx = true}));
  RegressionBench bench(&host, machine.get(), &transcript, &facts);
  if (recorder != nullptr) {
    transcript.SetListener([recorder, &bench](std::string_view title) {
      recorder->Begin(title, bench.has_device() ? &bench.device() : nullptr);
    });
  }
  const absl::Cleanup forget = [&transcript] {
    transcript.SetListener(nullptr);
  };

  transcript.Begin("Attach");
  PASSTHRU_ASSIGN_OR_RETURN(const auto guest, devices->Attach(device));
  bench.SetDevice(device, guest, devices->Find(guest));
  PASSTHRU_RETURN_IF_ERROR(RunGuest(host, *machine, bench, recorder));
  if (recorder != nullptr) recorder->AddDevice(device, guest, bench.device());
  transcript.Begin("Detach");
  bench.ReleaseDevice();
  absl::Status detached = devices->Detach(guest);
  transcript.EndMeasurement();
  return detached;
}

}  // namespace

absl::StatusOr<RegressionResult> RunRegression(
    const RegressionOptions& options) {
  PASSTHRU_ASSIGN_OR_RETURN(auto fixture,
                            fixture::LoadFixture(options.fixture));
  fixture.clear_model();
  PASSTHRU_ASSIGN_OR_RETURN(const auto device, pci::Bdf::Parse(fixture.bdf()));

  fake::SimulatedHost host(HostOptions(options.kernel));
  PASSTHRU_RETURN_IF_ERROR(host.vfio().AddDevice(fixture));
  options.prepare(host);
  const fake::ResourceSnapshot before = host.kernel().Resources();
  Transcript transcript(&host.kernel());
  transcript.Headline(absl::StrCat(fixture.name(), " on the simulated Linux ",
                                   fake::Name(options.kernel)));
  DeviceFacts facts;
  std::optional<RunRecorder> recorder;
  if (options.timeline != nullptr) recorder.emplace(&host, options.timeline);
  if (absl::Status status =
          RunMachine(host, device, transcript, facts,
                     recorder.has_value() ? &*recorder : nullptr);
      !status.ok()) {
    transcript.Problem(status.ToString());
  }
  transcript.Begin("Left behind");
  transcript.DropMeasurement();
  const fake::LeakReport report = host.kernel().CheckLeaks(before);
  if (report.empty()) transcript.Line("nothing");
  for (const std::string& leak : report.leaks) transcript.Problem(leak);
  for (const std::string& violation : host.invariants().Take()) {
    transcript.Problem(violation);
  }
  std::string text = transcript.Finish();
  facts.exits = transcript.exits();
  facts.kernel_calls = transcript.kernel_calls();
  RunReport run;
  if (recorder.has_value()) {
    recorder->End();
    run = std::move(recorder->report());
    run.mutable_source()->set_kernel(
        absl::StrCat("Linux ", fake::Name(options.kernel)));
    for (const std::string& problem : transcript.problems()) {
      run.add_problems(problem);
    }
    for (const std::string& leak : report.leaks) {
      run.mutable_teardown()->add_leftovers(leak);
    }
    run.mutable_teardown();
    run.set_transcript(text);
    for (Passthrough& one : *run.mutable_devices()) {
      one.mutable_device()->set_fixture(options.fixture);
      one.mutable_device()->set_iommu_group(fixture.iommu_group().number());
    }
  }
  return RegressionResult{.transcript = std::move(text),
                          .problems = transcript.problems(),
                          .facts = std::move(facts),
                          .report = std::move(run)};
}

}  // namespace passthru::vmm
