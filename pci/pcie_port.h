// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_PCI_PCIE_PORT_H_
#define PASSTHRU_PCI_PCIE_PORT_H_

#include <cstdint>

#include "passthru/pci/field.h"

// The registers of the PCI Express capability that ports have (PCIe 6.0 7.5.3).
// PcieCapability has their offsets.

namespace passthru::pci {

// Link Control, PCIe 6.0 7.5.3.7.
struct PcieLinkControl {
  using Raw = uint16_t;
  Raw raw = 0;
  static constexpr Field<PcieLinkControl, 7> kExtendedSynch{};
  static constexpr Field<PcieLinkControl, 6> kCommonClock{};
  static constexpr Field<PcieLinkControl, 5> kRetrainLink{};  // reads as zero
  static constexpr Field<PcieLinkControl, 4> kLinkDisable{};
  static constexpr Field<PcieLinkControl, 1, 0> kAspm{};
  friend constexpr bool operator==(PcieLinkControl, PcieLinkControl) = default;
};

// Slot Capabilities, PCIe 6.0 7.5.3.9.
struct PcieSlotCapabilities {
  using Raw = uint32_t;
  Raw raw = 0;
  static constexpr Field<PcieSlotCapabilities, 31, 19> kSlotNumber{};
  static constexpr Field<PcieSlotCapabilities, 18> kNoCommandCompleted{};
  static constexpr Field<PcieSlotCapabilities, 17> kInterlock{};
  static constexpr Field<PcieSlotCapabilities, 16, 15> kPowerLimitScale{};
  static constexpr Field<PcieSlotCapabilities, 14, 7> kPowerLimitValue{};
  static constexpr Field<PcieSlotCapabilities, 6> kHotPlugCapable{};
  static constexpr Field<PcieSlotCapabilities, 5> kHotPlugSurprise{};
  static constexpr Field<PcieSlotCapabilities, 4> kPowerIndicator{};
  static constexpr Field<PcieSlotCapabilities, 3> kAttentionIndicator{};
  static constexpr Field<PcieSlotCapabilities, 2> kMrlSensor{};
  static constexpr Field<PcieSlotCapabilities, 1> kPowerController{};
  static constexpr Field<PcieSlotCapabilities, 0> kAttentionButton{};
  friend constexpr bool operator==(PcieSlotCapabilities,
                                   PcieSlotCapabilities) = default;
};

// What an indicator shows (Attention and Power Indicator Control).
enum class PcieIndicator : uint8_t {
  kReserved = 0,
  kOn = 1,
  kBlink = 2,
  kOff = 3
};

// Slot Control, PCIe 6.0 7.5.3.10.
struct PcieSlotControl {
  using Raw = uint16_t;
  Raw raw = 0;
  static constexpr Field<PcieSlotControl, 12> kLinkStateEnable{};
  // Is set while the slot's power is off.
  static constexpr Field<PcieSlotControl, 10> kPowerOff{};
  static constexpr Field<PcieSlotControl, 9, 8> kPowerIndicator{};
  static constexpr Field<PcieSlotControl, 7, 6> kAttentionIndicator{};
  static constexpr Field<PcieSlotControl, 5> kInterruptEnable{};
  static constexpr Field<PcieSlotControl, 4> kCommandCompletedEnable{};
  static constexpr Field<PcieSlotControl, 3> kPresenceEnable{};
  static constexpr Field<PcieSlotControl, 2> kMrlEnable{};
  static constexpr Field<PcieSlotControl, 1> kPowerFaultEnable{};
  static constexpr Field<PcieSlotControl, 0> kAttentionButtonEnable{};

  constexpr PcieIndicator power_indicator() const {
    return static_cast<PcieIndicator>(kPowerIndicator.Get(*this));
  }
  friend constexpr bool operator==(PcieSlotControl, PcieSlotControl) = default;
};

// Slot Status, PCIe 6.0 7.5.3.11. The bits of the events have the places of
// their enable bits in Slot Control, except for the link's.
struct PcieSlotStatus {
  using Raw = uint16_t;
  Raw raw = 0;
  static constexpr Field<PcieSlotStatus, 8> kLinkStateChanged{};  // RW1C
  static constexpr Field<PcieSlotStatus, 7> kInterlockEngaged{};
  static constexpr Field<PcieSlotStatus, 6> kCardPresent{};
  static constexpr Field<PcieSlotStatus, 5> kMrlOpen{};
  static constexpr Field<PcieSlotStatus, 4> kCommandCompleted{};  // RW1C
  static constexpr Field<PcieSlotStatus, 3> kPresenceChanged{};   // RW1C
  static constexpr Field<PcieSlotStatus, 2> kMrlChanged{};        // RW1C
  static constexpr Field<PcieSlotStatus, 1> kPowerFault{};        // RW1C
  static constexpr Field<PcieSlotStatus, 0> kAttentionButton{};   // RW1C
  // The bits that a write of one clears (RW1C).
  static constexpr Raw kWriteOneToClear = 0x011f;
  friend constexpr bool operator==(PcieSlotStatus, PcieSlotStatus) = default;
};

// Returns whether `status` has an event whose interrupt `control` enables
// (PCIe 6.0 6.7.3.4).
constexpr bool HotPlugInterrupt(PcieSlotControl control,
                                PcieSlotStatus status) {
  if (!PcieSlotControl::kInterruptEnable.Get(control)) return false;
  constexpr PcieSlotStatus::Raw kSamePlaces = 0x001f;
  return (control.raw & status.raw & kSamePlaces) != 0 ||
         (PcieSlotControl::kLinkStateEnable.Get(control) &&
          PcieSlotStatus::kLinkStateChanged.Get(status));
}

// Root Control, PCIe 6.0 7.5.3.12.
struct PcieRootControl {
  using Raw = uint16_t;
  Raw raw = 0;
  static constexpr Field<PcieRootControl, 4> kCrsVisibility{};
  static constexpr Field<PcieRootControl, 3> kPmeInterruptEnable{};
  static constexpr Field<PcieRootControl, 2> kSerrOnFatal{};
  static constexpr Field<PcieRootControl, 1> kSerrOnNonFatal{};
  static constexpr Field<PcieRootControl, 0> kSerrOnCorrectable{};
  friend constexpr bool operator==(PcieRootControl, PcieRootControl) = default;
};

// Root Status, PCIe 6.0 7.5.3.14.
struct PcieRootStatus {
  using Raw = uint32_t;
  Raw raw = 0;
  static constexpr Field<PcieRootStatus, 17> kPmePending{};
  static constexpr Field<PcieRootStatus, 16> kPmeStatus{};  // RW1C
  static constexpr Field<PcieRootStatus, 15, 0> kPmeRequester{};
  friend constexpr bool operator==(PcieRootStatus, PcieRootStatus) = default;
};

}  // namespace passthru::pci

#endif  // PASSTHRU_PCI_PCIE_PORT_H_
