// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/guest/linux/linux_pciehp.h"

#include <linux/pci_regs.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/status/status.h"
#include "absl/strings/str_format.h"
#include "passthru/devices/kernel/status_macros.h"
#include "passthru/testing/guest/linux/linux_pci_core.h"

namespace passthru::guest {
namespace {

constexpr uint16_t kEvents = PCI_EXP_SLTSTA_ABP | PCI_EXP_SLTSTA_PFD |
                             PCI_EXP_SLTSTA_PDC | PCI_EXP_SLTSTA_CC |
                             PCI_EXP_SLTSTA_DLLSC;
constexpr uint32_t kSlotFeatures = PCI_EXP_SLTCAP_HPC | PCI_EXP_SLTCAP_ABP |
                                   PCI_EXP_SLTCAP_PCP | PCI_EXP_SLTCAP_PIP |
                                   PCI_EXP_SLTCAP_NCCS;

// Data Link Layer Link Active Reporting Capable.
constexpr uint32_t kLinkReporting = PCI_EXP_LNKCAP_DLLLARC;

}  // namespace

absl::StatusOr<std::unique_ptr<LinuxPciehp>> LinuxPciehp::Start(
    GuestMachine* machine, LinuxPciDevice* port) {
  const uint16_t express = port->FindCapability(PCI_CAP_ID_EXP);
  const uint32_t slot = port->ReadDword(express + PCI_EXP_SLTCAP);
  const uint32_t link = port->ReadDword(express + PCI_EXP_LNKCAP);
  if (express == 0 || (slot & kSlotFeatures) != kSlotFeatures ||
      (link & kLinkReporting) == 0) {
    return absl::NotFoundError(absl::StrFormat(
        "guest: %s is no port with a slot as this driver knows it (%#x %#x)",
        port->name(), slot, link));
  }
  auto driver = absl::WrapUnique(new LinuxPciehp(machine, port, express));
  PciSetMaster(*port);
  port->WriteWord(express + PCI_EXP_SLTSTA, kEvents & ~PCI_EXP_SLTSTA_PDC);
  if (!driver->card_present()) {
    driver->WriteControl(PCI_EXP_SLTCTL_PWR_OFF, PCI_EXP_SLTCTL_PCC);
  }
  PASSTHRU_ASSIGN_OR_RETURN(driver->msi_,
                            LinuxMsi::Enable(machine->irq_context(), *port, 1));
  PASSTHRU_RETURN_IF_ERROR(driver->msi_->Request(
      0, "pciehp", [raw = driver.get()] { raw->TakeEvents(); }));
  const uint16_t enable = PCI_EXP_SLTCTL_DLLSCE | PCI_EXP_SLTCTL_ABPE |
                          PCI_EXP_SLTCTL_PFDE | PCI_EXP_SLTCTL_HPIE;
  driver->WriteControl(enable, enable | PCI_EXP_SLTCTL_PDCE);
  return driver;
}

void LinuxPciehp::TakeEvents() {
  // With MSI, all bits must be clear before the port sends another message.
  while (true) {
    const uint16_t status = port_->ReadWord(express_ + PCI_EXP_SLTSTA);
    if (status == 0xffff) return;
    const uint16_t events = status & kEvents;
    if (events == 0) return;
    pending_ |= events;
    port_->WriteWord(express_ + PCI_EXP_SLTSTA, events);
  }
}

absl::Status LinuxPciehp::WaitFor(uint16_t events, const char* what) {
  PASSTHRU_RETURN_IF_ERROR(machine_->interrupts().WaitUntil(
      what, [this, events] { return (pending_ & events) != 0; }));
  pending_ &= static_cast<uint16_t>(~events);
  return absl::OkStatus();
}

void LinuxPciehp::WriteControl(uint16_t value, uint16_t mask) {
  const uint16_t old = port_->ReadWord(express_ + PCI_EXP_SLTCTL);
  port_->WriteWord(express_ + PCI_EXP_SLTCTL,
                   static_cast<uint16_t>((old & ~mask) | (value & mask)));
}

absl::Status LinuxPciehp::TurnOnNextCard() {
  // An event of an empty slot is that of the last card, which went
  // (pciehp_handle_presence_or_link_change()).
  do {
    PASSTHRU_RETURN_IF_ERROR(
        WaitFor(PCI_EXP_SLTSTA_ABP | PCI_EXP_SLTSTA_PDC, "a card"));
  } while (!card_present());
  WriteControl(PCI_EXP_SLTCTL_PWR_ON, PCI_EXP_SLTCTL_PCC);
  const uint16_t control = port_->ReadWord(express_ + PCI_EXP_LNKCTL);
  port_->WriteWord(express_ + PCI_EXP_LNKCTL,
                   static_cast<uint16_t>(control & ~PCI_EXP_LNKCTL_LD));
  WriteControl(PCI_EXP_SLTCTL_PWR_IND_BLINK, PCI_EXP_SLTCTL_PIC);
  // pciehp_check_link_status().
  if (!link_active()) return absl::UnavailableError("guest: no link");
  pending_ &=
      static_cast<uint16_t>(~(PCI_EXP_SLTSTA_DLLSC | PCI_EXP_SLTSTA_PDC));
  const uint16_t status = port_->ReadWord(express_ + PCI_EXP_LNKSTA);
  if ((status & PCI_EXP_LNKSTA_LT) != 0 || (status & PCI_EXP_LNKSTA_NLW) == 0) {
    return absl::UnavailableError(
        absl::StrFormat("guest: link training error: status %#x", status));
  }
  const uint16_t slot = port_->ReadWord(express_ + PCI_EXP_SLTSTA);
  if ((slot & PCI_EXP_SLTSTA_PFD) != 0) {
    return absl::UnavailableError("guest: power fault");
  }
  TakeEvents();
  pending_ = 0;
  WriteControl(PCI_EXP_SLTCTL_PWR_IND_ON, PCI_EXP_SLTCTL_PIC);
  return absl::OkStatus();
}

absl::Status LinuxPciehp::WaitForButton() {
  PASSTHRU_RETURN_IF_ERROR(WaitFor(PCI_EXP_SLTSTA_ABP, "the button"));
  // pciehp_handle_button_press().
  WriteControl(PCI_EXP_SLTCTL_PWR_IND_BLINK, PCI_EXP_SLTCTL_PIC);
  return absl::OkStatus();
}

void LinuxPciehp::TurnOff() {
  WriteControl(PCI_EXP_SLTCTL_PWR_OFF, PCI_EXP_SLTCTL_PCC);
  // Ignores the changes that the power caused.
  TakeEvents();
  pending_ = 0;
  WriteControl(PCI_EXP_SLTCTL_PWR_IND_OFF, PCI_EXP_SLTCTL_PIC);
}

absl::Status LinuxPciehp::WaitForLinkDown() {
  PASSTHRU_RETURN_IF_ERROR(WaitFor(PCI_EXP_SLTSTA_DLLSC, "the link"));
  if (link_active()) return absl::InternalError("guest: the link is up");
  return absl::OkStatus();
}

void LinuxPciehp::Stop() {
  WriteControl(0, PCI_EXP_SLTCTL_DLLSCE | PCI_EXP_SLTCTL_ABPE |
                      PCI_EXP_SLTCTL_PFDE | PCI_EXP_SLTCTL_HPIE);
  msi_->Release(0);
  msi_->Free();
}

bool LinuxPciehp::card_present() const {
  return (port_->ReadWord(express_ + PCI_EXP_SLTSTA) & PCI_EXP_SLTSTA_PDS) != 0;
}

bool LinuxPciehp::link_active() const {
  return (port_->ReadWord(express_ + PCI_EXP_LNKSTA) & PCI_EXP_LNKSTA_DLLLA) !=
         0;
}

uint8_t LinuxPciehp::secondary_bus() const {
  return port_->ReadByte(PCI_SECONDARY_BUS);
}

// Mirrors pci_read_bridge_mmio().
GuestRange LinuxPciehp::memory_window() const {
  const uint64_t base = uint64_t{port_->ReadWord(PCI_MEMORY_BASE)} >> 4 << 20;
  const uint64_t limit = uint64_t{port_->ReadWord(PCI_MEMORY_LIMIT)} >> 4 << 20;
  if (base > limit) return {};
  return {.base = base, .size = limit - base + 0x100000};
}

}  // namespace passthru::guest
