// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/benchmark/interrupt_costs.h"

#include <linux/kvm.h>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <memory>

#include "absl/log/check.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "passthru/devices/interrupts/gsi_router.h"
#include "passthru/devices/interrupts/msix_vector_group.h"
#include "passthru/devices/interrupts/routing_entries.h"
#include "passthru/devices/interrupts/routing_table.h"
#include "passthru/devices/kernel/epoll_event_loop.h"
#include "passthru/devices/kernel/failure_log.h"
#include "passthru/devices/kernel/forwarding_syscalls.h"
#include "passthru/pci/msi_message.h"
#include "passthru/pci/vector_index.h"
#include "passthru/testing/rig/interrupt_rig.h"

namespace passthru::benchmark {
namespace {

// The entries of PIC and IOAPIC, which every table of the VM has.
constexpr uint64_t kBaseRoutes = 40;

// Counts the reads of eventfds that found a count.
class EventFdReads final : public kernel::ForwardingSyscalls {
 public:
  using ForwardingSyscalls::ForwardingSyscalls;

  kernel::SyscallResult<size_t> Read(int fd, void* buffer,
                                     size_t count) override {
    const auto result = ForwardingSyscalls::Read(fd, buffer, count);
    if (result.ok() && result.value == sizeof(uint64_t)) ++reads_;
    return result;
  }

  uint64_t reads() const { return reads_; }

 private:
  uint64_t reads_ = 0;
};

// Remembers the largest table.
class MeasuredTable final : public interrupts::RoutingTable {
 public:
  explicit MeasuredTable(interrupts::RoutingTable* table) : table_(table) {}

  absl::Status SetGsiRouting(
      absl::Span<const kvm_irq_routing_entry> entries) override {
    largest_ = std::max<uint64_t>(largest_, entries.size());
    return table_->SetGsiRouting(entries);
  }

  uint64_t largest() const { return largest_; }

 private:
  interrupts::RoutingTable* const table_;
  uint64_t largest_ = 0;
};

// A device, the VM's interrupts, and the guest's bring-up.
class BringUp {
 public:
  explicit BringUp(uint16_t vectors)
      : vectors_(vectors),
        rig_({.vectors = vectors, .check_invariants = false}),
        loop_(*kernel::EpollEventLoop::Create(&syscalls_)),
        router_(*interrupts::GsiRouter::Create(
            {.table = &table_,
             .base_routes = interrupts::DefaultIrqchipRoutes()})),
        group_(interrupts::MsixVectorGroup::Options{.vectors = vectors,
                                                    .syscalls = &syscalls_,
                                                    .host = &rig_,
                                                    .router = router_.get(),
                                                    .controller = &rig_,
                                                    .loop = loop_.get(),
                                                    .failures = &failures_,
                                                    .name = "MSI-X"}) {}

  void Run(Trace trace) {
    CHECK_OK(group_.Enable(vectors_, /*function_masked=*/true));
    for (uint16_t i = 0; i < vectors_; ++i) Set(i, 0, /*masked=*/true);
    group_.SetFunctionMask(false);
    for (uint16_t i = 0; i < vectors_; ++i) {
      Set(i, 1, /*masked=*/true);
      Set(i, 1, /*masked=*/false);
      if (trace == Trace::kOneByOne) Fire(i);
    }
    if (trace != Trace::kAllThenFire) return;
    for (uint16_t i = 0; i < vectors_; ++i) Fire(i);
  }

  InterruptCosts Costs() const {
    const interrupts::MsixVectorGroupStats group = group_.stats();
    const interrupts::GsiRouterStats router = router_->stats();
    CHECK_EQ(rig_.lost(), 0u);
    return {.set_gsi_routing = router.routing_calls,
            .irqfd = group.irqfd_assigns + group.irqfd_deassigns,
            .set_irqs = group.set_irqs_calls,
            .signal_msi = group.user_space_signals,
            .eventfd_reads = syscalls_.reads(),
            .entries = router.entries_copied,
            .largest_table = table_.largest()};
  }

 private:
  void Set(uint16_t vector, uint32_t destination, bool masked) {
    group_.SetVector(pci::VectorIndex(vector),
                     {.address = 0xfee00000 | destination << 12,
                      .data = 0x4000 | (32u + vector % 200u)},
                     masked);
  }
  void Fire(uint16_t vector) {
    CHECK(rig_.Fire(vector));
    for (;;) {
      const absl::StatusOr<int> ran = loop_->RunOnce(0);
      CHECK_OK(ran);
      if (*ran == 0) return;
    }
  }

  const uint16_t vectors_;
  fake::InterruptRig rig_;
  EventFdReads syscalls_{rig_.syscalls()};
  kernel::FailureLog failures_{"device"};
  MeasuredTable table_{&rig_};
  std::unique_ptr<kernel::EpollEventLoop> loop_;
  std::unique_ptr<interrupts::GsiRouter> router_;
  interrupts::MsixVectorGroup group_;
};

}  // namespace

InterruptCosts CountBringUp(uint16_t vectors, Trace trace) {
  BringUp bring_up(vectors);
  bring_up.Run(trace);
  return bring_up.Costs();
}

uint64_t Goal(uint16_t vectors, Trace trace) {
  const uint64_t n = vectors;
  switch (trace) {
    case Trace::kAllThenFire:
      return n + 3;
    case Trace::kOneByOne:
      return n + 2 * static_cast<uint64_t>(std::bit_width(n) - 1) + 4;
    case Trace::kNoneFires:
      break;
  }
  return 3;
}

std::array<PeerCosts, 5> PeersBringUp(uint16_t vectors) {
  const uint64_t n = vectors;
  // A table that grows by one entry from call to call.
  const uint64_t growing = n * kBaseRoutes + n * (n + 1) / 2;
  return {{
      {"QEMU", n, n, n + 1, growing},
      // On a host that cannot add vectors while MSI-X is enabled (before Linux
      // 6.5, or without interrupt remapping), QEMU enables it anew each time.
      {"QEMU, NORESIZE", n, n, 2 * n + 1, growing},
      {"Cloud Hypervisor", n, n, 1, growing},
      {"crosvm", n, n, n + 3, growing},
      // It has an entry for each of the table's vectors from the function mask
      // on, and sets the whole table again for each message that changes.
      {"kvmtool", 2 * n, n, 2, growing + n * (kBaseRoutes + n)},
  }};
}

}  // namespace passthru::benchmark
