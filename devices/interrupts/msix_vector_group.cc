// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/interrupts/msix_vector_group.h"

#include <poll.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/log/check.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "passthru/devices/kernel/errors.h"

namespace passthru::interrupts {

std::string_view Name(VectorState state) {
  switch (state) {
    case VectorState::kOff:
      return "Off";
    case VectorState::kMasked:
      return "Masked";
    case VectorState::kWatched:
      return "Watched";
    case VectorState::kActive:
      return "Active";
  }
  return "?";
}

MsixVectorGroup::MsixVectorGroup(Options options)
    : options_(std::move(options)), vectors_(options_.vectors) {
  CHECK_GT(options_.vectors, 0u);
  CHECK(options_.host != nullptr && options_.router != nullptr &&
        options_.controller != nullptr && options_.loop != nullptr &&
        options_.syscalls != nullptr && options_.failures != nullptr);
}

MsixVectorGroup::~MsixVectorGroup() { Shutdown(); }

absl::Status MsixVectorGroup::Enable(uint16_t count, bool function_masked) {
  absl::MutexLock lock(&mutex_);
  if (shut_down_ || enabled_) {
    return absl::FailedPreconditionError(
        absl::StrFormat("%s is %s", options_.name,
                        shut_down_ ? "shut down" : "enabled already"));
  }
  enabled_ = true;
  function_masked_ = function_masked;
  count_ = std::min<uint32_t>(count, vectors_.size());
  absl::Status status = EnableHost();
  if (!status.ok()) {
    ++stats_.failed_arms;
    options_.failures->Add(absl::StrCat(options_.name, " cannot be enabled"),
                           status);
  }
  if (!function_masked_) UnmaskAll();
  return status;
}

absl::Status MsixVectorGroup::Disable() {
  absl::MutexLock lock(&mutex_);
  return DisableLocked();
}

absl::Status MsixVectorGroup::DisableLocked() {
  if (!enabled_) return DisableHost();
  for (Vector& vector : vectors_) {
    if (vector.state == VectorState::kActive || vector.irqfd_stuck) {
      DeassignIrqfd(vector);
    }
    vector.state = VectorState::kOff;
    vector.unarmed = false;
    vector.user_space_only = false;
    ReleaseRoute(vector);
  }
  host_enabled_ = false;
  armed_ = 0;
  armed_end_ = 0;
  enabled_ = false;
  return DisableHost();
}

void MsixVectorGroup::SetFunctionMask(bool masked) {
  absl::MutexLock lock(&mutex_);
  if (function_masked_ == masked) return;
  function_masked_ = masked;
  if (!enabled_) return;
  if (!masked) {
    UnmaskAll();
    return;
  }
  for (uint32_t i = 0; i < count_; ++i) Mask(i);
}

void MsixVectorGroup::UnmaskAll() {
  const absl::Status armed = ArmProgrammed();
  uint32_t unarmed = 0;
  for (uint32_t i = 0; i < count_; ++i) {
    Vector& vector = vectors_[i];
    if (vector.masked) continue;
    if (vector.state != VectorState::kOff) {
      Open(vector);
      continue;
    }
    ++unarmed;
    ++stats_.failed_arms;
    vector.unarmed = true;
  }
  if (unarmed == 0) return;
  options_.failures->Add(
      absl::StrFormat("%s: %u unmasked vectors have no interrupts: they cannot "
                      "be armed",
                      options_.name, unarmed),
      armed);
}

void MsixVectorGroup::RetryUnarmed() {
  absl::MutexLock lock(&mutex_);
  if (!enabled_ || function_masked_) return;
  const bool unarmed =
      std::any_of(vectors_.begin(), vectors_.end(),
                  [](const Vector& vector) { return vector.unarmed; });
  if (unarmed) UnmaskAll();
}

void MsixVectorGroup::SetVector(pci::VectorIndex vector,
                                const pci::MsiMessage& message, bool masked) {
  absl::MutexLock lock(&mutex_);
  CHECK_LT(vector.value(), vectors_.size());
  Vector& entry = vectors_[vector.value()];
  const bool message_changed = entry.message != message;
  const bool mask_changed = entry.masked != masked;
  entry.message = message;
  entry.masked = masked;
  if (message_changed) entry.staged = false;
  if (!enabled_ || function_masked_ || vector.value() >= count_) return;
  if (mask_changed) {
    masked ? Mask(vector.value()) : Unmask(vector.value());
  } else if (message_changed && !masked) {
    ChangeMessage(vector.value());
  }
}

uint64_t MsixVectorGroup::Pending(pci::VectorIndex first,
                                  uint32_t count) const {
  std::array<pollfd, kMaxPending> polls;
  std::array<uint8_t, kMaxPending> positions;
  uint32_t used = 0;
  absl::MutexLock lock(&mutex_);
  const uint32_t end =
      std::min(first.value() + std::min(count, kMaxPending), armed_end_);
  for (uint32_t index = first.value(); index < end; ++index) {
    const Vector& vector = vectors_[index];
    if (vector.state != VectorState::kMasked) continue;
    polls[used] = {.fd = vector.event->fd(), .events = POLLIN, .revents = 0};
    positions[used] = static_cast<uint8_t>(index - first.value());
    ++used;
  }
  if (used == 0) return 0;
  kernel::SyscallResult<int> result;
  do {
    // A signal interrupts poll(2) even with a timeout of zero (do_poll()).
    result = options_.syscalls->Poll(polls.data(), used, /*timeout_ms=*/0);
  } while (result.error == EINTR);
  if (!result.ok()) {
    ++stats_.failed_calls;
    options_.failures->Add(
        absl::StrCat(options_.name, "'s pending bits read as none"),
        kernel::ErrnoError(result.error, "poll of eventfds"));
    return 0;
  }
  uint64_t pending = 0;
  for (uint32_t i = 0; i < used; ++i) {
    if ((polls[i].revents & POLLIN) != 0)
      pending |= uint64_t{1} << positions[i];
  }
  return pending;
}

void MsixVectorGroup::Shutdown() {
  std::vector<int> fds;
  bool flush = false;
  {
    absl::MutexLock lock(&mutex_);
    if (shut_down_) return;
    DisableLocked().IgnoreError();  // Logged.
    // Closing the device turns off what could not be disabled. Later calls must
    // not reach the device.
    host_on_ = false;
    shut_down_ = true;
    flush = used_routes_;
    for (const Vector& vector : vectors_) {
      if (vector.event.has_value()) fds.push_back(vector.event->fd());
    }
  }
  // A callback may be waiting for the mutex, so it is not held here.
  for (const int fd : fds) {
    if (absl::Status status = options_.loop->Remove(fd); !status.ok()) {
      options_.failures->Add(options_.name, status);
    }
  }
  {
    absl::MutexLock lock(&mutex_);
    uint32_t closed = 0;
    for (Vector& vector : vectors_) {
      // Closing an eventfd ends its irqfd, even one that could not be
      // deassigned (irqfd_wakeup(), EPOLLHUP).
      if (vector.event.has_value()) ++closed;
      vector.event.reset();
      vector.irqfd_stuck = false;
      ReleaseRoute(vector);
    }
    if (options_.budget != nullptr) options_.budget->Return(closed);
  }
  if (!flush) return;
  // Remove the routes from the kernel's table.
  if (absl::Status status = options_.router->Commit(); !status.ok()) {
    options_.failures->Add(
        absl::StrCat(options_.name,
                     "'s routes stay in KVM, unused, until the next commit"),
        status);
  }
}

VectorState MsixVectorGroup::state(pci::VectorIndex vector) const {
  absl::MutexLock lock(&mutex_);
  CHECK_LT(vector.value(), vectors_.size());
  return vectors_[vector.value()].state;
}

std::vector<VectorReport> MsixVectorGroup::Describe() const {
  absl::MutexLock lock(&mutex_);
  std::vector<VectorReport> reports;
  reports.reserve(vectors_.size());
  for (const Vector& vector : vectors_) {
    reports.push_back(
        {.vector = pci::VectorIndex(static_cast<uint16_t>(reports.size())),
         .state = vector.state,
         .masked = vector.masked,
         .message = vector.message,
         .gsi = vector.gsi,
         .unarmed = vector.unarmed,
         .user_space_only = vector.user_space_only,
         .user_space_signals = vector.user_space_signals});
  }
  return reports;
}

MsixVectorGroupStats MsixVectorGroup::stats() const {
  absl::MutexLock lock(&mutex_);
  return stats_;
}

}  // namespace passthru::interrupts
