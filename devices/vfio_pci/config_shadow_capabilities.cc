// SPDX-License-Identifier: Apache-2.0
//
// Builds the capabilities of a ConfigShadow of which the guest sees more or
// less than the device has.

#include <algorithm>
#include <bit>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_format.h"
#include "absl/types/span.h"
#include "passthru/devices/vfio_pci/capability_policy.h"
#include "passthru/devices/vfio_pci/config_shadow.h"
#include "passthru/pci/advanced_features.h"
#include "passthru/pci/pcie_capability.h"

namespace passthru::vfio_pci {
namespace {

constexpr std::string_view kNoLink = "a function on the root bus has no link";
constexpr std::string_view kInventedLink =
    "below the guest's port there is a link, which the VMM invents";

// Returns the reason of a capability of which the guest sees fewer vectors than
// the device has.
std::string FewerVectors(std::string_view reason, uint32_t shown,
                         uint32_t device, std::string_view limit) {
  if (shown >= device) return std::string(reason);
  return absl::StrFormat("%s, and shows %u of %u vectors: %s", reason, shown,
                         device, limit);
}

}  // namespace

void ConfigShadow::BuildMsi(const pci::Capability& capability,
                            const CapabilityView& view) {
  const auto control_reg = pci::MsiCapability::kControl.At(capability.offset);
  pci::MsiControl control = space_.Get(control_reg);
  const uint32_t device_log2 =
      pci::MsiControl::kMultipleMessageCapable.Get(control);
  const uint32_t shown_log2 =
      std::bit_width(static_cast<unsigned>(options_.msi_vectors)) - 1u;
  pci::MsiControl::kMultipleMessageCapable.Set(
      control, std::min(device_log2, shown_log2));
  pci::MsiControl::kMultipleMessageEnable.Set(control, 0);
  pci::MsiControl::kEnable.Set(control, false);
  // Messages are routed with 16 bits of data.
  pci::MsiControl::kExtendedDataCapable.Set(control, false);
  pci::MsiControl::kExtendedDataEnable.Set(control, false);
  space_.Set(control_reg, control);

  absl::StatusOr<pci::MsiCapability> msi =
      pci::MsiCapability::Parse(bytes(), capability.offset);
  if (!msi.ok()) return;  // Decide() has parsed it.
  msi_ = *msi;
  // The header is part of the list.
  Virtualize(capability.offset + 2u, msi->size() - 2u,
             FewerVectors(view.reason, 1u << std::min(device_log2, shown_log2),
                          1u << device_log2, options_.msi_hidden_reason),
             view.by_vmm);
  const auto mask = msi->WriteMask();
  space_.SetMaskBytes(capability.offset,
                      absl::MakeSpan(mask).first(msi->size()));
  const std::vector<uint8_t> registers(
      msi->size() - pci::MsiCapability::kAddress.offset, 0);
  space_.SetBytes(capability.offset + pci::MsiCapability::kAddress.offset,
                  registers);
}

void ConfigShadow::BuildMsix(const pci::Capability& capability,
                             const CapabilityView& view) {
  const auto control_reg = pci::MsixCapability::kControl.At(capability.offset);
  pci::MsixControl control = space_.Get(control_reg);
  const uint16_t device = control.vector_count();
  const uint16_t shown = std::min(device, options_.msix_vectors);
  control.raw = 0;
  pci::MsixControl::kTableSize.Set(control, shown - 1u);
  space_.Set(control_reg, control);
  if (options_.msix_pba.has_value()) {
    space_.Set(pci::MsixCapability::kPba.At(capability.offset),
               *options_.msix_pba);
  }
  absl::StatusOr<pci::MsixCapability> msix =
      pci::MsixCapability::Parse(bytes(), capability.offset);
  if (!msix.ok()) return;  // Decide() has parsed it.
  msix_ = *msix;
  Virtualize(
      capability.offset + 2u, pci::MsixCapability::kSize - 2u,
      FewerVectors(view.reason, shown, device, options_.msix_hidden_reason),
      view.by_vmm);
  space_.SetMaskBytes(capability.offset, pci::MsixCapability::WriteMask());
}

void ConfigShadow::BuildPowerManagement(const pci::Capability& capability) {
  using Power = pci::PowerManagementCapability;
  const absl::StatusOr<Power> parsed = Power::Parse(bytes(), capability.offset);
  if (!parsed.ok()) return;
  power_management_ = *parsed;
  topology_[Power::kControlStatus.At(capability.offset).offset] = 1;
}

void ConfigShadow::BuildAdvancedFeatures(const pci::Capability& capability) {
  const absl::StatusOr<pci::AfCapability> parsed =
      pci::AfCapability::Parse(bytes(), capability.offset);
  if (!parsed.ok() || !parsed->function_level_reset()) return;
  const auto control = pci::AfCapability::kControl.At(capability.offset);
  reset_triggers_.push_back(
      {control.offset, pci::AfControl::kInitiateFlr.Mask()});
  topology_[control.offset] = 1;
}

void ConfigShadow::BuildPcie(const pci::Capability& capability, uint16_t room,
                             CapabilityView& view) {
  using Pcie = pci::PcieCapability;
  using Type = pci::PciePortType;
  const absl::StatusOr<Pcie> pcie = Pcie::Parse(bytes(), capability.offset);
  if (!pcie.ok()) return;
  const auto at = [&](auto reg) { return reg.At(capability.offset); };
  const auto constant = [&](auto reg) {
    if (reg.offset + reg.size() > pcie->size()) return;
    Virtualize(at(reg).offset, reg.size(), view.reason, view.by_vmm);
  };
  constant(Pcie::kFlags);
  constant(Pcie::kDeviceCapabilities);
  constant(Pcie::kLinkCapabilities);
  constant(Pcie::kDeviceCapabilities2);
  constant(Pcie::kLinkCapabilities2);
  if (pcie->function_level_reset()) {
    // Bit 15 of Device Control is in its second byte.
    const auto offset =
        static_cast<uint16_t>(at(Pcie::kDeviceControl).offset + 1);
    reset_triggers_.push_back(
        {offset, static_cast<uint8_t>(
                     pci::PcieDeviceControl::kInitiateFlr.Mask() >> 8)});
    topology_[offset] = 1;
  }

  pci::PcieFlags flags = space_.Get(at(Pcie::kFlags));
  // Version 0 does not exist, but the VFs of Intel 82599 report it, and Windows
  // then refuses the device (QEMU, vfio_setup_pcie_cap()).
  if (pcie->version() == 0) pci::PcieFlags::kVersion.Set(flags, 1);
  const auto show_as = [&](Type type) {
    pci::PcieFlags::kPortType.Set(flags, static_cast<uint32_t>(type));
  };
  if (options_.on_root_bus && pcie->port_type() == Type::kEndpoint) {
    // An endpoint has a link to the port above it. The root bus has no such
    // port, and Linux would look for it. A function on the root bus is
    // integrated into the root complex and has no link registers (PCIe 6.0
    // 7.5.3.2, 7.5.3.6).
    show_as(Type::kRootComplexIntegratedEndpoint);
    RemoveLink(*pcie);
  } else if (!options_.on_root_bus &&
             pcie->port_type() == Type::kRootComplexIntegratedEndpoint) {
    // Below a port there is a link, and the function has the registers of it.
    const pci::ConfigReg<uint16_t> last =
        pci::PcieFlags::kVersion.Get(flags) == 1
            ? pci::ConfigReg<uint16_t>{Pcie::kLinkStatus.offset}
            : Pcie::kLinkStatus2;
    if (last.offset + last.size() <= room) {
      show_as(Type::kEndpoint);
      InventLink(*pcie);
    } else {
      view.reason =
          "the guest's topology is not the host's, but the next capability "
          "leaves no room for link registers, so the type stays that of an "
          "integrated endpoint";
    }
  }
  space_.Set(at(Pcie::kFlags), flags);
}

void ConfigShadow::RemoveLink(const pci::PcieCapability& pcie) {
  using Pcie = pci::PcieCapability;
  const auto remove = [&](auto reg) {
    if (reg.offset + reg.size() > pcie.size()) return;
    Fix(reg.At(pcie.offset()), decltype(space_.Get(reg)){}, kNoLink);
  };
  remove(Pcie::kLinkCapabilities);
  remove(Pcie::kLinkControl);
  remove(Pcie::kLinkStatus);
  remove(Pcie::kLinkCapabilities2);
  remove(Pcie::kLinkControl2);
  remove(Pcie::kLinkStatus2);
}

// Makes the registers of a link of one lane at 2.5 GT/s, which every port can
// have, up and without features. The Link 2 registers of such a link are 0
// (PCIe 6.0 7.5.3.18).
void ConfigShadow::InventLink(const pci::PcieCapability& pcie) {
  using Pcie = pci::PcieCapability;
  pci::PcieLinkCapabilities capabilities;
  pci::PcieLinkCapabilities::kMaxSpeed.Set(capabilities, 1);
  pci::PcieLinkCapabilities::kMaxWidth.Set(capabilities, 1);
  pci::PcieLinkStatus status;
  pci::PcieLinkStatus::kSpeed.Set(status, 1);
  pci::PcieLinkStatus::kWidth.Set(status, 1);
  const auto at = [&](auto reg) { return reg.At(pcie.offset()); };
  Fix(at(Pcie::kLinkCapabilities), capabilities, kInventedLink);
  Fix(at(Pcie::kLinkControl), pci::PcieLinkControl(), kInventedLink);
  Fix(at(Pcie::kLinkStatus), status, kInventedLink);
  if (pcie.version() < 2) return;
  Fix(at(Pcie::kLinkCapabilities2), uint32_t{0}, kInventedLink);
  Fix(at(Pcie::kLinkControl2), uint16_t{0}, kInventedLink);
  Fix(at(Pcie::kLinkStatus2), uint16_t{0}, kInventedLink);
}

}  // namespace passthru::vfio_pci
