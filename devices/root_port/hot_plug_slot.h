// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_DEVICES_ROOT_PORT_HOT_PLUG_SLOT_H_
#define PASSTHRU_DEVICES_ROOT_PORT_HOT_PLUG_SLOT_H_

#include "absl/status/statusor.h"
#include "passthru/pci/pcie_port.h"

namespace passthru::root_port {

// A slot with an attention button, a power controller and a link, as the
// electromechanical parts of PCIe 6.0 6.7.1 behave. It knows no registers and
// no threads. Its owner passes on what the guest's registers tell it, and
// carries out the changes that it returns.
//
// The card is what the VMM put into the slot. To take it out, a person presses
// the attention button and waits until the guest has turned power and power
// indicator off, which permits the removal (6.7.1.1.2). To take it out earlier
// is a surprise removal.
//
// Thread-compatible.
class HotPlugSlot {
 public:
  // What the guest's registers tell the slot.
  struct Controls {
    bool power_off = false;  // Slot Control, Power Controller Control
    pci::PcieIndicator power_indicator = pci::PcieIndicator::kOn;
    bool link_disabled = false;  // Link Control
    bool bus_reset = false;      // Bridge Control
    friend bool operator==(const Controls&, const Controls&) = default;
  };
  // What a step changed.
  struct Changes {
    pci::PcieSlotStatus events;  // bits to set in Slot Status
    bool link_went_up = false;
    // The card lost its link, which resets it (6.6.1). The owner carries the
    // reset out and then calls FinishReset().
    bool link_went_down = false;
    // The guest permits a removal that the VMM asked for.
    bool removal_permitted = false;
    friend bool operator==(const Changes&, const Changes&) = default;
  };

  // Returns to the state after power-on, in which a card that is there has
  // power. Forgets a request for its removal. Causes no event.
  void Reset(const Controls& controls);

  // Puts a card in, or takes it out. A person who puts a card in then presses
  // the attention button, because a guest need not look for the card otherwise.
  // Linux enables the interrupt of the presence detect only in slots without a
  // button (pcie_enable_notification()), and powers the slot without further
  // delay if it sees both events. Insert() in an occupied slot and Remove() in
  // an empty one change nothing.
  Changes Insert();
  Changes Remove();

  // Asks the guest to permit the removal of the card, by the attention button.
  // No button is pressed if the guest permits it already. Returns
  // kFailedPrecondition for an empty slot, and kAlreadyExists if the request is
  // pending, because another press would take it back.
  absl::StatusOr<Changes> RequestRemoval();
  // Takes a request back, by the button. A guest need not heed that. Returns
  // kFailedPrecondition if no request is pending.
  absl::StatusOr<Changes> CancelRemoval();

  // Cuts the power, as the slot's power controller does after a fault, until
  // the guest has turned it off. Changes nothing without a powered card.
  Changes FailPower();

  // The guest has written its registers.
  Changes Apply(const Controls& controls);

  // The owner has carried out a reset. Until it has carried out all of them the
  // link stays down, because another vCPU may turn the power on meanwhile, and
  // a late reset would hit what its driver has set up. A new card waits, too.
  Changes FinishReset();

  bool card_present() const { return card_present_; }
  bool link_active() const { return link_active_; }
  // Returns whether a request for removal waits for the guest.
  bool removal_pending() const { return removal_ == Removal::kRequested; }
  // Returns whether the VMM asked for the card, whatever the guest answered.
  bool removal_requested() const { return removal_ != Removal::kNone; }

 private:
  enum class Removal { kNone, kRequested, kPermitted };

  bool LinkShouldBeActive() const;
  bool PermitsRemoval() const;
  // Adds what follows from the current state.
  void Settle(Changes& changes);

  Controls controls_;
  bool card_present_ = false;
  bool power_fault_ = false;
  bool link_active_ = false;
  int resets_pending_ = 0;
  Removal removal_ = Removal::kNone;
};

}  // namespace passthru::root_port

#endif  // PASSTHRU_DEVICES_ROOT_PORT_HOT_PLUG_SLOT_H_
