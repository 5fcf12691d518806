// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_GUEST_LINUX_LINUX_PCI_PROBE_H_
#define PASSTHRU_TESTING_GUEST_LINUX_LINUX_PCI_PROBE_H_

#include <memory>
#include <vector>

#include "passthru/pci/bdf.h"
#include "passthru/testing/guest/linux/config_access.h"
#include "passthru/testing/guest/linux/linux_pci_device.h"

// Finds and sizes PCI functions as Linux does (drivers/pci/probe.c). The
// accesses, their widths and their order are the kernel's, because those are
// what a VMM must serve. There is one simplification. The kernel walks the
// capability list anew for each capability that it looks for, and this guest
// walks it once.

namespace passthru::guest {

// When to turn decode off for sizing.
enum class BarSizing {
  // Once around all BARs, as in __pci_size_stdbars() since Linux 6.14.
  kDecodeOffOnce,
  // Around each BAR, as in __pci_read_base() before that.
  kDecodeOffPerBar,
};

struct ProbeOptions {
  BarSizing sizing = BarSizing::kDecodeOffOnce;
};

// Scans bus 0 like pci_scan_child_bus(). Returns all functions of devices 0 to
// 31, with functions 1 to 7 only if function 0 is multifunction. Does not scan
// buses behind bridges. Never fails, and skips functions that do not answer.
std::vector<std::unique_ptr<LinuxPciDevice>> ScanBus0(ConfigAccess* config,
                                                      ProbeOptions options);

// Reads everything about one function, sizes its BARs, walks its capabilities,
// and turns MSI and MSI-X off if firmware left them on. Mirrors
// pci_scan_single_device(). Returns null if no function answers, or if its
// header type is unknown.
std::unique_ptr<LinuxPciDevice> ProbeDevice(ConfigAccess* config, pci::Bdf bdf,
                                            ProbeOptions options);

// Sizes BARs 0 to 5 (or 0 and 1 of a bridge) and the ROM, and leaves every
// register as it was. Mirrors pci_read_bases().
void ReadBases(LinuxPciDevice& device, BarSizing sizing);

// Finds all capabilities, like pci_find_capability() and
// pci_find_next_ext_capability() for all ids. It stops after 48 steps in the
// first list and 480 in the second, whatever the lists contain.
void WalkCapabilities(LinuxPciDevice& device);

}  // namespace passthru::guest

#endif  // PASSTHRU_TESTING_GUEST_LINUX_LINUX_PCI_PROBE_H_
