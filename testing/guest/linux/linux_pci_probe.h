// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_GUEST_LINUX_LINUX_PCI_PROBE_H_
#define PASSTHRU_TESTING_GUEST_LINUX_LINUX_PCI_PROBE_H_

#include <memory>
#include <vector>

#include "passthru/pci/bdf.h"
#include "passthru/testing/guest/linux/config_access.h"
#include "passthru/testing/guest/linux/linux_pci_device.h"

// How Linux finds and sizes PCI functions (drivers/pci/probe.c). The accesses,
// their widths and their order are the kernel's, since that is what a VMM has
// to live with. One simplification: the kernel walks the capability list anew
// for each capability that it looks for, this guest walks it once.

namespace passthru::guest {

// When decode is turned off for sizing.
enum class BarSizing {
  // Once, around all BARs: __pci_size_stdbars(), since Linux 6.14.
  kDecodeOffOnce,
  // Around each BAR: __pci_read_base() before that.
  kDecodeOffPerBar,
};

struct ProbeOptions {
  BarSizing sizing = BarSizing::kDecodeOffOnce;
};

// pci_scan_child_bus() of bus 0: all functions of devices 0 to 31, function 1
// to 7 only behind a multifunction device 0. Buses behind bridges are not
// scanned. Never fails: what does not answer is not there.
std::vector<std::unique_ptr<LinuxPciDevice>> ScanBus0(ConfigAccess* config,
                                                      ProbeOptions options);

// pci_scan_single_device(): reads everything about one function, sizes its
// BARs, walks its capabilities, and turns MSI and MSI-X off where firmware left
// them on. Null where no function answers.
std::unique_ptr<LinuxPciDevice> ProbeDevice(ConfigAccess* config, pci::Bdf bdf,
                                            ProbeOptions options);

// pci_read_bases(): sizes BARs 0 to 5 (or 0 and 1 of a bridge) and the ROM, and
// leaves every register as it was.
void ReadBases(LinuxPciDevice& device, BarSizing sizing);

// pci_find_capability() and pci_find_next_ext_capability() for all ids. At most
// 48 and 480 steps, whatever the list says.
void WalkCapabilities(LinuxPciDevice& device);

}  // namespace passthru::guest

#endif  // PASSTHRU_TESTING_GUEST_LINUX_LINUX_PCI_PROBE_H_
