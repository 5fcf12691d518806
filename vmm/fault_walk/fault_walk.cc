// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/fault_walk/fault_walk.h"

#include <cerrno>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/log/check.h"
#include "absl/log/log_entry.h"
#include "absl/log/log_sink.h"
#include "absl/log/log_sink_registry.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/synchronization/mutex.h"
#include "passthru/devices/kernel/status_macros.h"
#include "passthru/devices/vfio_pci/device_report.h"
#include "passthru/devices/vfio_pci/vfio_pci_device.h"
#include "passthru/pci/bdf.h"
#include "passthru/testing/guest/guest_cpu.h"
#include "passthru/testing/host/simulated_host.h"
#include "passthru/testing/journal/journal.h"
#include "passthru/testing/kernel/leak_check.h"
#include "passthru/testing/models/device_platform.h"
#include "passthru/vmm/device_manager.h"
#include "passthru/vmm/fault_walk/impatient_cpu.h"
#include "passthru/vmm/fault_walk/planned_fault.h"
#include "passthru/vmm/fault_walk/walk_guest.h"
#include "passthru/vmm/machine.h"
#include "passthru/vmm/vcpu_runner.h"

namespace passthru::vmm {
namespace {

constexpr char kNvme[] = "testing/fixtures/nvme.textproto";
constexpr char kEdu[] = "testing/fixtures/edu.textproto";
constexpr pci::Bdf kSubject(0, 1, 0, 0);
constexpr pci::Bdf kBystander(0, 2, 0, 0);
constexpr uint64_t kRamSize = uint64_t{16} << 20;

// The warnings and errors that this process logs.
class LogLines final : public absl::LogSink {
 public:
  LogLines() { absl::AddLogSink(this); }
  ~LogLines() override { absl::RemoveLogSink(this); }

  void Send(const absl::LogEntry& entry) override {
    if (entry.log_severity() < absl::LogSeverity::kWarning) return;
    absl::MutexLock lock(&mutex_);
    lines_.emplace_back(entry.text_message());
  }
  std::vector<std::string> Take() {
    absl::MutexLock lock(&mutex_);
    return std::exchange(lines_, {});
  }

 private:
  absl::Mutex mutex_;
  std::vector<std::string> lines_ ABSL_GUARDED_BY(mutex_);
};

class Walk {
 public:
  explicit Walk(const WalkPlan& plan)
      : plan_(plan),
        fault_({.call = plan.call,
                .choice = plan.choice,
                .for_good = plan.for_good}),
        host_(
            {.kernel = {.version = plan.kernel}, .enforce_invariants = false}) {
    AddDevice(kNvme, kSubject, plan.one_group ? 2 : 1);
    AddDevice(kEdu, kBystander, 2);
    kernel().journal().set_keep_entries(false);
  }

  WalkResult Run() {
    switch (plan_.scenario) {
      case WalkPlan::Scenario::kMachine:
        RunMachine();
        break;
      case WalkPlan::Scenario::kDevice:
        RunDevice();
        break;
    }
    host_.invariants().CheckNothingLeft();
    for (std::string& violation : host_.invariants().Take()) {
      Problem("invariant", violation);
    }
    CheckExplained();
    return Result();
  }

 private:
  fake::FakeKernel& kernel() { return host_.kernel(); }

  void AddDevice(const char* fixture, pci::Bdf bdf, uint32_t group) {
    fake::DeviceOptions options;
    options.bdf = bdf;
    options.group = group;
    CHECK_OK(host_.AddFixture(fixture, std::move(options)));
  }

  void Problem(std::string_view what, std::string_view detail = "") {
    problems_.push_back(absl::StrCat(what, detail.empty() ? "" : ": ", detail));
  }
  void AddProblemsOf(WalkGuest& guest) {
    for (const std::string& problem : guest.TakeProblems()) Problem(problem);
  }
  // Takes a status that may be an error only after the injected failure.
  void Told(std::string_view what, const absl::Status& status) {
    if (status.ok()) return;
    told_.push_back(std::string(status.message()));
    if (!fault_.injected()) Problem(what, status.message());
  }
  void Expect(bool condition, std::string_view what) {
    if (!condition) Problem(what);
  }
  void ExpectNoLeaks(const fake::ResourceSnapshot& before,
                     std::string_view when) {
    // A route that the VMM could not remove from the table has no effect, and
    // the next commit removes it.
    const bool stale_routes = fault_.call().name == "KVM_SET_GSI_ROUTING";
    for (const std::string& leak : kernel().CheckLeaks(before).leaks) {
      if (stale_routes && absl::StrContains(leak, "route of GSI")) continue;
      Problem(absl::StrCat("left ", when), leak);
    }
  }

  // --- The machine itself.

  void RunMachine() {
    fault_.Arm(kernel());
    absl::Status status = CreateMachine();
    if (status.ok()) {
      const auto attached = devices_->Attach(kBystander);
      status = attached.status();
      if (attached.ok()) {
        Told("detach", devices_->Detach(*attached));
      }
    }
    Told("creation", status);
    refused_ = !status.ok();
    devices_.reset();
    machine_.reset();
    PlannedFault::Disarm(kernel());
  }

  absl::Status CreateMachine() {
    PASSTHRU_ASSIGN_OR_RETURN(
        machine_,
        Machine::Create({.syscalls = &kernel(), .ram_size = kRamSize}));
    PASSTHRU_ASSIGN_OR_RETURN(devices_, DeviceManager::Create(machine_.get()));
    return absl::OkStatus();
  }

  // --- Two devices.

  void RunDevice() {
    CHECK_OK(CreateMachine());
    const auto bystander = devices_->Attach(kBystander);
    CHECK_OK(bystander);
    bystander_ = *bystander;
    kernel().kvm().SetGuestProgram(
        0, [this](guest::GuestCpu& cpu) { return RunGuest(cpu); });
    VcpuRunner runner({
        .vcpu = &machine_->vcpu(0),
        .mmio = &machine_->mmio(),
        .pio = &machine_->pio(),
        .on_memory_fault = [this] { devices_->OnMemoryFault(); },
    });
    if (absl::Status status = runner.Run(); !status.ok()) {
      Problem("the vCPU stopped", status.message());
    }
    const auto guest = kernel().kvm().GuestStatus(0);
    if (!guest.has_value()) {
      Problem("the guest did not come to its end");
    } else if (!guest->ok()) {
      Problem("the rest of the guest", guest->message());
    }
    PlannedFault::Disarm(kernel());
    if (absl::Status status = devices_->Detach(bystander_); !status.ok()) {
      Problem("detaching the bystander", status.message());
    }
    devices_.reset();
    machine_.reset();
  }

  // Runs on the guest's thread. Returns an error only for failures that are not
  // the subject's.
  absl::Status RunGuest(guest::GuestCpu& real_cpu) {
    ImpatientCpu cpu(&real_cpu, &kernel().kvm(), &fault_);
    WalkGuest guest(&cpu, kRamSize, [this](uint16_t vector) { Raise(vector); });
    PASSTHRU_RETURN_IF_ERROR(guest.StartBystander(bystander_));
    PASSTHRU_RETURN_IF_ERROR(guest.UseBystander());

    // The bystander's interrupts have their routes by now.
    with_bystander_ = kernel().Resources();
    fault_.Arm(kernel());
    const auto subject = devices_->Attach(kSubject);
    Told("attach", subject.status());
    refused_ = !subject.ok();
    if (subject.ok()) {
      host_.invariants().CheckAtRest();
      cpu.set_may_lose_interrupts(true);
      driver_ = guest.RunSubject(*subject);
      cpu.set_may_lose_interrupts(false);
      AddProblemsOf(guest);
      if (!driver_.ok() && (!fault_.injected() || fault_.IsOptional())) {
        Problem("the subject's driver", driver_.message());
      }
      Expect(driver_.code() != absl::StatusCode::kDataLoss,
             absl::StrCat("data is lost: ", driver_.message()));
      Look(*subject);
      PASSTHRU_RETURN_IF_ERROR(guest.UseBystander());
      const bool before = fault_.injected();
      detached_ = devices_->Detach(*subject);
      Told("unplug", detached_);
      in_teardown_ = !before && fault_.injected();
      CheckUnplugged(guest, *subject);
    }
    PlannedFault::Disarm(kernel());
    // If calls went on failing, the VMM may still hold resources, which it
    // releases at the next change.
    if (!plan_.for_good) ExpectNoLeaks(with_bystander_, "of the subject");
    Expect(devices_->Devices() == std::vector<pci::Bdf>{bystander_},
           "the list of devices is not as before");
    host_.invariants().CheckAtRest();
    PASSTHRU_RETURN_IF_ERROR(guest.UseBystander());
    if (fault_.injected()) {
      // Only that attempt may have failed, and the next one must succeed.
      const auto again = devices_->Attach(kSubject);
      if (!again.ok()) return again.status();
      PASSTHRU_RETURN_IF_ERROR(devices_->Detach(*again));
      ExpectNoLeaks(with_bystander_, "of the subject, attached again");
    }
    return guest.ShutDownBystander();
  }

  // Makes the subject's hardware raise an interrupt.
  void Raise(uint16_t vector) {
    CHECK_OK(host_.vfio().WithHardware(
        kSubject, [vector](models::DevicePlatform& device) {
          device.RaiseMsix(vector);
        }));
  }

  // Reads the VMM's report on the subject.
  void Look(pci::Bdf subject) {
    const auto device = devices_->Find(subject);
    if (device == nullptr) {
      Problem("the subject cannot be found");
      return;
    }
    const vfio_pci::DeviceReport report = device->Describe();
    degraded_ = !report.degraded.empty();
    for (std::string& line : vfio_pci::ToLines(report)) {
      told_.push_back(absl::StrCat(report.name, ": ", line));
    }
  }

  // Checks that the unplugged subject is absent for the VMM and for the guest.
  void CheckUnplugged(WalkGuest& guest, pci::Bdf subject) {
    Expect(devices_->Find(subject) == nullptr, "the subject is still there");
    // If the unplug failed, KVM may still have memory slots over the device's
    // memory, so the guest must not access it.
    guest.CheckUnplugged(subject,
                         /*check_bars=*/!plan_.for_good || detached_.ok());
    AddProblemsOf(guest);
  }

  // Checks that a status, the log or the device's report mentions the failure.
  void CheckExplained() {
    for (std::string& line : log_.Take()) told_.push_back(std::move(line));
    for (const std::string& name : fault_.unknown()) {
      Problem("no row in testing/journal/linux_errnos.cc for", name);
    }
    // The VMM repeats a call that a signal interrupted.
    if (!fault_.injected() || fault_.error() == EINTR) return;
    const std::string device = plan_.scenario == WalkPlan::Scenario::kDevice
                                   ? kSubject.ToString()
                                   : "";
    for (const std::string& text : told_) {
      if (fault_.IsToldBy(text, device)) return;
    }
    Problem("no message mentions the failure, the messages are",
            told_.empty() ? "none" : absl::StrJoin(told_, "\n    "));
  }

  WalkResult Result() {
    WalkResult result{.problems = std::move(problems_)};
    if (fault_.injected()) {
      result.fault =
          journal::JournalEntry{.call = fault_.call(), .error = fault_.error()}
              .ToString();
    }
    result.choices = fault_.choices();
    if (!fault_.injected()) {
      result.outcome = WalkOutcome::kNoSuchCall;
    } else if (refused_) {
      result.outcome = WalkOutcome::kRefused;
    } else if (!driver_.ok()) {
      result.outcome = WalkOutcome::kDead;
    } else if (degraded_) {
      result.outcome = WalkOutcome::kDegraded;
    } else if (in_teardown_) {
      result.outcome = WalkOutcome::kTeardown;
    } else {
      result.outcome = WalkOutcome::kUnharmed;
    }
    return result;
  }

  const WalkPlan plan_;
  LogLines log_;
  PlannedFault fault_;
  fake::SimulatedHost host_;
  std::unique_ptr<Machine> machine_;
  std::unique_ptr<DeviceManager> devices_;
  pci::Bdf bystander_;
  fake::ResourceSnapshot with_bystander_;

  // What became of the subject.
  bool refused_ = false;
  bool degraded_ = false;
  bool in_teardown_ = false;
  absl::Status driver_;
  absl::Status detached_;

  std::vector<std::string> told_;
  std::vector<std::string> problems_;
};

}  // namespace

std::string_view Name(WalkOutcome outcome) {
  switch (outcome) {
    case WalkOutcome::kNoSuchCall:
      return "no such call";
    case WalkOutcome::kUnharmed:
      return "unharmed";
    case WalkOutcome::kRefused:
      return "attach refused";
    case WalkOutcome::kDegraded:
      return "device degraded";
    case WalkOutcome::kDead:
      return "device dead";
    case WalkOutcome::kTeardown:
      return "unplug went through";
  }
  return "?";
}

WalkResult RunFaultWalk(const WalkPlan& plan) { return Walk(plan).Run(); }

}  // namespace passthru::vmm
