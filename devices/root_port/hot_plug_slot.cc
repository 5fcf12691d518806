// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/root_port/hot_plug_slot.h"

#include "absl/status/status.h"

namespace passthru::root_port {

using pci::PcieSlotStatus;

void HotPlugSlot::Reset(const Controls& controls) {
  controls_ = controls;
  power_fault_ = false;
  removal_ = Removal::kNone;
  link_active_ = LinkShouldBeActive();
}

HotPlugSlot::Changes HotPlugSlot::Insert() {
  Changes changes;
  if (card_present_) return changes;
  card_present_ = true;
  PcieSlotStatus::kPresenceChanged.Set(changes.events, true);
  PcieSlotStatus::kAttentionButton.Set(changes.events, true);
  Settle(changes);
  return changes;
}

HotPlugSlot::Changes HotPlugSlot::Remove() {
  Changes changes;
  if (!card_present_) return changes;
  card_present_ = false;
  power_fault_ = false;
  removal_ = Removal::kNone;
  PcieSlotStatus::kPresenceChanged.Set(changes.events, true);
  Settle(changes);
  // There is nothing that could be reset.
  if (changes.link_went_down) {
    changes.link_went_down = false;
    --resets_pending_;
  }
  return changes;
}

absl::StatusOr<HotPlugSlot::Changes> HotPlugSlot::RequestRemoval() {
  if (!card_present_) {
    return absl::FailedPreconditionError("the slot is empty");
  }
  switch (removal_) {
    case Removal::kRequested:
      return absl::AlreadyExistsError(
          "the guest was asked for the card and has not let go of it yet");
    case Removal::kPermitted:
      return absl::AlreadyExistsError(
          "the guest has let go of the card already");
    case Removal::kNone:
      break;
  }
  removal_ = Removal::kRequested;
  Changes changes;
  PcieSlotStatus::kAttentionButton.Set(changes.events, !PermitsRemoval());
  Settle(changes);
  return changes;
}

absl::StatusOr<HotPlugSlot::Changes> HotPlugSlot::CancelRemoval() {
  if (removal_ != Removal::kRequested) {
    return absl::FailedPreconditionError(
        "no request for removal waits for the guest");
  }
  removal_ = Removal::kNone;
  Changes changes;
  PcieSlotStatus::kAttentionButton.Set(changes.events, true);
  return changes;
}

HotPlugSlot::Changes HotPlugSlot::FailPower() {
  Changes changes;
  if (!card_present_ || controls_.power_off || power_fault_) return changes;
  power_fault_ = true;
  PcieSlotStatus::kPowerFault.Set(changes.events, true);
  Settle(changes);
  return changes;
}

HotPlugSlot::Changes HotPlugSlot::Apply(const Controls& controls) {
  controls_ = controls;
  if (controls_.power_off) power_fault_ = false;
  Changes changes;
  Settle(changes);
  return changes;
}

HotPlugSlot::Changes HotPlugSlot::FinishReset() {
  --resets_pending_;
  Changes changes;
  Settle(changes);
  return changes;
}

bool HotPlugSlot::LinkShouldBeActive() const {
  return card_present_ && resets_pending_ == 0 && !power_fault_ &&
         !controls_.power_off && !controls_.link_disabled &&
         !controls_.bus_reset;
}

bool HotPlugSlot::PermitsRemoval() const {
  return controls_.power_off &&
         controls_.power_indicator == pci::PcieIndicator::kOff;
}

void HotPlugSlot::Settle(Changes& changes) {
  const bool active = LinkShouldBeActive();
  if (active != link_active_) {
    link_active_ = active;
    PcieSlotStatus::kLinkStateChanged.Set(changes.events, true);
    (active ? changes.link_went_up : changes.link_went_down) = true;
    if (!active) ++resets_pending_;
  }
  // A guest that turns the power on again uses the card.
  if (removal_ == Removal::kPermitted && !controls_.power_off) {
    removal_ = Removal::kNone;
  }
  if (removal_ == Removal::kRequested && PermitsRemoval()) {
    removal_ = Removal::kPermitted;
    changes.removal_permitted = true;
  }
}

}  // namespace passthru::root_port
