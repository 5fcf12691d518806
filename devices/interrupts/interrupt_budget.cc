// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/interrupts/interrupt_budget.h"

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>

#include "absl/log/check.h"
#include "absl/strings/str_format.h"

namespace passthru::interrupts {
namespace {

// How many more vectors fit under `limit` at `cost` each.
uint64_t Left(uint32_t limit, uint32_t cost, uint64_t used) {
  if (limit == InterruptBudget::kUnlimited || cost == 0) {
    return InterruptBudget::kUnlimited;
  }
  const uint64_t capacity = limit / cost;
  return capacity - std::min(used, capacity);
}

}  // namespace

InterruptBudget::Reservation::Reservation(Reservation&& other) noexcept
    : budget_(std::exchange(other.budget_, nullptr)),
      vectors_(std::exchange(other.vectors_, 0)),
      routed_(std::exchange(other.routed_, 0)),
      limited_by_(std::move(other.limited_by_)) {}

InterruptBudget::Reservation& InterruptBudget::Reservation::operator=(
    Reservation&& other) noexcept {
  if (this == &other) return *this;
  if (budget_ != nullptr) budget_->Return(*this);
  budget_ = std::exchange(other.budget_, nullptr);
  vectors_ = std::exchange(other.vectors_, 0);
  routed_ = std::exchange(other.routed_, 0);
  limited_by_ = std::move(other.limited_by_);
  return *this;
}

InterruptBudget::Reservation::~Reservation() {
  if (budget_ != nullptr) budget_->Return(*this);
}

absl::StatusOr<InterruptBudget::Reservation> InterruptBudget::Reserve(
    uint32_t wanted) {
  CHECK_GT(wanted, 0u);
  absl::MutexLock lock(&mutex_);
  const uint64_t host =
      Left(limits_.host_vectors, limits_.cost.host_vectors, vectors_);
  const uint64_t fds =
      Left(limits_.event_fds, limits_.cost.event_fds, vectors_);
  const uint64_t routes = Left(limits_.routes, limits_.cost.routes, routed_);
  const uint64_t granted = std::min<uint64_t>({wanted, host, fds});
  const char* scarce = host <= fds ? "host vectors" : "eventfds";
  if (granted == 0) {
    return absl::ResourceExhaustedError(absl::StrFormat(
        "no %s left for any of %u interrupt vectors: the VM's devices hold %u",
        scarce, wanted, vectors_));
  }
  Reservation reservation;
  reservation.budget_ = this;
  reservation.vectors_ = static_cast<uint32_t>(granted);
  reservation.routed_ = static_cast<uint32_t>(std::min(granted, routes));
  if (granted < wanted) {
    reservation.limited_by_ = scarce;
  } else if (reservation.routed_ < granted) {
    reservation.limited_by_ = "routes";
  }
  vectors_ += reservation.vectors_;
  routed_ += reservation.routed_;
  return reservation;
}

void InterruptBudget::Return(const Reservation& reservation) {
  absl::MutexLock lock(&mutex_);
  vectors_ -= reservation.vectors_;
  routed_ -= reservation.routed_;
}

}  // namespace passthru::interrupts
