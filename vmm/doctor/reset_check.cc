// SPDX-License-Identifier: Apache-2.0
#include <cerrno>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/types/span.h"
#include "passthru/pci/bdf.h"
#include "passthru/pci/capabilities.h"
#include "passthru/pci/capability_id.h"
#include "passthru/pci/pcie_capability.h"
#include "passthru/pci/registers.h"
#include "passthru/vmm/doctor/checks.h"
#include "passthru/vmm/doctor/doctor_report.pb.h"
#include "passthru/vmm/doctor/host_files.h"

namespace passthru::doctor {
namespace {

// Returns the other functions that a reset of the device's bus resets, or
// nothing if it is on a root bus, which has no reset. `link` is the device's in
// /sys/bus/pci/devices, and ends in BRIDGE/DEVICE, or in pci0000:00/DEVICE.
std::optional<std::vector<std::string>> OthersOnBus(const HostFiles& host,
                                                    const DeviceFacts& device,
                                                    std::string_view link) {
  const std::string parent =
      std::filesystem::path(link).parent_path().filename().string();
  if (!pci::Bdf::Parse(parent).ok()) return std::nullopt;
  std::vector<std::string> others;
  for (const std::string& name :
       host.Folder(absl::StrCat("/sys/bus/pci/devices/", parent)).value) {
    if (name != device.address.ToString() && pci::Bdf::Parse(name).ok()) {
      others.push_back(name);
    }
  }
  return others;
}

// Returns whether the hardware has a function level reset (PCIe 6.0 6.6.2), as
// far as this user may read it.
bool HasFunctionReset(const DeviceFacts& device) {
  const absl::Span<const uint8_t> config = device.config_bytes();
  if (config.size() < pci::kConfigSpaceSize) return false;
  const pci::CapabilityList list = pci::WalkCapabilities(config);
  const auto* const express = list.Find(pci::CapabilityId::kPciExpress);
  if (express == nullptr) return false;
  const auto parsed = pci::PcieCapability::Parse(config, express->offset);
  return parsed.ok() && parsed->function_level_reset();
}

}  // namespace

Finding CheckReset(const HostFiles& host, const DeviceFacts& device) {
  constexpr std::string_view kCheck = "reset";
  const auto methods = host.Text(device.folder + "/reset_method");
  if (methods.ok() && !methods.value.empty()) {
    return MakeFinding(kCheck, Finding::OK,
                       absl::StrCat("it can be reset: ", methods.value),
                       {methods.known_by});
  }
  if (!methods.ok() && methods.error != ENOENT) {
    return MakeFinding(kCheck, Finding::UNKNOWN,
                       "how it can be reset cannot be read",
                       {methods.known_by});
  }
  // Before 5.15 there is only a file for root to write to.
  const auto reset = host.Text(device.folder + "/reset");
  if (!methods.ok() && reset.error != ENOENT) {
    return MakeFinding(kCheck, Finding::OK,
                       "it can be reset, by a way that this kernel does not "
                       "name",
                       {device.folder + "/reset"});
  }
  std::vector<std::string> known_by = {methods.known_by};
  if (methods.ok() && HasFunctionReset(device)) {
    known_by.push_back(device.folder + "/config: FLReset+");
    return MakeFinding(
        kCheck, Finding::WARNING,
        "its function level reset is turned off, by root or by a quirk of the "
        "kernel, so a guest finds what the last one left",
        known_by,
        {absl::StrCat("echo default > ", device.folder, "/reset_method")});
  }
  const auto link = host.Target(device.folder);
  const auto others = OthersOnBus(host, device, link.value);
  std::string what =
      "it cannot be reset by itself, so a guest finds what the last one left";
  if (others.has_value() && !others->empty()) {
    absl::StrAppend(&what, ", unless the guest gets all of its bus: ",
                    absl::StrJoin(*others, ", "));
    known_by.push_back(link.known_by);
  } else if (!others.has_value()) {
    absl::StrAppend(&what, "; its bus is a root bus, which has no reset");
    known_by.push_back(link.known_by);
  }
  return MakeFinding(kCheck, Finding::WARNING, what, known_by);
}

}  // namespace passthru::doctor
