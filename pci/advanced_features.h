// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_PCI_ADVANCED_FEATURES_H_
#define PASSTHRU_PCI_ADVANCED_FEATURES_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "passthru/pci/config_reg.h"
#include "passthru/pci/field.h"

// The Advanced Features capability, which lets software reset a conventional
// PCI function without resetting its bus (ECN "Advanced Capabilities for
// Conventional PCI", 2006).

namespace passthru::pci {

// AF Capabilities.
struct AfCapabilities {
  using Raw = uint8_t;
  Raw raw = 0;
  static constexpr Field<AfCapabilities, 1> kFunctionLevelReset{};
  static constexpr Field<AfCapabilities, 0> kTransactionsPending{};
  friend constexpr bool operator==(AfCapabilities, AfCapabilities) = default;
};

// AF Control.
struct AfControl {
  using Raw = uint8_t;
  Raw raw = 0;
  static constexpr Field<AfControl, 0> kInitiateFlr{};  // Reads as zero.
  friend constexpr bool operator==(AfControl, AfControl) = default;
};

// AF Status.
struct AfStatus {
  using Raw = uint8_t;
  Raw raw = 0;
  static constexpr Field<AfStatus, 0> kTransactionsPending{};
  friend constexpr bool operator==(AfStatus, AfStatus) = default;
};

// The Advanced Features capability of one function.
//
// Immutable after Parse().
class AfCapability {
 public:
  static constexpr uint16_t kSize = 6;

  // Offsets are relative to the capability.
  static constexpr ConfigReg<uint8_t> kLength{0x02};
  static constexpr ConfigReg<AfCapabilities> kCapabilities{0x03};
  static constexpr ConfigReg<AfControl> kControl{0x04};
  static constexpr ConfigReg<AfStatus> kStatus{0x05};

  // Reads the capability from an image of the configuration space. Fails if
  // there is no Advanced Features capability at `offset`, if the capability
  // crosses 0x100 or the end of the image, or if the length it declares is not
  // kSize.
  static absl::StatusOr<AfCapability> Parse(absl::Span<const uint8_t> config,
                                            uint8_t offset);

  uint8_t offset() const { return offset_; }
  // Returns whether the function supports FLR. That takes both bits, because
  // software must wait for Transactions Pending to clear before it resets.
  bool function_level_reset() const {
    return AfCapabilities::kFunctionLevelReset.Get(capabilities_) &&
           AfCapabilities::kTransactionsPending.Get(capabilities_);
  }

 private:
  AfCapability(uint8_t offset, AfCapabilities capabilities)
      : offset_(offset), capabilities_(capabilities) {}

  uint8_t offset_;
  AfCapabilities capabilities_;
};

}  // namespace passthru::pci

#endif  // PASSTHRU_PCI_ADVANCED_FEATURES_H_
