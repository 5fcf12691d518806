// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/root_port/root_port_config.h"

#include <array>
#include <cstdint>

#include "absl/log/check.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "passthru/pci/bridge_windows.h"
#include "passthru/pci/capability_id.h"
#include "passthru/pci/msi_capability.h"
#include "passthru/pci/pcie_port.h"
#include "passthru/pci/registers.h"

namespace passthru::root_port {
namespace {

using Pcie = pci::PcieCapability;

// QEMU's pcie-root-port. Guests bind their port drivers by class, and know from
// these IDs that no chipset's quirks apply.
constexpr uint16_t kVendor = 0x1b36;
constexpr uint16_t kDevice = 0x000c;

// Bridge, PCI-to-PCI bridge (PCI Code and ID Assignment 1.15, 1.7).
constexpr uint8_t kBridgeClass = 0x06;
constexpr uint8_t kPciBridgeSubClass = 0x04;

constexpr uint8_t kIntA = 1;

constexpr uint16_t kCommandMask =
    pci::Command::kInterruptDisable.Mask() | pci::Command::kSerrEnable.Mask() |
    pci::Command::kParityErrorResponse.Mask() |
    pci::Command::kBusMaster.Mask() | pci::Command::kMemorySpace.Mask() |
    pci::Command::kIoSpace.Mask();

// The port decodes no VGA addresses.
constexpr uint16_t kBridgeControlMask =
    pci::BridgeControl::kSecondaryBusReset.Mask() |
    pci::BridgeControl::kIsaEnable.Mask() |
    pci::BridgeControl::kSerrEnable.Mask() |
    pci::BridgeControl::kParityErrorResponse.Mask();

// Low four bits of a prefetchable base or limit, with 64-bit addresses.
constexpr uint16_t k64BitWindow = 1;

// 16.0 GT/s and 16 lanes. The link has no effect on the speed of a device.
constexpr uint32_t kSpeed = 4;
constexpr uint32_t kWidth = 16;
// Link Capabilities 2 has a bit for each speed from bit 1 on.
constexpr uint32_t kSpeedsVector = 0x1e;

// The register sets of version 2 (PCIe 6.0 7.5.3.2).
constexpr uint32_t kPcieVersion = 2;

// Device Control's error reporting, relaxed ordering, payload, no snoop and
// read request size have no effect here.
constexpr uint16_t kDeviceControlMask =
    0x000f | pci::PcieDeviceControl::kRelaxedOrdering.Mask() |
    pci::PcieDeviceControl::kMaxPayloadSize.Mask() |
    pci::PcieDeviceControl::kEnableNoSnoop.Mask() |
    pci::PcieDeviceControl::kMaxReadRequestSize.Mask();

constexpr uint16_t kLinkControlMask =
    pci::PcieLinkControl::kExtendedSynch.Mask() |
    pci::PcieLinkControl::kCommonClock.Mask() |
    pci::PcieLinkControl::kLinkDisable.Mask() |
    pci::PcieLinkControl::kAspm.Mask();

// There is no MRL sensor, no interlock, and no Command Completed.
constexpr uint16_t kSlotControlMask =
    pci::PcieSlotControl::kLinkStateEnable.Mask() |
    pci::PcieSlotControl::kPowerOff.Mask() |
    pci::PcieSlotControl::kPowerIndicator.Mask() |
    pci::PcieSlotControl::kAttentionIndicator.Mask() |
    pci::PcieSlotControl::kInterruptEnable.Mask() |
    pci::PcieSlotControl::kPresenceEnable.Mask() |
    pci::PcieSlotControl::kPowerFaultEnable.Mask() |
    pci::PcieSlotControl::kAttentionButtonEnable.Mask();

constexpr uint16_t kRootControlMask =
    pci::PcieRootControl::kPmeInterruptEnable.Mask() |
    pci::PcieRootControl::kSerrOnFatal.Mask() |
    pci::PcieRootControl::kSerrOnNonFatal.Mask() |
    pci::PcieRootControl::kSerrOnCorrectable.Mask();

// Target Link Speed of Link Control 2.
constexpr uint16_t kTargetSpeedMask = 0x000f;

void MakeHeader(pci::ConfigSpace& config, bool has_pin) {
  config.Set(pci::kVendorId, kVendor);
  config.Set(pci::kDeviceId, kDevice);
  config.SetMask(pci::kCommand, kCommandMask);
  pci::Status status;
  pci::Status::kCapabilitiesList.Set(status, true);
  config.Set(pci::kStatus, status);
  config.SetWriteOneToClear(pci::kStatus, pci::Status::kWriteOneToClear);
  config.Set(pci::kBaseClass, kBridgeClass);
  config.Set(pci::kSubClass, kPciBridgeSubClass);
  config.SetMask(pci::kCacheLineSize, 0xff);
  pci::HeaderType type;
  pci::HeaderType::kLayout.Set(type, pci::HeaderType::kLayoutBridge);
  config.Set(pci::kHeaderType, type);
  config.SetMask(pci::kPrimaryBus, 0xff);
  config.SetMask(pci::kSecondaryBus, 0xff);
  config.SetMask(pci::kSubordinateBus, 0xff);
  config.SetMask(pci::kIoBase, 0xf0);
  config.SetMask(pci::kIoLimit, 0xf0);
  config.SetMask(pci::kMemoryBase, 0xfff0);
  config.SetMask(pci::kMemoryLimit, 0xfff0);
  config.Set(pci::kPrefetchableMemoryBase, k64BitWindow);
  config.SetMask(pci::kPrefetchableMemoryBase, 0xfff0);
  config.Set(pci::kPrefetchableMemoryLimit, k64BitWindow);
  config.SetMask(pci::kPrefetchableMemoryLimit, 0xfff0);
  config.SetMask(pci::kPrefetchableBaseUpper, 0xffffffff);
  config.SetMask(pci::kPrefetchableLimitUpper, 0xffffffff);
  config.Set(pci::kCapabilitiesPointer, kPowerManagementOffset);
  config.SetMask(pci::kInterruptLine, 0xff);
  config.Set(pci::kInterruptPin, has_pin ? kIntA : uint8_t{0});
  config.SetMask(pci::kBridgeControl, kBridgeControlMask);
  CHECK_OK(pci::BridgeWindows().Write(config));
}

void StartCapability(pci::ConfigSpace& config, uint8_t offset,
                     pci::CapabilityId id, uint8_t next) {
  const std::array<uint8_t, 2> header = {static_cast<uint8_t>(id), next};
  config.SetBytes(offset, header);
}

void MakePowerManagement(pci::ConfigSpace& config) {
  using Pm = pci::PowerManagementCapability;
  StartCapability(config, kPowerManagementOffset,
                  pci::CapabilityId::kPowerManagement, kMsiOffset);
  pci::PmCapabilities capabilities;
  pci::PmCapabilities::kVersion.Set(capabilities, 3);
  config.Set(Pm::kCapabilities.At(kPowerManagementOffset), capabilities);
  pci::PmControlStatus control;
  pci::PmControlStatus::kNoSoftReset.Set(control, true);
  config.Set(kPowerControl, control);
  config.SetMask(kPowerControl, pci::PmControlStatus::kPowerState.Mask());
}

void MakeMsi(pci::ConfigSpace& config) {
  StartCapability(config, kMsiOffset, pci::CapabilityId::kMsi, kPcieOffset);
  pci::MsiControl control;
  pci::MsiControl::kPerVectorMasking.Set(control, true);
  pci::MsiControl::k64Bit.Set(control, true);
  config.Set(pci::MsiCapability::kControl.At(kMsiOffset), control);
  const absl::StatusOr<pci::MsiCapability> msi =
      pci::MsiCapability::Parse(config.bytes(), kMsiOffset);
  CHECK_OK(msi);
  const auto mask = msi->WriteMask();
  config.SetMaskBytes(kMsiOffset, absl::MakeConstSpan(mask).first(msi->size()));
}

void MakeSlot(pci::ConfigSpace& config, uint16_t slot_number) {
  pci::PcieSlotCapabilities slot;
  pci::PcieSlotCapabilities::kSlotNumber.Set(slot, slot_number);
  pci::PcieSlotCapabilities::kNoCommandCompleted.Set(slot, true);
  pci::PcieSlotCapabilities::kHotPlugCapable.Set(slot, true);
  pci::PcieSlotCapabilities::kHotPlugSurprise.Set(slot, true);
  pci::PcieSlotCapabilities::kPowerIndicator.Set(slot, true);
  pci::PcieSlotCapabilities::kAttentionIndicator.Set(slot, true);
  pci::PcieSlotCapabilities::kPowerController.Set(slot, true);
  pci::PcieSlotCapabilities::kAttentionButton.Set(slot, true);
  config.Set(Pcie::kSlotCapabilities.At(kPcieOffset), slot);

  constexpr auto kOff = static_cast<uint32_t>(pci::PcieIndicator::kOff);
  pci::PcieSlotControl control;
  pci::PcieSlotControl::kPowerOff.Set(control, true);
  pci::PcieSlotControl::kPowerIndicator.Set(control, kOff);
  pci::PcieSlotControl::kAttentionIndicator.Set(control, kOff);
  config.Set(kSlotControl, control);
  config.SetMask(kSlotControl, kSlotControlMask);
  config.SetWriteOneToClear(kSlotStatus, pci::PcieSlotStatus::kWriteOneToClear);
}

void MakePcie(pci::ConfigSpace& config, const PortIdentity& identity) {
  const auto at = [](auto reg) { return reg.At(kPcieOffset); };
  StartCapability(config, kPcieOffset, pci::CapabilityId::kPciExpress, 0);
  pci::PcieFlags flags;
  pci::PcieFlags::kVersion.Set(flags, kPcieVersion);
  pci::PcieFlags::kPortType.Set(
      flags, static_cast<uint32_t>(pci::PciePortType::kRootPort));
  pci::PcieFlags::kSlotImplemented.Set(flags, true);
  config.Set(at(Pcie::kFlags), flags);

  pci::PcieDeviceCapabilities device;
  pci::PcieDeviceCapabilities::kRoleBasedErrors.Set(device, true);
  config.Set(at(Pcie::kDeviceCapabilities), device);
  config.SetMask(at(Pcie::kDeviceControl), kDeviceControlMask);
  config.SetWriteOneToClear(at(Pcie::kDeviceStatus),
                            pci::PcieDeviceStatus::kWriteOneToClear);

  pci::PcieLinkCapabilities link;
  pci::PcieLinkCapabilities::kPortNumber.Set(link, identity.port_number);
  pci::PcieLinkCapabilities::kAspmOptionality.Set(link, true);
  pci::PcieLinkCapabilities::kLinkActiveReporting.Set(link, true);
  pci::PcieLinkCapabilities::kMaxWidth.Set(link, kWidth);
  pci::PcieLinkCapabilities::kMaxSpeed.Set(link, kSpeed);
  config.Set(at(Pcie::kLinkCapabilities), link);
  config.SetMask(kLinkControl, kLinkControlMask);
  pci::PcieLinkStatus status;
  pci::PcieLinkStatus::kWidth.Set(status, kWidth);
  pci::PcieLinkStatus::kSpeed.Set(status, kSpeed);
  config.Set(kLinkStatus, status);
  config.Set(at(Pcie::kLinkCapabilities2), kSpeedsVector);
  config.Set(at(Pcie::kLinkControl2), uint16_t{kSpeed});
  config.SetMask(at(Pcie::kLinkControl2), kTargetSpeedMask);

  MakeSlot(config, identity.slot_number);
  config.SetMask(at(Pcie::kRootControl), kRootControlMask);
  config.SetWriteOneToClear(at(Pcie::kRootStatus),
                            pci::PcieRootStatus::kPmeStatus.Mask());
}

}  // namespace

pci::ConfigSpace MakeRootPortConfig(const PortIdentity& identity) {
  pci::ConfigSpace config(pci::kExtendedConfigSpaceSize);
  MakeHeader(config, identity.has_pin);
  MakePowerManagement(config);
  MakeMsi(config);
  MakePcie(config, identity);
  return config;
}

}  // namespace passthru::root_port
