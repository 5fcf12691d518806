// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_DEVICES_PCI_HOST_FUNCTION_BUS_H_
#define PASSTHRU_DEVICES_PCI_HOST_FUNCTION_BUS_H_

#include <memory>

#include "absl/status/status.h"
#include "passthru/devices/pci_host/pci_function.h"
#include "passthru/pci/bdf.h"

namespace passthru::pci_host {

// Where the guest's configuration accesses find the functions of its PCI
// devices. PciSegment implements it. A VMM with a PCI host of its own
// implements it in order to show devices there.
//
// Implementations are thread-safe.
class FunctionBus {
 public:
  virtual ~FunctionBus() = default;

  // Shows `function` to the guest at `bdf`. Returns kAlreadyExists for a place
  // that is taken.
  virtual absl::Status Add(pci::Bdf bdf,
                           std::shared_ptr<PciFunction> function) = 0;

  // Removes the function at `bdf`. Returns only when no other thread is in a
  // call to it. From inside such a call, Remove() does not wait for that call.
  // Returns kNotFound for a place that is empty.
  virtual absl::Status Remove(pci::Bdf bdf) = 0;
};

}  // namespace passthru::pci_host

#endif  // PASSTHRU_DEVICES_PCI_HOST_FUNCTION_BUS_H_
