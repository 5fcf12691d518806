// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/explain/vfio_rules.h"

#include <cstdint>
#include <string_view>

#include "passthru/pci/capability_id.h"
#include "passthru/pci/register_map.h"
#include "passthru/pci/registers.h"

namespace passthru::explain {
namespace {

constexpr std::string_view kOwnedList =
    "its list leaves out capabilities that it does not know";

std::string_view WhyHeaderDiffers(uint16_t offset, bool is_virtual_function) {
  if (offset < pci::kCommand.offset) {
    return is_virtual_function
               ? "a virtual function has no IDs of its own (vfio_config_init)"
               : kNoRule;
  }
  if (offset == pci::kCommand.offset) {
    return "it turns the function on for itself, and INTx off";
  }
  if (offset == pci::kStatus.offset)
    return "it says itself whether there is a list";
  if (offset >= pci::kBar0.offset && offset < pci::kCardbusCisPointer.offset) {
    return is_virtual_function
               ? "a virtual function has no BARs of its own (vfio_bar_fixup)"
               : "it keeps BARs itself, so that no user moves them";
  }
  if (offset == pci::kExpansionRom.offset)
    return "it keeps the ROM's place itself";
  if (offset == pci::kCapabilitiesPointer.offset) return kOwnedList;
  if (offset == pci::kInterruptLine.offset) {
    return "the number is the host's, and it keeps the guest's itself";
  }
  if (offset == pci::kInterruptPin.offset) {
    return "the host has no interrupt line for it";
  }
  return kNoRule;
}

}  // namespace

std::string_view WhyVfioDiffers(const pci::NamedRegister& reg,
                                bool is_virtual_function) {
  if (reg.group == "Header") {
    return WhyHeaderDiffers(reg.offset, is_virtual_function);
  }
  const bool extended = reg.offset >= pci::kConfigSpaceSize;
  const auto at = static_cast<uint16_t>(reg.offset - reg.group_offset);
  if (!reg.group.empty() && (extended ? at == 0 : at < 2)) return kOwnedList;
  const auto is = [&reg](auto id) { return reg.group == pci::Name(id); };
  using Id = pci::CapabilityId;
  if (!extended && is(Id::kPowerManagement)) {
    return "it leaves out wake-up events, and sets the power state itself";
  }
  if (!extended && is(Id::kMsi)) {
    return "the messages of the host are its own";
  }
  if (!extended && is(Id::kPciExpress)) {
    return "it resets the function and sets payload sizes itself";
  }
  if (!extended && is(Id::kVitalProductData)) {
    return "it reads and writes this memory on request";
  }
  return kNoRule;
}

}  // namespace passthru::explain
