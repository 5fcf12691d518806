// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/interrupts/interrupt_budget.h"

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>

#include "absl/log/check.h"
#include "absl/strings/str_format.h"

namespace passthru::interrupts {

InterruptBudget::Reservation::Reservation(Reservation&& other) noexcept {
  *this = std::move(other);
}

InterruptBudget::Reservation& InterruptBudget::Reservation::operator=(
    Reservation&& other) noexcept {
  if (this == &other) return *this;
  // The swapped state is returned to its budget with `old`.
  Reservation old;
  std::swap(old.budget_, budget_);
  std::swap(old.guaranteed_, guaranteed_);
  std::swap(old.taken_, taken_);
  budget_ = std::exchange(other.budget_, nullptr);
  vectors_ = std::exchange(other.vectors_, 0);
  limited_by_ = std::move(other.limited_by_);
  guaranteed_ = std::exchange(other.guaranteed_, 0);
  taken_ = std::exchange(other.taken_, 0);
  return *this;
}

InterruptBudget::Reservation::~Reservation() {
  if (budget_ == nullptr) return;
  absl::MutexLock lock(&budget_->mutex_);
  budget_->held_ -= std::max(taken_, guaranteed_);
}

absl::Status InterruptBudget::Reservation::Take() {
  if (budget_ == nullptr) return absl::OkStatus();
  absl::MutexLock lock(&budget_->mutex_);
  if (taken_ >= guaranteed_) {
    if (budget_->held_ >= budget_->Capacity()) {
      return absl::ResourceExhaustedError(absl::StrFormat(
          "no %s left: the VM's devices use or are guaranteed %u, and this one "
          "uses %u%s",
          budget_->Scarce(), budget_->held_, taken_, budget_->Advice()));
    }
    ++budget_->held_;
  }
  ++taken_;
  return absl::OkStatus();
}

void InterruptBudget::Reservation::Return(uint32_t count) {
  if (budget_ == nullptr) return;
  absl::MutexLock lock(&budget_->mutex_);
  CHECK_LE(count, taken_);
  budget_->held_ -= std::max(taken_, guaranteed_);
  taken_ -= count;
  budget_->held_ += std::max(taken_, guaranteed_);
}

absl::StatusOr<InterruptBudget::Reservation> InterruptBudget::Reserve(
    uint32_t wanted) {
  CHECK_GT(wanted, 0u);
  absl::MutexLock lock(&mutex_);
  const uint64_t left = Capacity() - std::min(held_, Capacity());
  if (left == 0) {
    return absl::ResourceExhaustedError(absl::StrFormat(
        "no %s left for any of %u interrupt vectors: the VM's devices use or "
        "are guaranteed %u%s",
        Scarce(), wanted, held_, Advice()));
  }
  Reservation reservation;
  reservation.budget_ = this;
  reservation.vectors_ =
      static_cast<uint32_t>(std::min<uint64_t>(wanted, left));
  if (reservation.vectors_ < wanted) reservation.limited_by_ = Scarce();
  // The device counts on one vector at least, or it would not be attached.
  reservation.guaranteed_ =
      std::min(std::max<uint32_t>(limits_.guaranteed, 1), reservation.vectors_);
  held_ += reservation.guaranteed_;
  return reservation;
}

uint64_t InterruptBudget::Capacity() const {
  return std::min(limits_.host_vectors, limits_.event_fds);
}

const char* InterruptBudget::Scarce() const {
  return limits_.host_vectors <= limits_.event_fds ? "host vectors"
                                                   : "eventfds";
}

const char* InterruptBudget::Advice() const {
  return limits_.host_vectors <= limits_.event_fds
             ? ""
             : "; the process may need a larger limit of descriptors "
               "(RLIMIT_NOFILE)";
}

}  // namespace passthru::interrupts
