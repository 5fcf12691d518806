// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <linux/kvm.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <functional>
#include <iostream>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/log/check.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_format.h"
#include "absl/types/span.h"
#include "passthru/allocator/gsi.h"
#include "passthru/devices/interrupts/gsi_router.h"
#include "passthru/devices/interrupts/host_vectors.h"
#include "passthru/devices/interrupts/msi_router.h"
#include "passthru/devices/interrupts/msix_vector_group.h"
#include "passthru/devices/interrupts/routing_entries.h"
#include "passthru/devices/kernel/event_fd.h"
#include "passthru/devices/kernel/failure_log.h"
#include "passthru/devices/kernel/linux_syscalls.h"
#include "passthru/pci/msi_message.h"
#include "passthru/pci/vector_index.h"
#include "passthru/testing/guest/guest_cpu.h"
#include "passthru/vmm/benchmark/measure.h"
#include "passthru/vmm/benchmark/sections.h"
#include "passthru/vmm/guest/guest_run.h"
#include "passthru/vmm/guest_layout.h"
#include "passthru/vmm/machine.h"
#include "passthru/vmm/vcpu_runner.h"

namespace passthru::benchmark {
namespace {

constexpr pci::VectorIndex kOnly(0);
constexpr pci::MsiMessage kMessage{.address = 0xfee00000, .data = 0x41};

// A device of one vector whose interrupts are this program's writes to its
// eventfd, because there is no VFIO device.
class WrittenVector final : public interrupts::HostVectors {
 public:
  uint32_t count() const override { return 1; }
  bool dynamic() const override { return true; }
  absl::StatusOr<uint32_t> Set(uint32_t,
                               absl::Span<const int> event_fds) override {
    fd_ = event_fds.front();
    return 0;
  }
  absl::Status Disable() override { return absl::OkStatus(); }

  void Fire() {
    const uint64_t one = 1;
    CHECK(syscalls_.Write(fd_, &one, sizeof(one)).ok());
  }

 private:
  kernel::LinuxSyscalls syscalls_;
  int fd_ = -1;
};

// Never commits by itself, so that user space delivers every interrupt.
class NeverCommits final : public interrupts::MsiRouter {
 public:
  explicit NeverCommits(interrupts::MsiRouter* router) : router_(*router) {}
  absl::StatusOr<allocator::Gsi> Allocate() override {
    return router_.Allocate();
  }
  void Release(allocator::Gsi gsi) override { router_.Release(gsi); }
  absl::Status Stage(allocator::Gsi gsi,
                     const pci::MsiMessage& message) override {
    return router_.Stage(gsi, message);
  }
  bool IsCommitted(allocator::Gsi, const pci::MsiMessage&) const override {
    return false;
  }
  absl::Status Commit() override { return absl::OkStatus(); }
  absl::StatusOr<bool> OnUserSpaceDelivery(allocator::Gsi) override {
    return false;
  }

 private:
  interrupts::MsiRouter& router_;
};

// A vector group of the library, enabled and with its vector unmasked.
class OurVector {
 public:
  OurVector(vmm::Machine& machine, interrupts::MsiRouter* router)
      : group_({.vectors = 1,
                .syscalls = machine.syscalls(),
                .host = &host_,
                .router = router,
                .controller = &machine.vm(),
                .loop = &machine.loop(),
                .failures = &failures_,
                .name = "MSI-X"}) {
    CHECK_OK(group_.Enable(1, /*function_masked=*/false));
    SetMasked(false);
  }
  void SetMasked(bool masked) { group_.SetVector(kOnly, kMessage, masked); }
  void Fire() { host_.Fire(); }
  interrupts::VectorState state() const { return group_.state(kOnly); }

 private:
  WrittenVector host_;
  kernel::FailureLog failures_{"device"};
  interrupts::MsixVectorGroup group_;
};

// Returns the shortest and the median time, in nanoseconds, from `fire` until
// the guest has taken the interrupt and the agent has told of it.
struct RoundTrip {
  double best = 0;
  double median = 0;
};
RoundTrip TimeInterrupts(guest::GuestCpu& cpu,
                         const std::function<void()>& fire) {
  constexpr size_t kTimes = 2000;
  std::vector<double> took;
  for (size_t i = 0; i < kTimes; ++i) {
    const auto start = std::chrono::steady_clock::now();
    fire();
    if (!cpu.WaitForInterrupt().has_value()) break;
    const std::chrono::duration<double, std::nano> each =
        std::chrono::steady_clock::now() - start;
    took.push_back(each.count());
  }
  CHECK_EQ(took.size(), kTimes) << "an interrupt did not come";
  std::sort(took.begin(), took.end());
  return {.best = took.front(), .median = took[took.size() / 2]};
}

void AddMasking(vmm::Machine& machine, Rows& rows) {
  const auto event = *kernel::EventFd::Create(machine.syscalls());
  const allocator::Gsi gsi = *machine.router().Allocate();
  CHECK_OK(machine.router().Stage(gsi, kMessage));
  CHECK_OK(machine.router().Commit());
  CHECK_OK(machine.vm().AssignIrqfd(event.fd(), gsi));
  const double plain = NanosecondsEach([&] {
    CHECK_OK(machine.vm().DeassignIrqfd(event.fd(), gsi));
    CHECK_OK(machine.vm().AssignIrqfd(event.fd(), gsi));
  });
  const auto add = [&rows, plain](std::string_view what, double nanoseconds) {
    rows.push_back({std::string(what),
                    absl::StrFormat("%.1f", nanoseconds / 1e3),
                    absl::StrFormat("%.2f", nanoseconds / plain)});
  };
  add("plain: KVM_IRQFD off and on", plain);
  OurVector ours(machine, &machine.router());
  CHECK_OK(machine.router().Commit());
  ours.SetMasked(true);
  ours.SetMasked(false);
  CHECK(ours.state() == interrupts::VectorState::kActive);
  add("ours: a vector masked and unmasked", NanosecondsEach([&ours] {
        ours.SetMasked(true);
        ours.SetMasked(false);
      }));
  for (const uint32_t vectors : {1u, 64u, 2048u}) {
    std::vector<kvm_irq_routing_entry> table = machine.vm().BaseRoutes();
    for (uint32_t i = 0; i < vectors; ++i) {
      table.push_back(interrupts::MsiRoutingEntry(
          allocator::Gsi(interrupts::kFirstMsiGsi.value() + i), kMessage));
    }
    add(absl::StrFormat("KVM_SET_GSI_ROUTING with %d vectors", vectors),
        NanosecondsEach([&] { CHECK_OK(machine.vm().SetGsiRouting(table)); }));
  }
  CHECK_OK(machine.vm().DeassignIrqfd(event.fd(), gsi));
  machine.router().Release(gsi);
}

absl::Status AddLatencies(vmm::Machine& machine, guest::GuestCpu& cpu,
                          Rows& rows) {
  // The agent's first instructions enable the local APIC.
  cpu.In(vmm::kPciConfigPort, 4);
  auto event = *kernel::EventFd::Create(machine.syscalls());
  const allocator::Gsi gsi = *machine.router().Allocate();
  CHECK_OK(machine.router().Stage(gsi, kMessage));
  CHECK_OK(machine.router().Commit());
  CHECK_OK(machine.vm().AssignIrqfd(event.fd(), gsi));
  const RoundTrip plain =
      TimeInterrupts(cpu, [&event] { CHECK_OK(event.Signal()); });
  CHECK_OK(machine.vm().DeassignIrqfd(event.fd(), gsi));
  machine.router().Release(gsi);
  const auto add = [&](std::string_view what, const RoundTrip& trip) {
    rows.push_back({std::string(what), absl::StrFormat("%.1f", trip.best / 1e3),
                    absl::StrFormat("%.2f", trip.best / plain.best),
                    absl::StrFormat("%.1f", trip.median / 1e3),
                    absl::StrFormat("%.2f", trip.median / plain.median)});
  };
  add("plain: eventfd, irqfd, route", plain);
  {
    OurVector active(machine, &machine.router());
    CHECK_OK(machine.router().Commit());
    active.SetMasked(true);
    active.SetMasked(false);
    CHECK(active.state() == interrupts::VectorState::kActive);
    add("ours, with a committed route",
        TimeInterrupts(cpu, [&active] { active.Fire(); }));
  }
  NeverCommits never(&machine.router());
  OurVector watched(machine, &never);
  CHECK(watched.state() == interrupts::VectorState::kWatched);
  add("ours, the first of a vector (by the event loop)",
      TimeInterrupts(cpu, [&watched] { watched.Fire(); }));
  return absl::OkStatus();
}

}  // namespace

void PrintRealKvm() {
  kernel::LinuxSyscalls linux_kernel;
  const auto opened = linux_kernel.Open("/dev/kvm", O_RDWR | O_CLOEXEC);
  if (!opened.ok()) {
    std::cout << "\nInterrupts on this machine's KVM\n  SKIPPED: /dev/kvm: "
              << std::strerror(opened.error) << "\n";
    return;
  }
  linux_kernel.Close(opened.value);
  const auto machine = *vmm::Machine::Create({.syscalls = &linux_kernel});
  Rows masking = {{"", "us", "beside plain"}};
  AddMasking(*machine, masking);
  Rows latency = {
      {"", "best, us", "beside plain", "median, us", "beside plain"}};
  vmm::VcpuRunner runner({.vcpu = &machine->vcpu(0),
                          .mmio = &machine->mmio(),
                          .pio = &machine->pio()});
  const auto run = *vmm::GuestRun::Create(
      machine.get(), /*simulated=*/nullptr, [&](guest::GuestCpu& cpu) {
        return AddLatencies(*machine, cpu, latency);
      });
  CHECK_OK(run->Run(runner));
  PrintTable("Interrupts on this machine's KVM: from the eventfd to the guest",
             "The time to the guest's handler, and back to the program by an "
             "exit, which all have in common.",
             latency);
  PrintTable("Masking on this machine's KVM",
             "What a VMM pays that changes the table for each mask instead.",
             masking);
}

}  // namespace passthru::benchmark
