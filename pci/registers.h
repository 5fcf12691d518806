// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_PCI_REGISTERS_H_
#define PASSTHRU_PCI_REGISTERS_H_

#include <cstdint>

#include "passthru/pci/config_reg.h"
#include "passthru/pci/field.h"

// The configuration header (PCI 3.0 6.1 and 6.2, PCIe 6.0 7.5.1, and for type 1
// PCI to PCI Bridge 1.2 3.2).

namespace passthru::pci {

inline constexpr uint16_t kConfigSpaceSize = 0x100;
inline constexpr uint16_t kExtendedConfigSpaceSize = 0x1000;
inline constexpr uint16_t kStandardHeaderSize = 0x40;

// Command, PCI 3.0 6.2.2.
struct Command {
  using Raw = uint16_t;
  Raw raw = 0;
  static constexpr Field<Command, 10> kInterruptDisable{};
  static constexpr Field<Command, 9> kFastBackToBackEnable{};
  static constexpr Field<Command, 8> kSerrEnable{};
  static constexpr Field<Command, 6> kParityErrorResponse{};
  static constexpr Field<Command, 5> kVgaPaletteSnoop{};
  static constexpr Field<Command, 4> kMemoryWriteAndInvalidate{};
  static constexpr Field<Command, 3> kSpecialCycles{};
  static constexpr Field<Command, 2> kBusMaster{};
  static constexpr Field<Command, 1> kMemorySpace{};
  static constexpr Field<Command, 0> kIoSpace{};
  friend constexpr bool operator==(Command, Command) = default;
};

// Status, PCI 3.0 6.2.3, and PCIe 6.0 7.5.1.1.4 for bit 0.
struct Status {
  using Raw = uint16_t;
  Raw raw = 0;
  static constexpr Field<Status, 15> kDetectedParityError{};
  static constexpr Field<Status, 14> kSignaledSystemError{};
  static constexpr Field<Status, 13> kReceivedMasterAbort{};
  static constexpr Field<Status, 12> kReceivedTargetAbort{};
  static constexpr Field<Status, 11> kSignaledTargetAbort{};
  static constexpr Field<Status, 10, 9> kDevselTiming{};
  static constexpr Field<Status, 8> kMasterDataParityError{};
  static constexpr Field<Status, 7> kFastBackToBackCapable{};
  static constexpr Field<Status, 5> k66MhzCapable{};
  static constexpr Field<Status, 4> kCapabilitiesList{};
  static constexpr Field<Status, 3> kInterruptStatus{};
  static constexpr Field<Status, 0> kImmediateReadiness{};
  // The bits that a write of one clears (RW1C).
  static constexpr Raw kWriteOneToClear = 0xf900;
  friend constexpr bool operator==(Status, Status) = default;
};

// Header Type, PCI 3.0 6.2.1.
struct HeaderType {
  using Raw = uint8_t;
  Raw raw = 0;
  static constexpr Field<HeaderType, 7> kMultiFunction{};
  static constexpr Field<HeaderType, 6, 0> kLayout{};
  static constexpr uint32_t kLayoutNormal = 0;   // Type 0
  static constexpr uint32_t kLayoutBridge = 1;   // Type 1
  static constexpr uint32_t kLayoutCardbus = 2;  // Type 2
  friend constexpr bool operator==(HeaderType, HeaderType) = default;
};

// Expansion ROM Base Address, PCI 3.0 6.2.5.2.
struct ExpansionRom {
  using Raw = uint32_t;
  Raw raw = 0;
  static constexpr Field<ExpansionRom, 31, 11> kAddress{};
  static constexpr Field<ExpansionRom, 0> kEnable{};
  friend constexpr bool operator==(ExpansionRom, ExpansionRom) = default;
};

// Bridge Control of a type 1 header, PCI to PCI Bridge 1.2 3.2.5.18 and PCIe
// 6.0 7.5.1.3.13.
struct BridgeControl {
  using Raw = uint16_t;
  Raw raw = 0;
  static constexpr Field<BridgeControl, 6> kSecondaryBusReset{};
  static constexpr Field<BridgeControl, 4> kVga16BitDecode{};
  static constexpr Field<BridgeControl, 3> kVgaEnable{};
  static constexpr Field<BridgeControl, 2> kIsaEnable{};
  static constexpr Field<BridgeControl, 1> kSerrEnable{};
  static constexpr Field<BridgeControl, 0> kParityErrorResponse{};
  friend constexpr bool operator==(BridgeControl, BridgeControl) = default;
};

// Common to every header type.
inline constexpr ConfigReg<uint16_t> kVendorId{0x00};
inline constexpr ConfigReg<uint16_t> kDeviceId{0x02};
inline constexpr ConfigReg<Command> kCommand{0x04};
inline constexpr ConfigReg<Status> kStatus{0x06};
inline constexpr ConfigReg<uint8_t> kRevisionId{0x08};
inline constexpr ConfigReg<uint8_t> kProgrammingInterface{0x09};
inline constexpr ConfigReg<uint8_t> kSubClass{0x0a};
inline constexpr ConfigReg<uint8_t> kBaseClass{0x0b};
inline constexpr ConfigReg<uint8_t> kCacheLineSize{0x0c};
inline constexpr ConfigReg<uint8_t> kLatencyTimer{0x0d};
inline constexpr ConfigReg<HeaderType> kHeaderType{0x0e};
inline constexpr ConfigReg<uint8_t> kBist{0x0f};
inline constexpr ConfigReg<uint8_t> kCapabilitiesPointer{0x34};
inline constexpr ConfigReg<uint8_t> kInterruptLine{0x3c};
inline constexpr ConfigReg<uint8_t> kInterruptPin{0x3d};

// Base address registers. A type 0 header has six, a type 1 header only the
// first two.
inline constexpr ConfigReg<uint32_t> kBar0{0x10};
inline constexpr ConfigReg<uint32_t> kBar1{0x14};
inline constexpr ConfigReg<uint32_t> kBar2{0x18};
inline constexpr ConfigReg<uint32_t> kBar3{0x1c};
inline constexpr ConfigReg<uint32_t> kBar4{0x20};
inline constexpr ConfigReg<uint32_t> kBar5{0x24};
inline constexpr unsigned kType0BarCount = 6;
inline constexpr unsigned kType1BarCount = 2;

// Type 0 only.
inline constexpr ConfigReg<uint32_t> kCardbusCisPointer{0x28};
inline constexpr ConfigReg<uint16_t> kSubsystemVendorId{0x2c};
inline constexpr ConfigReg<uint16_t> kSubsystemId{0x2e};
inline constexpr ConfigReg<ExpansionRom> kExpansionRom{0x30};
inline constexpr ConfigReg<uint8_t> kMinGrant{0x3e};
inline constexpr ConfigReg<uint8_t> kMaxLatency{0x3f};

// Type 1 only.
inline constexpr ConfigReg<uint8_t> kPrimaryBus{0x18};
inline constexpr ConfigReg<uint8_t> kSecondaryBus{0x19};
inline constexpr ConfigReg<uint8_t> kSubordinateBus{0x1a};
inline constexpr ConfigReg<uint8_t> kSecondaryLatencyTimer{0x1b};
inline constexpr ConfigReg<uint8_t> kIoBase{0x1c};
inline constexpr ConfigReg<uint8_t> kIoLimit{0x1d};
inline constexpr ConfigReg<uint16_t> kSecondaryStatus{0x1e};
inline constexpr ConfigReg<uint16_t> kMemoryBase{0x20};
inline constexpr ConfigReg<uint16_t> kMemoryLimit{0x22};
inline constexpr ConfigReg<uint16_t> kPrefetchableMemoryBase{0x24};
inline constexpr ConfigReg<uint16_t> kPrefetchableMemoryLimit{0x26};
inline constexpr ConfigReg<uint32_t> kPrefetchableBaseUpper{0x28};
inline constexpr ConfigReg<uint32_t> kPrefetchableLimitUpper{0x2c};
inline constexpr ConfigReg<uint16_t> kIoBaseUpper{0x30};
inline constexpr ConfigReg<uint16_t> kIoLimitUpper{0x32};
inline constexpr ConfigReg<ExpansionRom> kBridgeExpansionRom{0x38};
inline constexpr ConfigReg<BridgeControl> kBridgeControl{0x3e};

// Type 2 only. A CardBus bridge keeps its capabilities pointer elsewhere (PC
// Card Standard, Volume 7).
inline constexpr ConfigReg<uint8_t> kCardbusCapabilitiesPointer{0x14};

}  // namespace passthru::pci

#endif  // PASSTHRU_PCI_REGISTERS_H_
