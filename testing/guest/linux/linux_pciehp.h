// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_GUEST_LINUX_LINUX_PCIEHP_H_
#define PASSTHRU_TESTING_GUEST_LINUX_LINUX_PCIEHP_H_

#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "passthru/testing/guest/guest_layout.h"
#include "passthru/testing/guest/linux/guest_machine.h"
#include "passthru/testing/guest/linux/linux_msi.h"
#include "passthru/testing/guest/linux/linux_pci_device.h"

namespace passthru::guest {

// The driver of a port's hot-plug slot, with the register accesses of Linux's
// drivers/pci/hotplug/pciehp_hpc.c and pciehp_ctrl.c, by MSI. It has no clock,
// so that the five seconds in which a person may press the button again do not
// pass, and it does not wait a second after it turns power off.
//
// Only the guest's thread may use it. `machine` and `port` must outlive it. The
// caller must call Stop() before destruction.
class LinuxPciehp {
 public:
  // Takes the port over, as pcie_init() and pcie_enable_notification() do. If
  // the slot is empty and has power, turns it off.
  static absl::StatusOr<std::unique_ptr<LinuxPciehp>> Start(
      GuestMachine* machine, LinuxPciDevice* port);

  // Waits until a card is put in, and turns it on, like board_added(). When it
  // returns, the card answers at 0 of the secondary bus.
  absl::Status TurnOnNextCard();
  // Waits until the attention button is pressed while the slot is on.
  absl::Status WaitForButton();
  // Turns the slot off, like remove_board(). The card's driver must be gone.
  void TurnOff();
  // Waits until the link of a card that is on goes down.
  absl::Status WaitForLinkDown();
  void Stop();

  bool card_present() const;
  bool link_active() const;
  // Returns the number that the port's secondary bus has now.
  uint8_t secondary_bus() const;
  // Returns the memory window that the port has now.
  GuestRange memory_window() const;

 private:
  LinuxPciehp(GuestMachine* machine, LinuxPciDevice* port, uint16_t express)
      : machine_(machine), port_(port), express_(express) {}

  // Takes the events, like pciehp_isr().
  void TakeEvents();
  // Waits for an interrupt after which one of `events` is there, and takes it.
  absl::Status WaitFor(uint16_t events, const char* what);
  // Like pcie_write_cmd().
  void WriteControl(uint16_t value, uint16_t mask);

  GuestMachine* const machine_;
  LinuxPciDevice* const port_;
  const uint16_t express_;
  std::unique_ptr<LinuxMsi> msi_;
  uint16_t pending_ = 0;
};

}  // namespace passthru::guest

#endif  // PASSTHRU_TESTING_GUEST_LINUX_LINUX_PCIEHP_H_
