// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/explain/register_diff.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "passthru/devices/vfio_pci/device_report.h"
#include "passthru/pci/little_endian.h"
#include "passthru/pci/register_map.h"
#include "passthru/vmm/explain/explain_report.pb.h"
#include "passthru/vmm/explain/vfio_rules.h"

namespace passthru::explain {
namespace {

uint32_t ValueOf(absl::Span<const uint8_t> image,
                 const pci::NamedRegister& reg) {
  switch (reg.size) {
    case 1:
      return pci::LoadLittleEndian<uint8_t>(image, reg.offset);
    case 2:
      return pci::LoadLittleEndian<uint16_t>(image, reg.offset);
    default:
      return pci::LoadLittleEndian<uint32_t>(image, reg.offset);
  }
}

// Returns the reasons of the bytes of a register of which the guest reads
// something else, each once.
std::string GuestReason(const Views& views, const pci::NamedRegister& reg,
                        const vfio_pci::DeviceReport& report) {
  std::string reason;
  const vfio_pci::RegisterView* last = nullptr;
  for (uint16_t i = reg.offset; i < reg.offset + reg.size; ++i) {
    if (views.guest[i] == views.vfio[i]) continue;
    const vfio_pci::RegisterView* const view = vfio_pci::FindReason(report, i);
    if (view == nullptr || view == last ||
        (last != nullptr && view->reason == last->reason)) {
      continue;
    }
    if (last != nullptr) reason += "; ";
    if (view->by_vmm) reason += "by the VMM: ";
    reason += view->reason;
    last = view;
  }
  return last == nullptr ? "it changed while it was read" : reason;
}

}  // namespace

absl::Span<const uint8_t> BestImage(const Views& views) {
  return views.hardware.size() >= views.vfio.size() ? views.hardware
                                                    : views.vfio;
}

std::vector<Register> CompareViews(const Views& views,
                                   const vfio_pci::DeviceReport& report) {
  const absl::Span<const uint8_t> image =
      BestImage(views).first(views.vfio.size());
  std::vector<Register> registers;
  for (const pci::NamedRegister& named : pci::ListRegisters(image)) {
    Register reg;
    reg.set_offset(named.offset);
    reg.set_size(named.size);
    reg.set_group(named.group);
    reg.set_group_offset(named.group_offset);
    reg.set_name(named.name);
    reg.set_vfio(ValueOf(views.vfio, named));
    reg.set_guest(ValueOf(views.guest, named));
    reg.set_has_hardware(size_t{named.offset} + named.size <=
                         views.hardware.size());
    if (reg.has_hardware()) reg.set_hardware(ValueOf(views.hardware, named));
    if (VfioDiffers(reg)) {
      reg.set_why_vfio(
          std::string(WhyVfioDiffers(named, views.is_virtual_function)));
    }
    if (GuestDiffers(reg)) {
      reg.set_why_guest(GuestReason(views, named, report));
    }
    registers.push_back(std::move(reg));
  }
  return registers;
}

bool VfioDiffers(const Register& reg) {
  return reg.has_hardware() && reg.hardware() != reg.vfio();
}

bool GuestDiffers(const Register& reg) { return reg.guest() != reg.vfio(); }

}  // namespace passthru::explain
