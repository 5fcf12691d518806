// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_VMM_REGRESSION_DEVICE_FACTS_H_
#define PASSTHRU_VMM_REGRESSION_DEVICE_FACTS_H_

#include <cstdint>
#include <string>

#include "passthru/devices/vfio_pci/device_report.h"

namespace passthru::vmm {

// A summary of a regression run that fits into one row of a table. A plain
// value.
struct DeviceFacts {
  uint32_t class_code = 0;
  uint8_t interrupt_pin = 0;  // 1 is INTA. 0 if the guest sees no pin.
  vfio_pci::DeviceReport report;
  // These are totals of all sections of the transcript that have a cost.
  uint64_t exits = 0;
  uint64_t kernel_calls = 0;

  // Returns the facts in one line. Numbers come first, in columns of fixed
  // width, and lists follow. MSI and MSI-X are numbers of vectors that the
  // guest sees. For example:
  //
  //   class 010802  INTA  MSI   0  MSI-X   65  exits  3102  calls  1741  BAR0:
  //   64-bit memory, 16 KiB | passed: Power Management | virtualized: MSI-X,
  //   PCI Express | hidden: none
  std::string ToString() const;
};

}  // namespace passthru::vmm

#endif  // PASSTHRU_VMM_REGRESSION_DEVICE_FACTS_H_
