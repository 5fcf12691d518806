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
#include "passthru/allocator/id_allocator.h"
#include "passthru/devices/interrupts/msi_router.h"
#include "passthru/devices/interrupts/routing_entries.h"
#include "passthru/devices/interrupts/routing_table.h"
#include "passthru/pci/msi_message.h"

namespace passthru::interrupts {

// What a GsiRouter has done so far and what it holds now.
struct GsiRouterStats {
  uint64_t routing_calls = 0;     // KVM_SET_GSI_ROUTING, failed ones included
  uint64_t entries_copied = 0;    // by those calls
  uint64_t failed_commits = 0;    // the kernel kept its old table
  uint64_t refused_messages = 0;  // not staged, since no interrupt message
  uint64_t refused_routes = 0;    // Allocate() with a full table
  uint32_t routes = 0;            // allocated now
  uint32_t uncommitted = 0;       // of those, with a message that KVM lacks
  uint32_t table_size = 0;        // entries in the kernel's table

  friend bool operator==(const GsiRouterStats&,
                         const GsiRouterStats&) = default;
};

// A route of a GsiRouter.
struct GsiRouteReport {
  allocator::Gsi gsi;
  // The message that the owner of the route staged last, if there was one.
  std::optional<pci::MsiMessage> message;
  bool committed = false;  // whether the kernel's table has this message

  friend bool operator==(const GsiRouteReport&,
                         const GsiRouteReport&) = default;
};

// The one GSI routing table of a VM. It holds the irqchips' routes, which never
// change, and the staged and committed routes of MSI messages.
//
// A commit copies the whole table, so one commit per vector would copy O(N^2)
// entries. OnUserSpaceDelivery(), the report of an interrupt that lacked a
// route in the kernel, therefore commits only in these cases:
//  - At least as many routes wait for a commit as the kernel's table holds MSI
//    routes. New routes then double the table, so N vectors that come one by
//    one cost O(log N) calls and O(N) entries.
//  - Messages that stayed uncommitted after their first delivery from user
//    space have been delivered that way so often since the last commit that one
//    commit would now be cheaper (kEntriesPerDelivery).
// After a failed commit, it tries again when twice as many routes wait as at
// the failure, or when new deliveries outweigh the cost once more.
//
// Thread-safe.
class GsiRouter final : public MsiRouter {
 public:
  // One delivery from user space (a wake-up, a read, KVM_SIGNAL_MSI) costs
  // about as much as copying this many entries within KVM_SET_GSI_ROUTING. It
  // takes some 3 us, and an entry some 0.3 us.
  static constexpr uint32_t kEntriesPerDelivery = 8;

  struct Options {
    RoutingTable* table = nullptr;
    // The routes of the table that are not this router's and stay in it.
    // kvm::KvmVm::BaseRoutes() returns those of the kernel's irqchips. A VMM
    // adds entries of its own.
    std::vector<kvm_irq_routing_entry> base_routes;
    allocator::Gsi first_gsi = kFirstMsiGsi;
    // KVM_CAP_IRQ_ROUTING, the limit of both entries and GSI numbers.
    uint32_t max_entries = 4096;
  };
  // Returns kInvalidArgument if the base routes do not fit below first_gsi or
  // leave no room in the table, or if first_gsi is not below max_entries.
  static absl::StatusOr<std::unique_ptr<GsiRouter>> Create(Options options);

  absl::StatusOr<allocator::Gsi> Allocate() override;
  void Release(allocator::Gsi gsi) override;
  absl::Status Stage(allocator::Gsi gsi,
                     const pci::MsiMessage& message) override;
  bool IsCommitted(allocator::Gsi gsi,
                   const pci::MsiMessage& message) const override;
  absl::StatusOr<bool> OnUserSpaceDelivery(allocator::Gsi gsi) override;
  absl::Status Commit() override;

  // Returns how many more routes Allocate() can provide.
  uint32_t available() const;
  GsiRouterStats stats() const;
  // Returns the routes that are allocated now, in the order of their GSIs.
  std::vector<GsiRouteReport> Routes() const;

 private:
  struct Route {
    // Empty for an entry of the kernel's table whose route was released.
    allocator::GsiAllocation owner;
    std::optional<pci::MsiMessage> staged;
    std::optional<pci::MsiMessage> committed;
    // Whether user space has delivered the message since it was staged.
    bool delivered = false;

    bool owned() const { return !owner.empty(); }
    bool dirty() const {
      return owned() && staged.has_value() && staged != committed;
    }
  };

  GsiRouter(Options options, std::unique_ptr<allocator::GsiAllocator> gsis);

  bool WorthCommitting() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status CommitLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  RoutingTable* const table_;
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
  // The number of deliveries from user space since the last commit that an
  // earlier commit would have saved.
  uint64_t repeated_deliveries_ ABSL_GUARDED_BY(mutex_) = 0;
  uint32_t dirty_at_failure_ ABSL_GUARDED_BY(mutex_) = 0;
  GsiRouterStats stats_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace passthru::interrupts

#endif  // PASSTHRU_DEVICES_INTERRUPTS_GSI_ROUTER_H_
