// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_DEVICES_INTERRUPTS_GSI_ROUTER_H_
#define PASSTHRU_DEVICES_INTERRUPTS_GSI_ROUTER_H_

#include <linux/kvm.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/btree_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "passthru/allocator/gsi.h"
#include "passthru/allocator/gsi_allocator.h"
#include "passthru/devices/interrupts/interrupt_controller.h"
#include "passthru/devices/interrupts/msi_router.h"
#include "passthru/devices/interrupts/routing_entries.h"
#include "passthru/pci/msi_message.h"

namespace passthru::interrupts {

// What a GsiRouter has done and holds.
struct GsiRouterStats {
  uint64_t routing_calls = 0;     // KVM_SET_GSI_ROUTING, failed ones included
  uint64_t entries_copied = 0;    // by those calls
  uint64_t failed_commits = 0;    // the kernel kept its old table
  uint64_t refused_messages = 0;  // not staged: no interrupt message
  uint64_t refused_routes = 0;    // Allocate() with a full table
  uint32_t routes = 0;            // allocated now
  uint32_t uncommitted = 0;       // of those, with a message that KVM lacks
  uint32_t table_size = 0;        // entries in the kernel's table

  friend bool operator==(const GsiRouterStats&,
                         const GsiRouterStats&) = default;
};

// The one GSI routing table of a VM. It holds the routes of the irqchips, which
// stay, and those of MSI messages, staged and committed.
//
// When to commit: a call copies the whole table, so one call per vector would
// copy O(N^2) entries. A commit happens, on an interrupt that went through user
// space for want of a route, when either
//  - at least as many routes wait as the kernel's table holds MSI routes: the
//    table then doubles, so N vectors that come one by one cost O(log N) calls
//    and O(N) entries; or
//  - vectors that were already given that chance once have gone through user
//    space so often since the last commit that the calls saved pay for the
//    entries copied (kEntriesPerDelivery).
// After a failure, twice as many routes must wait, or the deliveries be paid
// again, before it is tried anew.
//
// Thread-safe.
class GsiRouter final : public MsiRouter {
 public:
  // Delivering from user space (a wake-up, a read, KVM_SIGNAL_MSI) costs about
  // as much as copying this many entries within KVM_SET_GSI_ROUTING: some
  // 3 us against 0.3 us an entry.
  static constexpr uint32_t kEntriesPerDelivery = 8;

  struct Options {
    InterruptController* controller = nullptr;
    // What is in the table besides MSI routes, e.g. what an adopted VM has.
    std::vector<kvm_irq_routing_entry> base_routes = DefaultIrqchipRoutes();
    allocator::Gsi first_gsi = kFirstMsiGsi;
    // KVM_CAP_IRQ_ROUTING: the limit of entries, and of GSI numbers.
    uint32_t max_entries = 4096;
  };
  // kInvalidArgument when the base routes do not fit below first_gsi or into
  // the table.
  static absl::StatusOr<std::unique_ptr<GsiRouter>> Create(Options options);

  absl::StatusOr<allocator::Gsi> Allocate() override;
  void Release(allocator::Gsi gsi) override;
  absl::Status Stage(allocator::Gsi gsi,
                     const pci::MsiMessage& message) override;
  bool IsCommitted(allocator::Gsi gsi,
                   const pci::MsiMessage& message) const override;
  absl::StatusOr<bool> OnUserSpaceDelivery(allocator::Gsi gsi) override;
  absl::Status Commit() override;

  // How many more routes Allocate() can give.
  uint32_t available() const;
  GsiRouterStats stats() const;

 private:
  struct Route {
    // Empty for an entry that the kernel's table holds but nobody owns.
    allocator::GsiAllocation owner;
    std::optional<pci::MsiMessage> staged;
    std::optional<pci::MsiMessage> committed;
    // Delivered from user space since the message was staged.
    bool delivered = false;

    bool owned() const { return !owner.empty(); }
    bool dirty() const {
      return owned() && staged.has_value() && staged != committed;
    }
  };

  GsiRouter(Options options, std::unique_ptr<allocator::GsiAllocator> gsis);

  bool WorthCommitting() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status CommitLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  InterruptController* const controller_;
  const std::vector<kvm_irq_routing_entry> base_routes_;
  const uint32_t max_entries_;
  const std::unique_ptr<allocator::GsiAllocator> gsis_;

  mutable absl::Mutex mutex_;
  absl::btree_map<allocator::Gsi, Route> routes_ ABSL_GUARDED_BY(mutex_);
  uint32_t owned_ ABSL_GUARDED_BY(mutex_) = 0;
  uint32_t staged_ ABSL_GUARDED_BY(mutex_) = 0;     // owned, with a message
  uint32_t dirty_ ABSL_GUARDED_BY(mutex_) = 0;      // Route::dirty()
  uint32_t committed_ ABSL_GUARDED_BY(mutex_) = 0;  // in the kernel's table
  uint32_t stale_ ABSL_GUARDED_BY(mutex_) = 0;      // committed, not owned
  // Deliveries from user space since the last commit that an earlier commit
  // would have saved.
  uint64_t repeated_deliveries_ ABSL_GUARDED_BY(mutex_) = 0;
  uint32_t dirty_at_failure_ ABSL_GUARDED_BY(mutex_) = 0;
  GsiRouterStats stats_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace passthru::interrupts

#endif  // PASSTHRU_DEVICES_INTERRUPTS_GSI_ROUTER_H_
