// SPDX-License-Identifier: Apache-2.0
//
// What the lab's guest does while its disk is unplugged and plugged. Each
// function returns what went wrong, or an empty text.

#ifndef PASSTHRU_TESTING_LAB_GUEST_HOT_PLUG_H_
#define PASSTHRU_TESTING_LAB_GUEST_HOT_PLUG_H_

#include <string>

namespace passthru::lab {

// Checks that the ports' hot-plug interrupts are of this kind in
// /proc/interrupts.
std::string CheckPortInterrupts(const std::string& kind);

// Takes pciehp off all ports, so that Linux ignores their attention buttons.
std::string IgnoreButtons();

// Waits for the disk of a controller with this serial number, says "I/O runs"
// and writes to it until that fails. The error must be one that Linux has for
// hardware that went. Says how it ended.
//
// If the disk comes back, waits until it is gone and there again, and checks
// that it has what was written. `disk` is then its name. (Without pciehp
// nothing tells Linux that a device is gone. Its driver finds out by itself,
// and the dead disk stays.)
std::string WriteUntilUnplugged(const std::string& serial, bool comes_back,
                                std::string& disk);

// Takes "SERIAL@BDF". Without a PCI device at BDF says that Linux started
// without it, and sets `left` to false. Otherwise writes to the disk of the
// controller until it is unplugged, and waits until it is gone.
std::string LeaveUnlessGone(const std::string& argument, bool& left);

// Says "a button resets", waits until a port's attention button is pressed and
// resets the machine at once. Returns only after a failure.
std::string ResetAtButton();

}  // namespace passthru::lab

#endif  // PASSTHRU_TESTING_LAB_GUEST_HOT_PLUG_H_
