// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/types/span.h"
#include "passthru/devices/vfio/find_group.h"
#include "passthru/pci/bdf.h"
#include "passthru/pci/capabilities.h"
#include "passthru/pci/capability_id.h"
#include "passthru/pci/config_reg.h"
#include "passthru/pci/msi_capability.h"
#include "passthru/pci/msix_capability.h"
#include "passthru/pci/registers.h"
#include "passthru/vmm/doctor/checks.h"
#include "passthru/vmm/doctor/doctor_report.pb.h"
#include "passthru/vmm/doctor/host_files.h"
#include "passthru/vmm/plural.h"

namespace passthru::doctor {
namespace {

using vmm::Count;

// include/linux/ioport.h.
constexpr uint64_t kResourceMemory = 0x200;
constexpr uint64_t kResourceUnset = 0x20000000;
// A guest needs room above 4 GiB for BARs of this size.
constexpr uint64_t kLargeBar = uint64_t{1} << 30;

absl::Span<const uint8_t> ConfigOf(const DeviceFacts& device) {
  return {reinterpret_cast<const uint8_t*>(device.config.data()),
          device.config.size()};
}

uint32_t HeaderLayout(absl::Span<const uint8_t> config) {
  return pci::HeaderType::kLayout.Get(
      pci::ReadRegister(config, pci::kHeaderType));
}

// A virtual function has no ids of its own (SR-IOV 1.1 3.4.1.1).
bool Answers(const DeviceFacts& device) {
  return device.is_virtual_function || device.config.empty() ||
         pci::ReadRegister<uint16_t>(ConfigOf(device), pci::kVendorId) !=
             0xffff;
}

Finding CheckType(const DeviceFacts& device) {
  constexpr std::string_view kCheck = "type";
  const std::string path = device.folder + "/config";
  const absl::Span<const uint8_t> config = ConfigOf(device);
  const std::string known_by =
      absl::StrCat(path, ": header type ", HeaderLayout(config), "; ",
                   device.folder, "/class");
  if (device.stays) {
    return MakeFinding(
        kCheck, Finding::PROBLEM,
        HeaderLayout(config) != pci::HeaderType::kLayoutNormal
            ? "it is a bridge: only what is behind it can be passed through"
            : "it is a part of the chipset, which the host needs",
        {known_by});
  }
  if (device.config.size() < pci::kStandardHeaderSize) {
    return MakeFinding(kCheck, Finding::UNKNOWN,
                       "its configuration space cannot be read", {path});
  }
  if (!Answers(device)) {
    return MakeFinding(
        kCheck, Finding::PROBLEM,
        "it does not answer: its configuration space reads all ones", {path},
        {absl::StrCat("echo 1 > ", device.folder, "/remove"),
         "echo 1 > /sys/bus/pci/rescan", "# or power the machine off and on"});
  }
  return MakeFinding(kCheck, Finding::OK, "it is a device, no bridge",
                     {known_by});
}

Finding CheckDriver(const DeviceFacts& device) {
  constexpr std::string_view kCheck = "driver";
  const std::string link = device.folder + "/driver";
  if (vfio::IsVfioDriver(device.driver)) {
    return MakeFinding(kCheck, Finding::OK,
                       absl::StrCat("it is bound to ", device.driver),
                       {absl::StrCat(link, " -> ", device.driver)});
  }
  const bool bound = !device.driver.empty();
  return MakeFinding(
      kCheck, Finding::PROBLEM,
      bound ? absl::StrCat("it is bound to ", device.driver,
                           ", and must be to vfio-pci; the host loses it")
            : "it is bound to no driver, and must be to vfio-pci",
      {bound ? absl::StrCat(link, " -> ", device.driver)
             : absl::StrCat(link, ": ENOENT")},
      CommandsIn(vfio::BindCommands(device.address.ToString(), bound)));
}

Finding CheckReset(const HostFiles& host, const DeviceFacts& device) {
  constexpr std::string_view kCheck = "reset";
  const auto methods = host.Text(device.folder + "/reset_method");
  if (methods.ok() && !methods.value.empty()) {
    return MakeFinding(kCheck, Finding::OK,
                       absl::StrCat("it can be reset: ", methods.value),
                       {methods.known_by});
  }
  if (!methods.ok() && host.Folder(device.folder).ok() &&
      host.Text(device.folder + "/reset").error != ENOENT) {
    return MakeFinding(kCheck, Finding::OK,
                       "it can be reset, by a way that this kernel does not "
                       "name",
                       {device.folder + "/reset"});
  }
  return MakeFinding(
      kCheck, Finding::WARNING,
      "it cannot be reset by itself, so a guest finds what the last one left; "
      "a reset of its bus needs all devices there",
      {methods.known_by});
}

// The lines are "0xSTART 0xEND 0xFLAGS" (resource_show()).
Finding CheckBars(const HostFiles& host, const DeviceFacts& device) {
  constexpr std::string_view kCheck = "BARs";
  const auto resource = host.Text(device.folder + "/resource");
  if (!resource.ok()) {
    return MakeFinding(kCheck, Finding::UNKNOWN, "their sizes cannot be read",
                       {resource.known_by});
  }
  const std::vector<std::string_view> lines =
      absl::StrSplit(resource.value, '\n');
  std::vector<std::string> large;
  for (size_t i = 0; i < std::min<size_t>(lines.size(), 6); ++i) {
    const std::vector<std::string_view> words = absl::StrSplit(lines[i], ' ');
    uint64_t start = 0;
    uint64_t end = 0;
    uint64_t flags = 0;
    if (words.size() != 3 || !absl::SimpleHexAtoi(words[0], &start) ||
        !absl::SimpleHexAtoi(words[1], &end) ||
        !absl::SimpleHexAtoi(words[2], &flags) || flags == 0) {
      continue;
    }
    if ((flags & kResourceUnset) != 0) {
      return MakeFinding(
          kCheck, Finding::PROBLEM,
          absl::StrCat("the host has no address for BAR", i,
                       ", and VFIO then shows none of it"),
          {absl::StrCat(resource.known_by, ", line ", i + 1)},
          {"sed -i 's/^GRUB_CMDLINE_LINUX=\"/&pci=realloc /' "
           "/etc/default/grub",
           "update-grub && reboot",
           "# or enable \"above 4G decoding\" in the firmware's setup"});
    }
    if ((flags & kResourceMemory) != 0 && end - start + 1 >= kLargeBar) {
      large.push_back(absl::StrCat("BAR", i, " of ", Bytes(end - start + 1)));
    }
  }
  if (!large.empty()) {
    return MakeFinding(kCheck, Finding::NOTE,
                       absl::StrCat("the guest needs room above 4 GiB for ",
                                    absl::StrJoin(large, ", ")),
                       {resource.known_by});
  }
  return MakeFinding(kCheck, Finding::OK, "the host has placed them",
                     {resource.known_by});
}

// Returns how many message vectors the device has, or nothing if its
// capabilities cannot be read.
std::optional<uint32_t> Vectors(const DeviceFacts& device) {
  const absl::Span<const uint8_t> config = ConfigOf(device);
  if (config.size() < pci::kConfigSpaceSize) return std::nullopt;
  const pci::CapabilityList list = pci::WalkCapabilities(config);
  uint32_t vectors = 0;
  if (const auto* msi = list.Find(pci::CapabilityId::kMsi)) {
    const auto parsed = pci::MsiCapability::Parse(config, msi->offset);
    if (parsed.ok()) vectors = parsed->max_vectors();
  }
  if (const auto* msix = list.Find(pci::CapabilityId::kMsix)) {
    const auto parsed = pci::MsixCapability::Parse(config, msix->offset);
    if (parsed.ok()) {
      vectors = std::max<uint32_t>(vectors, parsed->table_size());
    }
  }
  return vectors;
}

Finding CheckInterrupts(const HostFacts& facts, const DeviceFacts& device) {
  constexpr std::string_view kCheck = "interrupts";
  const std::string path = device.folder + "/config";
  if (!Answers(device)) {
    return MakeFinding(kCheck, Finding::UNKNOWN,
                       "its capabilities cannot be read, because it does not "
                       "answer",
                       {path});
  }
  const std::optional<uint32_t> vectors = Vectors(device);
  if (!vectors.has_value()) {
    return MakeFinding(
        kCheck, Finding::UNKNOWN,
        "how many it has is in its capabilities, which only root can read",
        {absl::StrCat(path, " has ", device.config.size(),
                      " bytes for this user")});
  }
  const std::string known_by =
      absl::StrCat(path, ": MSI and MSI-X capabilities");
  if (*vectors == 0) {
    return MakeFinding(kCheck, Finding::NOTE,
                       "it has no MSI, so the guest must be given its INTx "
                       "line, whose interrupts take longer",
                       {known_by});
  }
  std::string has = absl::StrCat("it has ", Count(*vectors, "vector"));
  Finding finding = MakeFinding(kCheck, Finding::OK, has, {known_by});
  if (facts.free_descriptors.has_value() &&
      *facts.free_descriptors < *vectors) {
    absl::StrAppend(&has, ", and there are descriptors for ",
                    *facts.free_descriptors, ", so the guest sees fewer");
    finding.set_verdict(Finding::WARNING);
    finding.add_known_by("getrlimit(RLIMIT_NOFILE)");
    finding.add_to_do("prlimit --pid $$ --nofile=65536");
  }
  if (facts.free_vectors.has_value() && *facts.free_vectors < *vectors) {
    absl::StrAppend(&has, ", and the host has ", *facts.free_vectors,
                    " left, so some may stay silent");
    finding.set_verdict(Finding::WARNING);
    finding.add_known_by("/sys/kernel/debug/irq/domains/VECTOR");
  }
  finding.set_what(std::move(has));
  return finding;
}

Finding CheckPower(const HostFiles& host, const DeviceFacts& device) {
  constexpr std::string_view kCheck = "power";
  const auto state = host.Text(device.folder + "/power_state");
  if (!state.ok()) {
    return MakeFinding(kCheck, Finding::UNKNOWN,
                       "its power state cannot be read", {state.known_by});
  }
  if (state.value == "unknown") {
    return MakeFinding(kCheck, Finding::UNKNOWN,
                       "the host has not asked for its power state",
                       {state.known_by});
  }
  if (state.value == "error") {
    return MakeFinding(
        kCheck, Finding::WARNING,
        "the host could not change its power state, and it may not answer",
        {state.known_by},
        {"echo Y > /sys/module/vfio_pci/parameters/disable_idle_d3"});
  }
  return MakeFinding(kCheck, Finding::OK,
                     absl::StrCat("it is in ", state.value), {state.known_by});
}

std::optional<Finding> CheckVirtualFunctions(const HostFiles& host,
                                             const DeviceFacts& device) {
  constexpr std::string_view kCheck = "SR-IOV";
  if (device.is_virtual_function) {
    auto parent = host.Link(device.folder + "/physfn");
    if (!pci::Bdf::Parse(parent.value).ok()) parent.value = "another function";
    const auto driver = host.Link(device.folder + "/physfn/driver");
    if (vfio::IsVfioDriver(driver.value)) {
      return MakeFinding(
          kCheck, Finding::WARNING,
          absl::StrCat("it is a virtual function of ", parent.value,
                       ", which VFIO has too: opening it takes the vf_token "
                       "that the user of that one sets"),
          {parent.known_by, driver.known_by});
    }
    return MakeFinding(kCheck, Finding::OK,
                       absl::StrCat("it is a virtual function of ",
                                    parent.value, ", which stays with ",
                                    driver.ok() ? driver.value : "the host"),
                       {parent.known_by, driver.known_by});
  }
  const auto count = host.Text(device.folder + "/sriov_numvfs");
  uint32_t functions = 0;
  if (!absl::SimpleAtoi(count.value, &functions) || functions == 0) {
    return std::nullopt;
  }
  return MakeFinding(
      kCheck, Finding::WARNING,
      absl::StrCat("it has ", Count(functions, "virtual function"),
                   ", which go when it is given away"),
      {count.known_by},
      {absl::StrCat("echo 0 > ", device.folder, "/sriov_numvfs")});
}

// What users of a class run into most.
std::optional<Finding> CheckClass(const DeviceFacts& device) {
  const auto note = [&](std::string_view what) {
    return MakeFinding("class", Finding::NOTE, what,
                       {absl::StrCat(device.folder, "/class")});
  };
  switch (device.class_code >> 8) {
    case 0x0300:
    case 0x0302:
    case 0x0380:
      return note(
          "a GPU often comes with an audio function, which should go to the "
          "same guest, and its driver may want its ROM");
    case 0x0403:
      if (device.address.function() != 0) {
        return note("it is the audio part of function 0, and useless without");
      }
      return std::nullopt;
    case 0x0c03:
      return note("what is plugged into it goes along, such as the keyboard");
    default:
      return std::nullopt;
  }
}

}  // namespace

Findings CheckDevice(const HostFiles& host, const HostFacts& facts,
                     const DeviceFacts& device) {
  Findings findings;
  findings.push_back(CheckType(device));
  if (device.stays) return findings;
  findings.push_back(CheckDriver(device));
  findings.push_back(CheckReset(host, device));
  findings.push_back(CheckBars(host, device));
  findings.push_back(CheckInterrupts(facts, device));
  findings.push_back(CheckPower(host, device));
  if (auto finding = CheckVirtualFunctions(host, device)) {
    findings.push_back(*std::move(finding));
  }
  if (auto finding = CheckClass(device)) {
    findings.push_back(*std::move(finding));
  }
  return findings;
}

}  // namespace passthru::doctor
