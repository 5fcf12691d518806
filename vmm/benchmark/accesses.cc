// SPDX-License-Identifier: Apache-2.0
#include <linux/kvm.h>

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/log/check.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/types/span.h"
#include "passthru/allocator/address_allocator.h"
#include "passthru/devices/bus/bus.h"
#include "passthru/devices/bus/bus_device.h"
#include "passthru/devices/interrupts/gsi_router.h"
#include "passthru/devices/interrupts/host_vectors.h"
#include "passthru/devices/interrupts/interrupt_controller.h"
#include "passthru/devices/interrupts/msix_vector_group.h"
#include "passthru/devices/interrupts/routing_entries.h"
#include "passthru/devices/interrupts/routing_table.h"
#include "passthru/devices/kernel/epoll_event_loop.h"
#include "passthru/devices/kernel/failure_log.h"
#include "passthru/devices/kernel/linux_syscalls.h"
#include "passthru/pci/msi_message.h"
#include "passthru/pci/vector_index.h"
#include "passthru/vmm/benchmark/measure.h"
#include "passthru/vmm/benchmark/sections.h"

namespace passthru::benchmark {
namespace {

class NullDevice final : public bus::BusDevice {
 public:
  std::string_view name() const override { return "null"; }
  absl::Status Read(uint64_t, absl::Span<uint8_t>) override {
    return absl::OkStatus();
  }
  absl::Status Write(uint64_t, absl::Span<const uint8_t>) override {
    return absl::OkStatus();
  }
};

void PrintBusLookup() {
  Rows rows = {{"ranges", "ns", "beside 10"}};
  double first = 0;
  for (const uint64_t ranges : {10, 100, 1000, 10'000}) {
    bus::Bus bus("memory");
    const auto device = std::make_shared<NullDevice>();
    for (uint64_t i = 0; i < ranges; ++i) {
      CHECK_OK(bus.Add(i << 12, 0x800, device, 0).status());
    }
    std::array<uint8_t, 4> data = {};
    uint64_t next = 0;
    const double took = NanosecondsEach([&] {
      bus.Read(next << 12, absl::MakeSpan(data));
      next = (next + 7919) % ranges;
    });
    if (first == 0) first = took;
    rows.push_back({absl::StrCat(ranges), absl::StrFormat("%.0f", took),
                    absl::StrFormat("%.2f", took / first)});
  }
  PrintTable("Bus: a read that finds its device among N ranges",
             "The ranges are visited in an order that no cache likes.", rows);
}

void PrintAllocator() {
  Rows rows = {{"ranges", "ns for release and allocation", "beside 100"}};
  double first = 0;
  for (const uint64_t ranges : {100, 10'000, 100'000}) {
    auto allocator = *allocator::AddressAllocator::Create(
        0, uint64_t{1} << 40, "the benchmark's window");
    std::vector<allocator::AddressAllocation> live;
    for (uint64_t i = 0; i < ranges; ++i) {
      live.push_back(*allocator->Allocate(uint64_t{4096} << i % 5));
    }
    uint64_t next = 0;
    const double took = NanosecondsEach([&] {
      const uint64_t size = live[next].size();
      live[next].Release();
      live[next] = *allocator->Allocate(size);
      next = (next + 7919) % ranges;
    });
    if (first == 0) first = took;
    rows.push_back({absl::StrCat(ranges), absl::StrFormat("%.0f", took),
                    absl::StrFormat("%.2f", took / first)});
  }
  PrintTable("Address allocator: one of N live ranges goes and comes again",
             "Ranges of 4 to 64 KiB, each aligned to its size.", rows);
}

// A kernel's side of interrupts that counts calls and does nothing.
class IdleKernel final : public interrupts::InterruptController,
                         public interrupts::RoutingTable,
                         public interrupts::HostVectors {
 public:
  absl::Status AssignIrqfd(int, allocator::Gsi) override { return Called(); }
  absl::Status AssignResampleIrqfd(int, int, allocator::Gsi) override {
    return Called();
  }
  absl::Status DeassignIrqfd(int, allocator::Gsi) override { return Called(); }
  absl::Status SignalMsi(const pci::MsiMessage&) override { return Called(); }
  absl::Status SetGsiRouting(absl::Span<const kvm_irq_routing_entry>) override {
    return Called();
  }
  uint32_t count() const override { return 64; }
  bool dynamic() const override { return true; }
  absl::StatusOr<uint32_t> Set(uint32_t,
                               absl::Span<const int> event_fds) override {
    if (!event_fds.empty()) event_fd_ = event_fds.front();
    ++calls_;
    return 0;
  }
  absl::Status Disable() override { return Called(); }

  uint64_t calls() const { return calls_; }
  // The eventfd of the vector that was armed last.
  int event_fd() const { return event_fd_; }

 private:
  absl::Status Called() {
    ++calls_;
    return absl::OkStatus();
  }

  uint64_t calls_ = 0;
  int event_fd_ = -1;
};

void PrintVectorWrites() {
  const pci::MsiMessage one{.address = 0xfee00000, .data = 0x41};
  const pci::MsiMessage other{.address = 0xfee00000, .data = 0x42};
  constexpr pci::VectorIndex kVector(0);
  IdleKernel kernel;
  kernel::LinuxSyscalls linux_kernel;
  kernel::FailureLog failures("device");
  const auto loop = *kernel::EpollEventLoop::Create(&linux_kernel);
  const auto router = *interrupts::GsiRouter::Create(
      {.table = &kernel, .base_routes = interrupts::DefaultIrqchipRoutes()});
  interrupts::MsixVectorGroup group({.vectors = 64,
                                     .syscalls = &linux_kernel,
                                     .host = &kernel,
                                     .router = router.get(),
                                     .controller = &kernel,
                                     .loop = loop.get(),
                                     .failures = &failures,
                                     .name = "MSI-X"});
  CHECK_OK(group.Enable(64, /*function_masked=*/false));
  group.SetVector(kVector, one, /*masked=*/false);
  CHECK_OK(router->Commit());

  Rows rows = {{"", "ns", "allocations", "kernel calls"}};
  const auto add = [&](std::string_view what, auto write) {
    write();  // The first one may arm the vector.
    const uint64_t before = kernel.calls();
    write();
    const uint64_t calls = kernel.calls() - before;
    rows.push_back(
        {std::string(what), absl::StrFormat("%.0f", NanosecondsEach(write)),
         absl::StrFormat("%.0f", AllocationsEach(write)), absl::StrCat(calls)});
  };
  add("written as it is", [&] { group.SetVector(kVector, one, false); });
  // The route of this message is committed, so an irqfd delivers.
  add("masked and unmasked", [&] {
    group.SetVector(kVector, one, true);
    group.SetVector(kVector, one, false);
  });
  group.SetVector(kVector, one, true);
  bool toggle = false;
  add("another message, while masked", [&] {
    toggle = !toggle;
    group.SetVector(kVector, toggle ? other : one, true);
  });
  PrintTable("An entry of the MSI-X table, behind the trap",
             "The kernel calls are counted and left out of the times.", rows);
}

}  // namespace

void PrintAccesses() {
  PrintGuestAccesses();
  PrintBusLookup();
  PrintAllocator();
  PrintVectorWrites();
}

}  // namespace passthru::benchmark
