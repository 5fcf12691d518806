// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_PCI_POWER_MANAGEMENT_H_
#define PASSTHRU_PCI_POWER_MANAGEMENT_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "passthru/pci/config_reg.h"
#include "passthru/pci/field.h"

// The Power Management capability (PCI Bus Power Management Interface 1.2 3.2).

namespace passthru::pci {

enum class PowerState : uint8_t { kD0 = 0, kD1 = 1, kD2 = 2, kD3Hot = 3 };

// Returns "D0", "D1", "D2" or "D3hot".
absl::string_view Name(PowerState state);

// Power Management Capabilities (PMC), 3.2.3.
struct PmCapabilities {
  using Raw = uint16_t;
  Raw raw = 0;
  static constexpr Field<PmCapabilities, 15, 11> kPmeSupport{};
  static constexpr Field<PmCapabilities, 10> kD2Support{};
  static constexpr Field<PmCapabilities, 9> kD1Support{};
  static constexpr Field<PmCapabilities, 8, 6> kAuxCurrent{};
  static constexpr Field<PmCapabilities, 5> kDeviceSpecificInit{};
  static constexpr Field<PmCapabilities, 3> kPmeClock{};
  static constexpr Field<PmCapabilities, 2, 0> kVersion{};
  friend constexpr bool operator==(PmCapabilities, PmCapabilities) = default;
};

// Power Management Control/Status (PMCSR), 3.2.4.
struct PmControlStatus {
  using Raw = uint16_t;
  Raw raw = 0;
  static constexpr Field<PmControlStatus, 15> kPmeStatus{};  // RW1C
  static constexpr Field<PmControlStatus, 14, 13> kDataScale{};
  static constexpr Field<PmControlStatus, 12, 9> kDataSelect{};
  static constexpr Field<PmControlStatus, 8> kPmeEnable{};
  // The function keeps its state when it returns from D3hot to D0.
  static constexpr Field<PmControlStatus, 3> kNoSoftReset{};
  static constexpr Field<PmControlStatus, 1, 0> kPowerState{};

  constexpr PowerState power_state() const {
    return static_cast<PowerState>(kPowerState.Get(*this));
  }
  friend constexpr bool operator==(PmControlStatus, PmControlStatus) = default;
};

// The power management features of one function.
//
// Immutable after Parse().
class PowerManagementCapability {
 public:
  static constexpr uint16_t kSize = 8;

  // Offsets are relative to the capability.
  static constexpr ConfigReg<PmCapabilities> kCapabilities{0x02};
  static constexpr ConfigReg<PmControlStatus> kControlStatus{0x04};
  static constexpr ConfigReg<uint8_t> kBridgeExtensions{0x06};
  static constexpr ConfigReg<uint8_t> kData{0x07};

  // Reads the capability from an image of the configuration space. Fails if
  // there is no Power Management capability at `offset`, or if the capability
  // crosses 0x100 or the end of the image.
  static absl::StatusOr<PowerManagementCapability> Parse(
      absl::Span<const uint8_t> config, uint8_t offset);

  uint8_t offset() const { return offset_; }
  uint8_t version() const;
  bool no_soft_reset() const { return no_soft_reset_; }
  // Returns whether the function supports `state`. Every function supports D0
  // and D3hot (3.2.3, 5.4).
  bool Supports(PowerState state) const;

  // Returns the state that the registers hold. `bytes` holds the capability's
  // kSize bytes, starting with its ID.
  static PowerState State(absl::Span<const uint8_t> bytes) {
    return ReadRegister(bytes, kControlStatus).power_state();
  }

 private:
  PowerManagementCapability(uint8_t offset, PmCapabilities capabilities,
                            bool no_soft_reset)
      : offset_(offset),
        capabilities_(capabilities),
        no_soft_reset_(no_soft_reset) {}

  uint8_t offset_;
  PmCapabilities capabilities_;
  bool no_soft_reset_;
};

}  // namespace passthru::pci

#endif  // PASSTHRU_PCI_POWER_MANAGEMENT_H_
