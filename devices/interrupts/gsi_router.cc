// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/interrupts/gsi_router.h"

#include <algorithm>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/log/check.h"
#include "absl/strings/str_format.h"
#include "passthru/devices/kernel/errors.h"
#include "passthru/devices/kernel/status_macros.h"

namespace passthru::interrupts {

absl::StatusOr<std::unique_ptr<GsiRouter>> GsiRouter::Create(Options options) {
  CHECK(options.table != nullptr);
  if (options.first_gsi.value() >= options.max_entries) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "GSI routing: the GSIs for MSIs begin at %v, but KVM has only %u",
        options.first_gsi, options.max_entries));
  }
  if (options.base_routes.size() >= options.max_entries) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "GSI routing: %u base routes leave no room in a table of %u entries",
        options.base_routes.size(), options.max_entries));
  }
  for (const kvm_irq_routing_entry& entry : options.base_routes) {
    if (entry.gsi >= options.first_gsi.value()) {
      return absl::InvalidArgumentError(absl::StrFormat(
          "GSI routing: base route of GSI %u is among those for MSIs, which "
          "begin at %v",
          entry.gsi, options.first_gsi));
    }
  }
  PASSTHRU_ASSIGN_OR_RETURN(
      auto gsis,
      allocator::GsiAllocator::Create(
          options.first_gsi, options.max_entries - options.first_gsi.value()));
  return absl::WrapUnique(new GsiRouter(std::move(options), std::move(gsis)));
}

GsiRouter::GsiRouter(Options options,
                     std::unique_ptr<allocator::GsiAllocator> gsis)
    : table_(options.table),
      base_routes_(std::move(options.base_routes)),
      max_entries_(options.max_entries),
      gsis_(std::move(gsis)) {}

absl::StatusOr<allocator::Gsi> GsiRouter::Allocate() {
  absl::MutexLock lock(&mutex_);
  if (base_routes_.size() + owned_ >= max_entries_) {
    ++stats_.refused_routes;
    return absl::ResourceExhaustedError(absl::StrFormat(
        "GSI routing: the table is full: %u MSI routes and %u others of at "
        "most %u (KVM_CAP_IRQ_ROUTING)",
        owned_, base_routes_.size(), max_entries_));
  }
  absl::StatusOr<allocator::GsiAllocation> allocation = gsis_->Allocate();
  if (!allocation.ok()) {
    ++stats_.refused_routes;
    return allocation.status();
  }
  const allocator::Gsi gsi = allocation->id();
  Route& route = routes_[gsi];
  if (route.committed.has_value()) --stale_;
  route.owner = *std::move(allocation);
  ++owned_;
  return gsi;
}

void GsiRouter::Release(allocator::Gsi gsi) {
  absl::MutexLock lock(&mutex_);
  const auto it = routes_.find(gsi);
  CHECK(it != routes_.end() && it->second.owned())
      << "GSI " << gsi.value() << " is not allocated";
  Route& route = it->second;
  if (route.dirty()) --dirty_;
  if (route.staged.has_value()) --staged_;
  --owned_;
  route.owner.Release();
  route.staged.reset();
  route.delivered = false;
  if (route.committed.has_value()) {
    ++stale_;
  } else {
    routes_.erase(it);
  }
}

absl::Status GsiRouter::Stage(allocator::Gsi gsi,
                              const pci::MsiMessage& message) {
  absl::MutexLock lock(&mutex_);
  const auto it = routes_.find(gsi);
  CHECK(it != routes_.end() && it->second.owned())
      << "GSI " << gsi.value() << " is not allocated";
  if (absl::Status status = pci::ValidateMsiMessage(message); !status.ok()) {
    ++stats_.refused_messages;
    return kernel::Annotate(status, absl::StrFormat("GSI %v", gsi));
  }
  Route& route = it->second;
  if (route.staged == message) return absl::OkStatus();
  if (route.dirty()) --dirty_;
  if (!route.staged.has_value()) ++staged_;
  route.staged = message;
  route.delivered = false;
  if (route.dirty()) ++dirty_;
  return absl::OkStatus();
}

bool GsiRouter::IsCommitted(allocator::Gsi gsi,
                            const pci::MsiMessage& message) const {
  absl::MutexLock lock(&mutex_);
  const auto it = routes_.find(gsi);
  return it != routes_.end() && it->second.owned() &&
         it->second.committed == message;
}

absl::StatusOr<bool> GsiRouter::OnUserSpaceDelivery(allocator::Gsi gsi) {
  absl::MutexLock lock(&mutex_);
  const auto it = routes_.find(gsi);
  CHECK(it != routes_.end() && it->second.owned())
      << "GSI " << gsi.value() << " is not allocated";
  if (!it->second.staged.has_value()) return false;
  if (!it->second.dirty()) return true;
  if (it->second.delivered) ++repeated_deliveries_;
  it->second.delivered = true;
  if (!WorthCommitting()) return false;
  PASSTHRU_RETURN_IF_ERROR(CommitLocked());
  return true;
}

absl::Status GsiRouter::Commit() {
  absl::MutexLock lock(&mutex_);
  if (dirty_ == 0 && stale_ == 0) return absl::OkStatus();
  return CommitLocked();
}

bool GsiRouter::WorthCommitting() const {
  if (dirty_ >= std::max(committed_, 2 * dirty_at_failure_)) return true;
  const uint64_t entries = base_routes_.size() + staged_;
  return repeated_deliveries_ * kEntriesPerDelivery >= entries;
}

absl::Status GsiRouter::CommitLocked() {
  std::vector<kvm_irq_routing_entry> entries = base_routes_;
  entries.reserve(base_routes_.size() + staged_);
  for (const auto& [gsi, route] : routes_) {
    if (route.owned() && route.staged.has_value()) {
      entries.push_back(MsiRoutingEntry(gsi, *route.staged));
    }
  }
  ++stats_.routing_calls;
  stats_.entries_copied += entries.size();
  repeated_deliveries_ = 0;
  if (absl::Status status = table_->SetGsiRouting(entries); !status.ok()) {
    ++stats_.failed_commits;
    dirty_at_failure_ = dirty_;
    return kernel::Annotate(
        status,
        absl::StrFormat("GSI routing: committing %u entries", entries.size()));
  }
  for (auto it = routes_.begin(); it != routes_.end();) {
    Route& route = it->second;
    route.committed = route.staged;
    if (route.owned()) {
      ++it;
    } else {
      it = routes_.erase(it);
    }
  }
  committed_ = staged_;
  dirty_ = 0;
  stale_ = 0;
  dirty_at_failure_ = 0;
  return absl::OkStatus();
}

uint32_t GsiRouter::available() const {
  absl::MutexLock lock(&mutex_);
  const size_t used = base_routes_.size() + owned_;
  return std::min<size_t>(gsis_->available(), max_entries_ - used);
}

GsiRouterStats GsiRouter::stats() const {
  absl::MutexLock lock(&mutex_);
  GsiRouterStats stats = stats_;
  stats.routes = owned_;
  stats.uncommitted = dirty_;
  stats.table_size = base_routes_.size() + committed_;
  return stats;
}

std::vector<GsiRouteReport> GsiRouter::Routes() const {
  absl::MutexLock lock(&mutex_);
  std::vector<GsiRouteReport> routes;
  for (const auto& [gsi, route] : routes_) {
    if (!route.owned()) continue;
    routes.push_back({.gsi = gsi,
                      .message = route.staged,
                      .committed = route.staged.has_value() && !route.dirty()});
  }
  return routes;
}

}  // namespace passthru::interrupts
