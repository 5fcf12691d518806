// SPDX-License-Identifier: Apache-2.0
//
// The transitions of single vectors between the states of VectorState.

#include <cstdint>
#include <string_view>

#include "absl/log/log.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "passthru/allocator/gsi.h"
#include "passthru/devices/interrupts/msix_vector_group.h"
#include "passthru/pci/msi_message.h"

namespace passthru::interrupts {

void MsixVectorGroup::Unmask(uint32_t index) {
  Vector& vector = vectors_[index];
  if (vector.state != VectorState::kOff) {
    Open(vector);
    return;
  }
  Range armed;
  if (absl::Status status = ArmForUse(index, armed); !status.ok()) {
    ++stats_.failed_arms;
    vector.unarmed = true;
    Failed(vector, "has no interrupts: it cannot be armed", status);
  }
  // Other vectors were armed with it. For some of them that may have failed
  // when the guest unmasked them.
  for (uint32_t i = armed.first; i < armed.end; ++i) {
    if (!vectors_[i].masked) Open(vectors_[i]);
  }
}

void MsixVectorGroup::Open(Vector& vector) {
  if (vector.state != VectorState::kMasked) return;
  if (vector.irqfd_stuck) DeassignIrqfd(vector);
  vector.state = VectorState::kWatched;
  StageMessage(vector);
  if (vector.irqfd_stuck) {
    CommitStuck(vector);
    return;
  }
  if (vector.staged &&
      options_.router->IsCommitted(*vector.gsi, vector.message)) {
    // A pending count triggers the new irqfd at once.
    AssignIrqfd(vector);
  }
  if (vector.state == VectorState::kWatched) DeliverAndPromote(vector);
}

void MsixVectorGroup::Mask(uint32_t index) {
  Vector& vector = vectors_[index];
  vector.unarmed = false;
  if (vector.state == VectorState::kOff) return;
  if (vector.state == VectorState::kActive) DeassignIrqfd(vector);
  vector.state = VectorState::kMasked;
}

void MsixVectorGroup::ChangeMessage(uint32_t index) {
  Vector& vector = vectors_[index];
  switch (vector.state) {
    case VectorState::kOff:
      // Arming failed when the guest unmasked the vector. Try again.
      Unmask(index);
      return;
    case VectorState::kMasked:
      return;
    case VectorState::kWatched:
      StageMessage(vector);
      if (vector.irqfd_stuck) CommitStuck(vector);
      return;
    case VectorState::kActive:
      // Deassign the irqfd first, because a commit by another device must not
      // change the message of an interrupt in flight.
      DeassignIrqfd(vector);
      vector.state = VectorState::kWatched;
      StageMessage(vector);
      if (vector.irqfd_stuck) {
        CommitStuck(vector);
      } else {
        DeliverAndPromote(vector);
      }
      return;
  }
}

// The kernel refused to deassign the irqfd, and so still takes the eventfd's
// signals and injects what the route says. User space would wait for the
// signals in vain, so the route gets the new message at once, although an
// interrupt in flight may be delivered with either message.
void MsixVectorGroup::CommitStuck(Vector& vector) {
  if (!vector.staged) return;  // The message is not complete yet.
  if (absl::Status status = options_.router->Commit(); !status.ok()) {
    ++stats_.failed_promotions;
    Failed(vector, "is delivered with an earlier message", status);
    return;
  }
  vector.state = VectorState::kActive;
}

void MsixVectorGroup::OnEvent(uint32_t index) {
  absl::MutexLock lock(&mutex_);
  Vector& vector = vectors_[index];
  // In kMasked the count stays as the pending bit. In kActive the kernel has
  // delivered the interrupt.
  if (vector.state == VectorState::kWatched) DeliverAndPromote(vector);
}

void MsixVectorGroup::DeliverAndPromote(Vector& vector) {
  if (!Deliver(vector) || !vector.staged) return;
  absl::StatusOr<bool> committed =
      options_.router->OnUserSpaceDelivery(*vector.gsi);
  if (!committed.ok()) {
    FailPromotion(vector, committed.status());
  } else if (*committed) {
    AssignIrqfd(vector);
  }
}

bool MsixVectorGroup::Deliver(Vector& vector) {
  const absl::StatusOr<uint64_t> count = vector.event->Read();
  if (!count.ok()) {
    ++stats_.failed_calls;
    Failed(vector, "may have lost an interrupt", count.status());
    return false;
  }
  if (*count == 0) return false;
  absl::Status status = pci::ValidateMsiMessage(vector.message);
  if (!status.ok()) {
    ++stats_.dropped;
    Failed(vector, "drops an interrupt: the guest programmed no message for it",
           status);
    return false;
  }
  status = options_.controller->SignalMsi(vector.message);
  if (!status.ok()) {
    ++stats_.failed_calls;
    Failed(vector, "lost an interrupt", status);
    return false;
  }
  ++stats_.user_space_signals;
  ++vector.user_space_signals;
  return true;
}

void MsixVectorGroup::StageMessage(Vector& vector) {
  if (vector.staged || vector.user_space_only) return;
  if (!vector.gsi.has_value()) {
    absl::StatusOr<allocator::Gsi> gsi = options_.router->Allocate();
    if (!gsi.ok()) {
      FailPromotion(vector, gsi.status());
      return;
    }
    vector.gsi = *gsi;
    used_routes_ = true;
  }
  if (absl::Status status = options_.router->Stage(*vector.gsi, vector.message);
      !status.ok()) {
    // A guest produces such messages while it writes one piece by piece.
    VLOG(1) << options_.name << " vector " << IndexOf(vector) << ": " << status;
    return;
  }
  vector.staged = true;
}

void MsixVectorGroup::AssignIrqfd(Vector& vector) {
  ++stats_.irqfd_assigns;
  if (absl::Status status =
          options_.controller->AssignIrqfd(vector.event->fd(), *vector.gsi);
      !status.ok()) {
    FailPromotion(vector, status);
    return;
  }
  vector.state = VectorState::kActive;
}

void MsixVectorGroup::DeassignIrqfd(Vector& vector) {
  ++stats_.irqfd_deassigns;
  const absl::Status status =
      options_.controller->DeassignIrqfd(vector.event->fd(), *vector.gsi);
  vector.irqfd_stuck = !status.ok();
  if (!status.ok()) {
    ++stats_.failed_calls;
    Failed(vector, "keeps its irqfd", status);
  }
}

void MsixVectorGroup::ReleaseRoute(Vector& vector) {
  vector.staged = false;
  if (!vector.gsi.has_value() || vector.irqfd_stuck) return;
  options_.router->Release(*vector.gsi);
  vector.gsi.reset();
}

void MsixVectorGroup::FailPromotion(Vector& vector, const absl::Status& why) {
  ++stats_.failed_promotions;
  vector.user_space_only = true;
  ReleaseRoute(vector);
  Failed(vector, "will be delivered from user space", why);
}

void MsixVectorGroup::Failed(const Vector& vector, std::string_view what,
                             const absl::Status& why) {
  options_.failures->Add(
      absl::StrCat(options_.name, " vector ", IndexOf(vector), " ", what), why);
}

uint32_t MsixVectorGroup::IndexOf(const Vector& vector) const {
  return static_cast<uint32_t>(&vector - vectors_.data());
}

}  // namespace passthru::interrupts
