// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_PCI_PCIE_CAPABILITY_H_
#define PASSTHRU_PCI_PCIE_CAPABILITY_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "passthru/pci/config_reg.h"
#include "passthru/pci/field.h"
#include "passthru/pci/pcie_port.h"

// The PCI Express capability (PCIe 6.0 7.5.3).

namespace passthru::pci {

// Device/Port Type, PCIe 6.0 7.5.3.2, table 7-19.
enum class PciePortType : uint8_t {
  kEndpoint = 0x0,
  kLegacyEndpoint = 0x1,
  kRootPort = 0x4,
  kSwitchUpstreamPort = 0x5,
  kSwitchDownstreamPort = 0x6,
  kPcieToPciBridge = 0x7,
  kPciToPcieBridge = 0x8,
  kRootComplexIntegratedEndpoint = 0x9,
  kRootComplexEventCollector = 0xa,
};

// Returns for example "Root Port", or "Unknown" for a reserved encoding.
absl::string_view Name(PciePortType type);

// PCI Express Capabilities, PCIe 6.0 7.5.3.2.
struct PcieFlags {
  using Raw = uint16_t;
  Raw raw = 0;
  static constexpr Field<PcieFlags, 13, 9> kInterruptMessageNumber{};
  static constexpr Field<PcieFlags, 8> kSlotImplemented{};
  static constexpr Field<PcieFlags, 7, 4> kPortType{};
  static constexpr Field<PcieFlags, 3, 0> kVersion{};
  friend constexpr bool operator==(PcieFlags, PcieFlags) = default;
};

// Device Capabilities, PCIe 6.0 7.5.3.3. Only the bits that this library uses.
struct PcieDeviceCapabilities {
  using Raw = uint32_t;
  Raw raw = 0;
  static constexpr Field<PcieDeviceCapabilities, 28> kFunctionLevelReset{};
  static constexpr Field<PcieDeviceCapabilities, 15> kRoleBasedErrors{};
  static constexpr Field<PcieDeviceCapabilities, 5> kExtendedTag{};
  static constexpr Field<PcieDeviceCapabilities, 2, 0> kMaxPayloadSize{};
  friend constexpr bool operator==(PcieDeviceCapabilities,
                                   PcieDeviceCapabilities) = default;
};

// Device Control, PCIe 6.0 7.5.3.4.
struct PcieDeviceControl {
  using Raw = uint16_t;
  Raw raw = 0;
  // Initiate Function Level Reset, in an endpoint. It reads as zero.
  static constexpr Field<PcieDeviceControl, 15> kInitiateFlr{};
  static constexpr Field<PcieDeviceControl, 14, 12> kMaxReadRequestSize{};
  static constexpr Field<PcieDeviceControl, 11> kEnableNoSnoop{};
  static constexpr Field<PcieDeviceControl, 10> kAuxPowerPmEnable{};
  static constexpr Field<PcieDeviceControl, 9> kPhantomFunctionsEnable{};
  static constexpr Field<PcieDeviceControl, 8> kExtendedTagEnable{};
  static constexpr Field<PcieDeviceControl, 7, 5> kMaxPayloadSize{};
  static constexpr Field<PcieDeviceControl, 4> kRelaxedOrdering{};
  friend constexpr bool operator==(PcieDeviceControl,
                                   PcieDeviceControl) = default;
};

// Device Status, PCIe 6.0 7.5.3.5.
struct PcieDeviceStatus {
  using Raw = uint16_t;
  Raw raw = 0;
  static constexpr Field<PcieDeviceStatus, 5> kTransactionsPending{};
  static constexpr Raw kWriteOneToClear = 0x000f;
  friend constexpr bool operator==(PcieDeviceStatus,
                                   PcieDeviceStatus) = default;
};

// Link Capabilities, PCIe 6.0 7.5.3.6.
struct PcieLinkCapabilities {
  using Raw = uint32_t;
  Raw raw = 0;
  static constexpr Field<PcieLinkCapabilities, 31, 24> kPortNumber{};
  static constexpr Field<PcieLinkCapabilities, 22> kAspmOptionality{};
  static constexpr Field<PcieLinkCapabilities, 20> kLinkActiveReporting{};
  static constexpr Field<PcieLinkCapabilities, 9, 4> kMaxWidth{};
  static constexpr Field<PcieLinkCapabilities, 3, 0> kMaxSpeed{};
  friend constexpr bool operator==(PcieLinkCapabilities,
                                   PcieLinkCapabilities) = default;
};

// Link Status, PCIe 6.0 7.5.3.8.
struct PcieLinkStatus {
  using Raw = uint16_t;
  Raw raw = 0;
  static constexpr Field<PcieLinkStatus, 13> kLinkActive{};
  static constexpr Field<PcieLinkStatus, 12> kSlotClock{};
  static constexpr Field<PcieLinkStatus, 11> kTraining{};
  static constexpr Field<PcieLinkStatus, 9, 4> kWidth{};
  static constexpr Field<PcieLinkStatus, 3, 0> kSpeed{};
  friend constexpr bool operator==(PcieLinkStatus, PcieLinkStatus) = default;
};

// The PCI Express capability of one function.
//
// Immutable after Parse().
class PcieCapability {
 public:
  // Offsets are relative to the capability.
  static constexpr ConfigReg<PcieFlags> kFlags{0x02};
  static constexpr ConfigReg<PcieDeviceCapabilities> kDeviceCapabilities{0x04};
  static constexpr ConfigReg<PcieDeviceControl> kDeviceControl{0x08};
  static constexpr ConfigReg<PcieDeviceStatus> kDeviceStatus{0x0a};
  static constexpr ConfigReg<PcieLinkCapabilities> kLinkCapabilities{0x0c};
  static constexpr ConfigReg<PcieLinkControl> kLinkControl{0x10};
  static constexpr ConfigReg<PcieLinkStatus> kLinkStatus{0x12};
  static constexpr ConfigReg<PcieSlotCapabilities> kSlotCapabilities{0x14};
  static constexpr ConfigReg<PcieSlotControl> kSlotControl{0x18};
  static constexpr ConfigReg<PcieSlotStatus> kSlotStatus{0x1a};
  static constexpr ConfigReg<PcieRootControl> kRootControl{0x1c};
  static constexpr ConfigReg<uint16_t> kRootCapabilities{0x1e};
  static constexpr ConfigReg<PcieRootStatus> kRootStatus{0x20};
  static constexpr ConfigReg<uint32_t> kDeviceCapabilities2{0x24};
  static constexpr ConfigReg<uint16_t> kDeviceControl2{0x28};
  static constexpr ConfigReg<uint16_t> kDeviceStatus2{0x2a};
  static constexpr ConfigReg<uint32_t> kLinkCapabilities2{0x2c};
  static constexpr ConfigReg<uint16_t> kLinkControl2{0x30};
  static constexpr ConfigReg<uint16_t> kLinkStatus2{0x32};

  // Reads the capability from an image of the configuration space. Fails if
  // there is no PCI Express capability at `offset`, or if the registers that
  // all functions have cross 0x100 or the end of the image.
  static absl::StatusOr<PcieCapability> Parse(absl::Span<const uint8_t> config,
                                              uint8_t offset);

  uint8_t offset() const { return offset_; }
  // The version is 1 or 2. Broken functions report 0, as the VFs of Intel 82599
  // do, and have the registers of version 2.
  uint8_t version() const { return version_; }
  PciePortType port_type() const { return port_type_; }
  bool slot_implemented() const { return slot_implemented_; }
  // Returns whether software can reset the function alone, by Initiate Function
  // Level Reset.
  bool function_level_reset() const { return function_level_reset_; }
  // Returns whether the function has a link. Functions that are integrated into
  // the root complex have none.
  bool has_link() const;
  // Returns the size in bytes, up to the last register that applies to this
  // version and type.
  uint8_t size() const;

 private:
  PcieCapability() = default;

  uint8_t offset_ = 0;
  uint8_t version_ = 0;
  PciePortType port_type_ = PciePortType::kEndpoint;
  bool slot_implemented_ = false;
  bool function_level_reset_ = false;
};

}  // namespace passthru::pci

#endif  // PASSTHRU_PCI_PCIE_CAPABILITY_H_
