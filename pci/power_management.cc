// SPDX-License-Identifier: Apache-2.0
#include "passthru/pci/power_management.h"

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "passthru/pci/capability_check.h"
#include "passthru/pci/capability_id.h"
#include "passthru/pci/config_reg.h"

namespace passthru::pci {

absl::string_view Name(PowerState state) {
  switch (state) {
    case PowerState::kD0:
      return "D0";
    case PowerState::kD1:
      return "D1";
    case PowerState::kD2:
      return "D2";
    case PowerState::kD3Hot:
      return "D3hot";
  }
  return "Unknown";
}

absl::StatusOr<PowerManagementCapability> PowerManagementCapability::Parse(
    absl::Span<const uint8_t> config, uint8_t offset) {
  if (absl::Status status = CheckCapability(
          config, offset, CapabilityId::kPowerManagement, kSize);
      !status.ok()) {
    return status;
  }
  return PowerManagementCapability(
      offset, ReadRegister(config, kCapabilities.At(offset)),
      PmControlStatus::kNoSoftReset.Get(
          ReadRegister(config, kControlStatus.At(offset))));
}

uint8_t PowerManagementCapability::version() const {
  return static_cast<uint8_t>(PmCapabilities::kVersion.Get(capabilities_));
}

bool PowerManagementCapability::Supports(PowerState state) const {
  switch (state) {
    case PowerState::kD1:
      return PmCapabilities::kD1Support.Get(capabilities_);
    case PowerState::kD2:
      return PmCapabilities::kD2Support.Get(capabilities_);
    case PowerState::kD0:
    case PowerState::kD3Hot:
      return true;
  }
  return false;
}

}  // namespace passthru::pci
