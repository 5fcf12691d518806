// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/vfio_pci/identity.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/str_format.h"
#include "passthru/pci/config_reg.h"
#include "passthru/pci/registers.h"

namespace passthru::vfio_pci {
namespace {

// The value that a read of an absent function gives.
constexpr uint16_t kAbsentId = 0xffff;
// The Vendor ID that a function which is not ready gives to software that asked
// for it (PCIe 6.0 2.3.2).
constexpr uint16_t kNotReadyId = 0x0001;

constexpr uint8_t kBridgeClass = 0x06;
constexpr uint8_t kPciBridge = 0x04;
constexpr uint8_t kCardbusBridge = 0x07;

}  // namespace

absl::Status IdentityOverride::Check() const {
  if (vendor_id.has_value() && (*vendor_id == kAbsentId ||
                                *vendor_id == kNotReadyId || *vendor_id == 0)) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "identity: the vendor ID 0x%04x belongs to no vendor, and the guest "
        "would take the function for one that is absent or not ready",
        *vendor_id));
  }
  if (subsystem_vendor_id == kAbsentId) {
    return absl::InvalidArgumentError(
        "identity: the subsystem vendor ID 0xffff belongs to no vendor. Use 0 "
        "for a function without a subsystem");
  }
  if (class_code.has_value() && class_code->base == kBridgeClass &&
      (class_code->sub == kPciBridge || class_code->sub == kCardbusBridge)) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "identity: the class %v is that of a bridge, which has another header",
        *class_code));
  }
  return absl::OkStatus();
}

void IdentityOverride::Apply(pci::ConfigSpace& space) const {
  if (vendor_id.has_value()) space.Set(pci::kVendorId, *vendor_id);
  if (device_id.has_value()) space.Set(pci::kDeviceId, *device_id);
  if (subsystem_vendor_id.has_value()) {
    space.Set(pci::kSubsystemVendorId, *subsystem_vendor_id);
  }
  if (subsystem_id.has_value()) space.Set(pci::kSubsystemId, *subsystem_id);
  if (class_code.has_value()) {
    space.Set(pci::kBaseClass, class_code->base);
    space.Set(pci::kSubClass, class_code->sub);
    space.Set(pci::kProgrammingInterface, class_code->interface);
  }
  if (revision_id.has_value()) space.Set(pci::kRevisionId, *revision_id);
}

std::vector<std::string> IdentityOverride::Describe(
    absl::Span<const uint8_t> image) const {
  std::vector<std::string> lines;
  const auto id = [&](std::string_view what,
                      const std::optional<uint16_t>& value,
                      pci::ConfigReg<uint16_t> reg) {
    if (!value.has_value()) return;
    lines.push_back(absl::StrFormat("the %s is %04x, the device's own %04x",
                                    what, *value,
                                    pci::ReadRegister(image, reg)));
  };
  id("vendor ID", vendor_id, pci::kVendorId);
  id("device ID", device_id, pci::kDeviceId);
  id("subsystem vendor ID", subsystem_vendor_id, pci::kSubsystemVendorId);
  id("subsystem ID", subsystem_id, pci::kSubsystemId);
  if (class_code.has_value()) {
    lines.push_back(absl::StrFormat("the class is %v, the device's own %v",
                                    *class_code, pci::ClassCode::Read(image)));
  }
  if (revision_id.has_value()) {
    lines.push_back(absl::StrFormat(
        "the revision is %02x, the device's own %02x", *revision_id,
        pci::ReadRegister(image, pci::kRevisionId)));
  }
  return lines;
}

}  // namespace passthru::vfio_pci
