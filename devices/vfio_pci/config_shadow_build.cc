// SPDX-License-Identifier: Apache-2.0
//
// Builds a ConfigShadow from the device's configuration space. This determines
// which bits are virtual, what they hold, and which of them the guest can
// write.

#include <algorithm>
#include <bit>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "passthru/devices/kernel/status_macros.h"
#include "passthru/devices/vfio_pci/config_shadow.h"
#include "passthru/pci/advanced_features.h"
#include "passthru/pci/capability_length.h"
#include "passthru/pci/pcie_capability.h"

namespace passthru::vfio_pci {
namespace {

constexpr pci::ConfigReg<uint8_t> kCapabilityNext{1};

// The header of an extended capability (PCIe 6.0 7.6.3). Its only field here is
// the one that the shadow edits, the offset of the next capability.
struct ExtendedHeader {
  using Raw = uint32_t;
  Raw raw = 0;
  static constexpr pci::Field<ExtendedHeader, 31, 20> kNext{};
};
constexpr pci::ConfigReg<ExtendedHeader> kExtendedHeader{0};

// Why the guest reads something else than the device answers.
constexpr std::string_view kConstant = "it never changes, so the VMM keeps it";
constexpr std::string_view kOwnIdentity =
    "the VMM gives the device this identity";
constexpr std::string_view kOwnFunctions =
    "the guest's bus decides whether there are more functions";
constexpr std::string_view kOwnLine =
    "the guest's firmware keeps its own number here";
constexpr std::string_view kOwnBars =
    "the guest places its BARs, and they are empty until then";
constexpr std::string_view kOwnDecode = "the guest turns its own BARs on";
constexpr std::string_view kOwnRom = "the guest places the ROM";
constexpr std::string_view kOwnList =
    "the guest's list has only what it is shown";
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

// Returns the number of bytes from `offset` to the next of `entries` or `end`.
template <typename Entries>
uint16_t RoomOf(const Entries& entries, uint16_t offset, uint16_t end) {
  uint16_t next = end;
  for (const auto& entry : entries) {
    if (entry.offset > offset && entry.offset < next) next = entry.offset;
  }
  return static_cast<uint16_t>(next - offset);
}

// Returns why a function of this type cannot show its PCI Express capability
// where the guest finds it. Empty if it can. The guest then sees a function of
// conventional PCI.
std::string_view Misplaced(pci::PciePortType type, bool on_root_bus) {
  switch (type) {
    case pci::PciePortType::kEndpoint:
    case pci::PciePortType::kRootComplexIntegratedEndpoint:
      return "";
    case pci::PciePortType::kLegacyEndpoint:
      // A root complex may not integrate one that it calls so, and Windows does
      // not start its driver (QEMU, vfio_setup_pcie_cap()).
      return on_root_bus ? "a Legacy Endpoint has no place on the root bus"
                         : "";
    default:
      return "its type is not that of an endpoint";
  }
}

}  // namespace

absl::StatusOr<ConfigShadow> ConfigShadow::Create(
    absl::Span<const uint8_t> image, Options options) {
  PASSTHRU_ASSIGN_OR_RETURN(pci::ConfigSpace space,
                            pci::ConfigSpace::FromBytes(image));
  const uint32_t layout =
      pci::HeaderType::kLayout.Get(space.Get(pci::kHeaderType));
  if (layout != pci::HeaderType::kLayoutNormal) {
    return absl::UnimplementedError(absl::StrFormat(
        "header type %u: only devices (type 0) can be passed through, not "
        "bridges",
        layout));
  }
  ConfigShadow shadow(std::move(space), std::move(options));
  shadow.BuildHeader();
  shadow.BuildBars();
  shadow.BuildRom();
  shadow.BuildCapabilities();
  shadow.BuildExtendedCapabilities();
  return shadow;
}

ConfigShadow::ConfigShadow(pci::ConfigSpace space, Options options)
    : space_(std::move(space)),
      virtual_(space_.size()),
      no_write_(space_.size()),
      topology_(space_.size()),
      options_(std::move(options)) {}

void ConfigShadow::Explain(uint32_t offset, uint32_t size,
                           std::string_view reason, bool by_vmm) {
  registers_.push_back({.offset = static_cast<uint16_t>(offset),
                        .size = static_cast<uint16_t>(size),
                        .reason = std::string(reason),
                        .by_vmm = by_vmm});
}

void ConfigShadow::Virtualize(uint32_t offset, uint32_t size,
                              std::string_view reason, bool by_vmm) {
  Explain(offset, size, reason, by_vmm);
  for (uint32_t i = offset; i < offset + size && i < virtual_.size(); ++i) {
    virtual_[i] = 0xff;
  }
}

void ConfigShadow::BuildHeader() {
  // Registers that never change keep the values read at attach, unless the VMM
  // wants others.
  const std::vector<uint8_t> own(bytes().begin(), bytes().end());
  options_.identity.Apply(space_);
  const auto keep = [&](uint16_t offset, uint16_t size) {
    const bool by_vmm =
        !std::equal(own.begin() + offset, own.begin() + offset + size,
                    bytes().begin() + offset);
    Virtualize(offset, size, by_vmm ? kOwnIdentity : kConstant, by_vmm);
  };
  keep(pci::kVendorId.offset, 4);
  keep(pci::kRevisionId.offset, 4);  // and the class code
  keep(pci::kCardbusCisPointer.offset, 4);
  keep(pci::kSubsystemVendorId.offset, 4);
  keep(pci::kMinGrant.offset, 2);

  // The guest's bus decides whether there are more functions.
  pci::HeaderType header = space_.Get(pci::kHeaderType);
  pci::HeaderType::kMultiFunction.Set(header, false);
  Fix(pci::kHeaderType, header, kOwnFunctions);

  // The guest's firmware stores the line here for its operating system.
  Fix(pci::kInterruptLine, uint8_t{0}, kOwnLine);
  space_.SetMask(pci::kInterruptLine, 0xff);
  if (!options_.intx) {
    Fix(pci::kInterruptPin, uint8_t{0}, options_.intx_hidden_reason);
  } else {
    Virtualize(pci::kInterruptPin.offset, pci::kInterruptPin.size(), kConstant);
  }
}

void ConfigShadow::BuildBars() {
  Virtualize(pci::kBar0.offset, 4 * pci::kType0BarCount, kOwnBars);
  for (unsigned i = 0; i < pci::kType0BarCount; ++i) {
    space_.Set(pci::kBar0.At(static_cast<uint16_t>(4 * i)), uint32_t{0});
  }
  pci::Command decode;
  for (pci::Bar& bar : options_.bars) {
    bar.address = 0;
    const pci::BarRegister value = pci::EncodeBar(bar);
    const pci::BarRegister mask = pci::BarWriteMask(bar);
    const pci::ConfigReg<uint32_t> low = pci::RegisterOf(bar.index);
    space_.Set(low, value.low);
    space_.SetMask(low, mask.low);
    if (bar.is_64bit()) {
      space_.Set(low.At(4), value.high);
      space_.SetMask(low.At(4), mask.high);
    }
    if (bar.is_io()) {
      pci::Command::kIoSpace.Set(decode, true);
    } else {
      pci::Command::kMemorySpace.Set(decode, true);
    }
  }
  std::fill_n(topology_.begin() + pci::kBar0.offset, 4 * pci::kType0BarCount,
              uint8_t{1});

  // COMMAND's decode bits are virtual, because the BARs that they enable are.
  space_.Set(pci::kCommand, pci::Command{});
  space_.SetMask(pci::kCommand, decode.raw);
  virtual_[pci::kCommand.offset] = static_cast<uint8_t>(
      pci::Command::kIoSpace.Mask() | pci::Command::kMemorySpace.Mask());
  Explain(pci::kCommand.offset, 1, kOwnDecode);
  topology_[pci::kCommand.offset] = 1;
}

// The register is like that of a BAR, with a bit that enables the decoder (PCI
// 3.0 6.2.5.2). Without a ROM it reads 0.
void ConfigShadow::BuildRom() {
  Fix(pci::kExpansionRom, pci::ExpansionRom{},
      options_.rom.has_value() ? kOwnRom : options_.rom_hidden_reason);
  if (!options_.rom.has_value()) return;
  options_.rom->address = 0;
  options_.rom->rom_enabled = false;
  space_.SetMask(pci::kExpansionRom, pci::BarWriteMask(*options_.rom).low);
  std::fill_n(topology_.begin() + pci::kExpansionRom.offset,
              pci::kExpansionRom.size(), uint8_t{1});
  // A function whose only memory is its ROM implements the decode bit too.
  pci::Command decode = {.raw = space_.GetMask(pci::kCommand)};
  pci::Command::kMemorySpace.Set(decode, true);
  space_.SetMask(pci::kCommand, decode.raw);
}

CapabilityView ConfigShadow::Decide(const pci::Capability& capability) const {
  const CapabilityPolicy::Decision decision =
      options_.policy.For(capability.id);
  CapabilityView view = {.id = static_cast<uint16_t>(capability.id),
                         .offset = capability.offset,
                         .treatment = decision.treatment,
                         .reason = std::string(decision.reason),
                         .by_vmm = decision.by_vmm};
  const auto hide = [&view](std::string reason) {
    view.treatment = CapabilityTreatment::kHide;
    view.reason = std::move(reason);
    view.by_vmm = false;
  };
  // A capability that needs emulation but is malformed is hidden.
  absl::Status sound;
  if (view.treatment == CapabilityTreatment::kVirtualize) {
    switch (capability.id) {
      case pci::CapabilityId::kMsi:
        if (options_.msi_vectors == 0) hide(options_.msi_hidden_reason);
        sound = pci::MsiCapability::Parse(bytes(), capability.offset).status();
        break;
      case pci::CapabilityId::kMsix:
        if (options_.msix_vectors == 0) hide(options_.msix_hidden_reason);
        sound = pci::MsixCapability::Parse(bytes(), capability.offset).status();
        break;
      case pci::CapabilityId::kPciExpress: {
        const absl::StatusOr<pci::PcieCapability> pcie =
            pci::PcieCapability::Parse(bytes(), capability.offset);
        sound = pcie.status();
        if (!pcie.ok() || view.by_vmm) break;
        if (const std::string_view why =
                Misplaced(pcie->port_type(), options_.on_root_bus);
            !why.empty()) {
          hide(std::string(why));
        }
        break;
      }
      default:
        hide("there is nothing that virtualizes it");
    }
  }
  if (!sound.ok()) hide(std::string(sound.message()));
  return view;
}

CapabilityView ConfigShadow::Decide(
    const pci::ExtendedCapability& capability) const {
  const CapabilityPolicy::Decision decision =
      options_.policy.For(capability.id);
  CapabilityView view = {.extended = true,
                         .id = static_cast<uint16_t>(capability.id),
                         .offset = capability.offset,
                         .treatment = decision.treatment,
                         .reason = std::string(decision.reason),
                         .by_vmm = decision.by_vmm};
  if (capability.id == pci::ExtendedCapabilityId::kNull) {
    view.treatment = CapabilityTreatment::kHide;
    view.reason = "it stands for one that the kernel hides";
  } else if (view.treatment == CapabilityTreatment::kVirtualize) {
    view.treatment = CapabilityTreatment::kHide;
    view.reason = "there is nothing that virtualizes it";
  }
  return view;
}

void ConfigShadow::Hide(const CapabilityView& view) {
  space_.SetBytes(view.offset, std::vector<uint8_t>(view.size, 0));
  Virtualize(view.offset, view.size, view.reason, view.by_vmm);
}

void ConfigShadow::BuildCapabilities() {
  const pci::CapabilityList list = pci::WalkCapabilities(bytes());
  if (!list.malformed.empty()) malformed_.push_back(list.malformed);

  // Iterates backwards, so that the successor in the guest's list is known.
  uint8_t next = 0;
  std::vector<CapabilityView> views;
  for (auto it = list.entries.rbegin(); it != list.entries.rend(); ++it) {
    CapabilityView view = Decide(*it);
    const uint16_t room =
        RoomOf(list.entries, it->offset, pci::kConfigSpaceSize);
    const std::optional<uint16_t> length =
        pci::StandardCapabilityLength(bytes(), *it);
    if (view.treatment == CapabilityTreatment::kVirtualize &&
        length.value_or(0) > room) {
      view.treatment = CapabilityTreatment::kHide;
      view.reason = "it reaches into the next capability";
    }
    view.size = std::min(length.value_or(room), room);
    if (view.treatment == CapabilityTreatment::kHide) {
      Hide(view);
    } else {
      Virtualize(it->offset, 2, kOwnList);
      space_.Set(kCapabilityNext.At(it->offset), next);
      next = it->offset;
      switch (it->id) {
        case pci::CapabilityId::kMsi:
          if (view.treatment == CapabilityTreatment::kVirtualize) {
            BuildMsi(*it, view);
          }
          break;
        case pci::CapabilityId::kMsix:
          if (view.treatment == CapabilityTreatment::kVirtualize) {
            BuildMsix(*it, view);
          }
          break;
        case pci::CapabilityId::kPciExpress:
          BuildPcie(*it, room, view);
          break;
        case pci::CapabilityId::kPowerManagement:
          if (auto parsed =
                  pci::PowerManagementCapability::Parse(bytes(), it->offset);
              parsed.ok()) {
            power_management_ = *parsed;
            const auto control =
                pci::PowerManagementCapability::kControlStatus.At(it->offset);
            topology_[control.offset] = 1;
          }
          break;
        case pci::CapabilityId::kAdvancedFeatures:
          if (auto parsed = pci::AfCapability::Parse(bytes(), it->offset);
              parsed.ok() && parsed->function_level_reset()) {
            const auto control = pci::AfCapability::kControl.At(it->offset);
            reset_triggers_.push_back(
                {control.offset, pci::AfControl::kInitiateFlr.Mask()});
            topology_[control.offset] = 1;
          }
          break;
        default:
          break;
      }
    }
    views.push_back(std::move(view));
  }
  std::reverse(views.begin(), views.end());
  capabilities_ = std::move(views);

  Fix(pci::kCapabilitiesPointer, next, kOwnList);
  pci::Status status = space_.Get(pci::kStatus);
  pci::Status::kCapabilitiesList.Set(status, next != 0);
  space_.Set(pci::kStatus, status);
  virtual_[pci::kStatus.offset] |=
      static_cast<uint8_t>(pci::Status::kCapabilitiesList.Mask());
  Explain(pci::kStatus.offset, 1, kOwnList);
}

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

void ConfigShadow::BuildExtendedCapabilities() {
  const pci::ExtendedCapabilityList list =
      pci::WalkExtendedCapabilities(bytes());
  if (!list.malformed.empty()) malformed_.push_back(list.malformed);

  uint16_t next = 0;
  std::vector<CapabilityView> views;
  for (auto it = list.entries.rbegin(); it != list.entries.rend(); ++it) {
    CapabilityView view = Decide(*it);
    const uint16_t room =
        RoomOf(list.entries, it->offset, pci::kExtendedConfigSpaceSize);
    const std::optional<uint16_t> length =
        pci::ExtendedCapabilityLength(bytes(), *it);
    view.size = std::max<uint16_t>(4, std::min(length.value_or(room), room));
    ExtendedHeader header = space_.Get(kExtendedHeader.At(it->offset));
    ExtendedHeader::kNext.Set(header, next);
    const bool first = it->offset == pci::kConfigSpaceSize;
    if (view.treatment == CapabilityTreatment::kHide) {
      Hide(view);
      // The list begins at 0x100. If its first entry is hidden, it becomes a
      // null capability that links to the next, as in vfio-pci itself.
      header.raw = 0;
      ExtendedHeader::kNext.Set(header, next);
      if (first) {
        Fix(kExtendedHeader.At(it->offset), header, view.reason);
      }
    } else {
      Fix(kExtendedHeader.At(it->offset), header, kOwnList);
      next = it->offset;
    }
    views.push_back(std::move(view));
  }
  std::reverse(views.begin(), views.end());
  if (options_.policy.unlisted_read_only()) ProtectUnlisted(views);
  capabilities_.insert(capabilities_.end(), views.begin(), views.end());
}

void ConfigShadow::ProtectUnlisted(absl::Span<const CapabilityView> extended) {
  if (no_write_.size() <= pci::kConfigSpaceSize) return;
  std::fill(no_write_.begin() + pci::kConfigSpaceSize, no_write_.end(),
            uint8_t{1});
  for (const CapabilityView& view : extended) {
    std::fill_n(no_write_.begin() + view.offset, view.size, uint8_t{0});
  }
}

}  // namespace passthru::vfio_pci
