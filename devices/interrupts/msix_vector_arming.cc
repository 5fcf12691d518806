// SPDX-License-Identifier: Apache-2.0
//
// The part of MsixVectorGroup that makes the host signal the vectors that the
// guest uses, through eventfds and as few VFIO_DEVICE_SET_IRQS as possible.
//
// A vector that is armed is never part of a later call, because the kernel
// would free and request its interrupt again (vfio_msi_set_vector_signal() in
// drivers/vfio/pci/vfio_pci_intrs.c) and lose an edge in between. For the same
// reason the group never disables the type in order to add vectors.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/types/span.h"
#include "passthru/devices/interrupts/msix_vector_group.h"
#include "passthru/devices/kernel/event_fd.h"
#include "passthru/devices/kernel/status_macros.h"

namespace passthru::interrupts {

absl::Status MsixVectorGroup::EnableHost() {
  PASSTHRU_RETURN_IF_ERROR(DisableHost());
  if (options_.kind == Kind::kMsi) {
    host_limit_ = count_;
    return Arm(0, count_, /*programmed_only=*/false);
  }
  // If vectors can be added later, one suffices to turn MSI-X on. Otherwise the
  // first call fixes their number. In both cases they signal nothing yet.
  const std::vector<int> unsignalled(options_.host->dynamic() ? 1 : count_,
                                     HostVectors::kNoEventFd);
  host_limit_ = count_;
  absl::StatusOr<uint32_t> available = SetHost(0, unsignalled);
  if (!available.ok()) return available.status();
  if (*available == 0) return absl::OkStatus();
  // The host has fewer vectors than at attach. Use those that it has.
  host_limit_ = std::min<uint32_t>(*available, count_);
  // A kernel may say that it has more than it was asked for.
  available =
      SetHost(0, absl::MakeSpan(unsignalled)
                     .first(std::min<size_t>(host_limit_, unsignalled.size())));
  if (!available.ok()) return available.status();
  if (*available == 0) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrFormat(
      "%s: the host has only %u vectors available", options_.name, *available));
}

absl::Status MsixVectorGroup::DisableHost() {
  if (!host_on_) return absl::OkStatus();
  ++stats_.set_irqs_calls;
  absl::Status status = options_.host->Disable();
  if (!status.ok()) {
    ++stats_.failed_calls;
    options_.failures->Add(absl::StrCat(options_.name, " cannot be disabled"),
                           status);
    return status;
  }
  host_on_ = false;
  // Nothing signals any more. Interrupts that arrived before this would be
  // spurious after the next Enable() if they stayed in the counters.
  for (Vector& vector : vectors_) {
    if (vector.event.has_value()) vector.event->Read().IgnoreError();
  }
  return absl::OkStatus();
}

absl::StatusOr<uint32_t> MsixVectorGroup::SetHost(
    uint32_t first, absl::Span<const int> event_fds) {
  ++stats_.set_irqs_calls;
  absl::StatusOr<uint32_t> available = options_.host->Set(first, event_fds);
  if (available.ok() && *available == 0) host_enabled_ = host_on_ = true;
  return available;
}

// Makes one call for each run of programmed vectors. A run includes entries
// between them that are not programmed. These get no eventfd and cost no host
// vector. Stops at the first shortage, because what lacks for one vector lacks
// for the next one too, and returns it.
absl::Status MsixVectorGroup::ArmProgrammed() {
  const auto needed = [](const Vector& vector) {
    return vector.state == VectorState::kOff && vector.programmed();
  };
  if (!host_enabled_) {
    const bool any = std::any_of(vectors_.begin(), vectors_.begin() + count_,
                                 [](const Vector& v) { return !v.masked; });
    if (!any) return absl::OkStatus();
    PASSTHRU_RETURN_IF_ERROR(EnableHost());
  }
  const uint32_t end = std::min(count_, host_limit_);
  for (uint32_t i = 0; i < end; ++i) {
    if (!needed(vectors_[i])) continue;
    uint32_t last = i;
    uint32_t next = i + 1;
    for (; next < end && vectors_[next].state == VectorState::kOff; ++next) {
      if (vectors_[next].programmed()) last = next;
    }
    PASSTHRU_RETURN_IF_ERROR(ArmRun(i, last + 1));
    i = next - 1;
  }
  if (end < count_) {
    return absl::ResourceExhaustedError(
        absl::StrFormat("the host has only %u vectors", host_limit_));
  }
  return absl::OkStatus();
}

// Arms the programmed vectors from `first` to before `end`, with one call if
// the kernel and the budget provide for all. Otherwise it finds by halving how
// many they provide for.
absl::Status MsixVectorGroup::ArmRun(uint32_t first, uint32_t end) {
  uint32_t count = end - first;
  while (first < end) {
    count = std::min(count, end - first);
    absl::Status status = Arm(first, count, /*programmed_only=*/true);
    if (status.ok()) {
      // It stops early if an eventfd cannot be created.
      while (first < end && (vectors_[first].state != VectorState::kOff ||
                             !vectors_[first].programmed())) {
        ++first;
      }
      continue;
    }
    FailedTogether(first, count, status);
    if (count == 1) return status;
    count /= 2;
  }
  return absl::OkStatus();
}

// Arms vector `index` for its first use. `armed` receives the vectors that may
// have been armed with it, also after a failure.
absl::Status MsixVectorGroup::ArmForUse(uint32_t index, Range& armed) {
  if (!host_enabled_) {
    armed = {.first = 0, .end = count_};
    PASSTHRU_RETURN_IF_ERROR(EnableHost());
    if (vectors_[index].state != VectorState::kOff) return absl::OkStatus();
  }
  if (index >= host_limit_) {
    return absl::ResourceExhaustedError(
        absl::StrFormat("the host has only %u vectors", host_limit_));
  }
  // Arm as many more vectors as are armed already, so that a guest that unmasks
  // its vectors one by one, in either order, costs a logarithmic number of
  // calls.
  Range block = {.first = index, .end = index + 1};
  const uint32_t most = std::max<uint32_t>(armed_, 1);
  const auto off = [this](uint32_t i) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return vectors_[i].state == VectorState::kOff;
  };
  while (block.end - block.first < most && block.end < host_limit_ &&
         off(block.end)) {
    ++block.end;
  }
  while (block.end - block.first < most && block.first > 0 &&
         off(block.first - 1)) {
    --block.first;
  }
  if (armed.end == 0) armed = block;
  const uint32_t count = block.end - block.first;
  absl::Status status = Arm(block.first, count, /*programmed_only=*/false);
  if ((!status.ok() || vectors_[index].state == VectorState::kOff) &&
      count > 1) {
    if (!status.ok()) FailedTogether(block.first, count, status);
    status = Arm(index, 1, /*programmed_only=*/false);
  }
  return status;
}

absl::Status MsixVectorGroup::Arm(uint32_t first, uint32_t count,
                                  bool programmed_only) {
  std::vector<int> fds;
  fds.reserve(count);
  for (uint32_t i = first; i < first + count; ++i) {
    if (programmed_only && !vectors_[i].programmed()) {
      fds.push_back(HostVectors::kNoEventFd);
      continue;
    }
    if (absl::Status status = EnsureEvent(i); !status.ok()) {
      if (fds.empty()) return status;
      FailedTogether(first, count, status);
      break;  // The vectors before this one can be armed.
    }
    fds.push_back(vectors_[i].event->fd());
  }
  // The call that enables the type fixes the number of vectors.
  if (!host_enabled_) fds.resize(count, HostVectors::kNoEventFd);
  absl::StatusOr<uint32_t> available = SetHost(first, fds);
  if (!available.ok()) return available.status();
  if (*available != 0) {
    const bool fewer = first == 0 && !host_enabled_ && *available < fds.size();
    if (!fewer) {
      return absl::ResourceExhaustedError(absl::StrFormat(
          "the host has only %u vectors available", *available));
    }
    host_limit_ = *available;
    return Arm(0, host_limit_, programmed_only);
  }
  for (uint32_t i = 0; i < fds.size(); ++i) {
    if (fds[i] == HostVectors::kNoEventFd) continue;
    vectors_[first + i].state = VectorState::kMasked;
    vectors_[first + i].unarmed = false;
    ++armed_;
    armed_end_ = std::max(armed_end_, first + i + 1);
  }
  return absl::OkStatus();
}

void MsixVectorGroup::FailedTogether(uint32_t first, uint32_t count,
                                     const absl::Status& why) {
  options_.failures->Add(
      count == 1
          ? absl::StrFormat("%s vector %u cannot be armed", options_.name,
                            first)
          : absl::StrFormat("%s vectors %u to %u cannot be armed together",
                            options_.name, first, first + count - 1),
      why);
}

absl::Status MsixVectorGroup::EnsureEvent(uint32_t index) {
  Vector& vector = vectors_[index];
  if (vector.event.has_value()) return absl::OkStatus();
  if (options_.budget != nullptr) {
    PASSTHRU_RETURN_IF_ERROR(options_.budget->Take());
  }
  absl::Cleanup give_back = [this] {
    if (options_.budget != nullptr) options_.budget->Return(1);
  };
  PASSTHRU_ASSIGN_OR_RETURN(kernel::EventFd event,
                            kernel::EventFd::Create(options_.syscalls));
  // The loop watches the eventfd as long as it exists, in every state of the
  // vector. An edge that OnEvent() ignores costs one wake-up, while adding and
  // removing the eventfd at every mask would cost two system calls.
  PASSTHRU_RETURN_IF_ERROR(options_.loop->Add(
      event.fd(), /*edge_triggered=*/true, [this, index] { OnEvent(index); }));
  vector.event = std::move(event);
  std::move(give_back).Cancel();
  return absl::OkStatus();
}

}  // namespace passthru::interrupts
