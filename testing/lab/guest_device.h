// SPDX-License-Identifier: Apache-2.0
//
// What the lab's guest does with a PCI device in sysfs. A device is the first
// one of a driver. Each function returns what went wrong, or an empty text.

#ifndef PASSTHRU_TESTING_LAB_GUEST_DEVICE_H_
#define PASSTHRU_TESTING_LAB_GUEST_DEVICE_H_

#include <cstdint>
#include <string>
#include <vector>

namespace passthru::lab {

// Checks that the device took interrupts, all of one kind: "msix", "msi" or
// "intx". Prints how many.
std::string CheckInterrupts(const std::string& driver, const std::string& kind);

// Removes the device and has Linux find it again.
std::string RemoveAndRescan(const std::string& driver);

// Resets the function under its driver.
std::string ResetFunction(const std::string& driver);

// Has the machine sleep (s2idle) until a key is pressed on the serial console.
// The devices of these drivers, with commas between them, must have been in
// D3hot.
std::string Suspend(const std::string& drivers);

// Reads the configuration space of all functions so many times.
std::string ReadConfig(int times);

// Reads the expansion ROM.
std::string ReadRom(const std::string& driver, std::vector<uint8_t>& rom);

// Writes random values to configuration registers of all functions, also of
// those that are not there, and has the machine reset itself before a driver
// sees what happened. Returns only if it cannot.
std::string WreckAndReset();

}  // namespace passthru::lab

#endif  // PASSTHRU_TESTING_LAB_GUEST_DEVICE_H_
