// SPDX-License-Identifier: Apache-2.0
//
// Builds the two lists of capabilities of a ConfigShadow. This determines which
// capabilities the guest sees, and links them.

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "passthru/devices/vfio_pci/capability_policy.h"
#include "passthru/devices/vfio_pci/config_shadow.h"
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

constexpr std::string_view kOwnList =
    "the guest's list has only what it is shown";

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
      Emulate(*it, room, view);
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

void ConfigShadow::Emulate(const pci::Capability& capability, uint16_t room,
                           CapabilityView& view) {
  const bool is_virtual = view.treatment == CapabilityTreatment::kVirtualize;
  switch (capability.id) {
    case pci::CapabilityId::kMsi:
      if (is_virtual) BuildMsi(capability, view);
      break;
    case pci::CapabilityId::kMsix:
      if (is_virtual) BuildMsix(capability, view);
      break;
    case pci::CapabilityId::kPciExpress:
      BuildPcie(capability, room, view);
      break;
    case pci::CapabilityId::kPowerManagement:
      BuildPowerManagement(capability);
      break;
    case pci::CapabilityId::kAdvancedFeatures:
      BuildAdvancedFeatures(capability);
      break;
    default:
      break;
  }
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
