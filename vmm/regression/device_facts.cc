// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/regression/device_facts.h"

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "passthru/devices/vfio_pci/capability_policy.h"
#include "passthru/devices/vfio_pci/device_report.h"
#include "passthru/pci/bar.h"

namespace passthru::vmm {
namespace {

using vfio_pci::CapabilityTreatment;

std::string PinName(uint8_t pin) {
  if (pin == 0) return "no pin";
  return absl::StrFormat("INT%c", 'A' + pin - 1);
}

uint16_t ShownVectors(const vfio_pci::DeviceReport& report,
                      vfio_pci::InterruptKind kind) {
  for (const vfio_pci::VectorGroupReport& group : report.vector_groups) {
    if (group.kind == kind) return group.shown_vectors;
  }
  return 0;
}

// Returns for example "BAR0: 64-bit memory, 16 KiB; BAR2: I/O, 32 bytes".
std::string BarList(const vfio_pci::DeviceReport& report) {
  std::vector<std::string> bars;
  for (const vfio_pci::BarReport& bar : report.bars) {
    // The address is the guest's choice.
    const std::string text = pci::ToString(bar.bar);
    bars.push_back(text.substr(0, text.find(" at ")));
  }
  return bars.empty() ? "no BARs" : absl::StrJoin(bars, "; ");
}

// Returns the names of the capabilities that are treated so, in the device's
// order, for example "Vendor Specific (5), SATA".
std::string CapabilityList(const vfio_pci::DeviceReport& report,
                           CapabilityTreatment treatment) {
  std::vector<std::pair<std::string, int>> names;
  for (const vfio_pci::CapabilityReport& capability : report.capabilities) {
    if (capability.treatment != treatment) continue;
    if (names.empty() || names.back().first != capability.name) {
      names.emplace_back(capability.name, 0);
    }
    ++names.back().second;
  }
  if (names.empty()) return "none";
  return absl::StrJoin(names, ", ", [](std::string* out, const auto& name) {
    absl::StrAppend(out, name.first);
    if (name.second != 1) absl::StrAppend(out, " (", name.second, ")");
  });
}

}  // namespace

std::string DeviceFacts::ToString() const {
  return absl::StrFormat(
      "class %06x  %-6s  MSI %3d  MSI-X %4d  exits %5d  calls %5d  %s | "
      "passed: %s | virtualized: %s | hidden: %s",
      class_code, PinName(interrupt_pin),
      ShownVectors(report, vfio_pci::InterruptKind::kMsi),
      ShownVectors(report, vfio_pci::InterruptKind::kMsix), exits, kernel_calls,
      BarList(report), CapabilityList(report, CapabilityTreatment::kPass),
      CapabilityList(report, CapabilityTreatment::kVirtualize),
      CapabilityList(report, CapabilityTreatment::kHide));
}

}  // namespace passthru::vmm
