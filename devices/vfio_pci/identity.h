// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_DEVICES_VFIO_PCI_IDENTITY_H_
#define PASSTHRU_DEVICES_VFIO_PCI_IDENTITY_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "passthru/pci/class_code.h"
#include "passthru/pci/config_space.h"

namespace passthru::vfio_pci {

// What the guest is told that the device is, where that differs from the truth.
// A VMM uses it to give the guest a driver that knows the device under another
// name. A plain value.
struct IdentityOverride {
  std::optional<uint16_t> vendor_id;
  std::optional<uint16_t> device_id;
  std::optional<uint16_t> subsystem_vendor_id;
  std::optional<uint16_t> subsystem_id;
  std::optional<pci::ClassCode> class_code;
  std::optional<uint8_t> revision_id;

  // Returns kInvalidArgument if software would take the function for one that
  // is absent, not ready or a bridge.
  absl::Status Check() const;

  // Writes the registers that differ.
  void Apply(pci::ConfigSpace& space) const;

  // Returns a sentence for each register that is overridden. `image` is the
  // device's own configuration space.
  std::vector<std::string> Describe(absl::Span<const uint8_t> image) const;
};

}  // namespace passthru::vfio_pci

#endif  // PASSTHRU_DEVICES_VFIO_PCI_IDENTITY_H_
