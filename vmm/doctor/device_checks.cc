// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
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

uint32_t HeaderLayout(absl::Span<const uint8_t> config) {
  return pci::HeaderType::kLayout.Get(
      pci::ReadRegister(config, pci::kHeaderType));
}

// A virtual function has no ids of its own (SR-IOV 1.1 3.4.1.1).
bool Answers(const DeviceFacts& device) {
  return device.is_virtual_function ||
         device.config.size() < pci::kStandardHeaderSize ||
         pci::ReadRegister<uint16_t>(device.config_bytes(), pci::kVendorId) !=
             0xffff;
}

Finding CheckDriver(const DeviceFacts& device, bool in_the_way) {
  constexpr std::string_view kCheck = "driver";
  const std::string link = device.folder + "/driver";
  if (!device.driver_unknown.empty()) {
    return MakeFinding(kCheck, Finding::UNKNOWN,
                       "which driver has it cannot be read",
                       {device.driver_unknown});
  }
  if (vfio::IsVfioDriver(device.driver)) {
    return MakeFinding(kCheck, Finding::OK,
                       absl::StrCat("it is bound to ", device.driver),
                       {absl::StrCat(link, " -> ", device.driver)});
  }
  const bool bound = !device.driver.empty();
  std::vector<std::string> to_do =
      CommandsIn(vfio::BindCommands(device.address.ToString(), bound));
  // Whoever follows these would stop the host.
  if (in_the_way) to_do = {"# leave it, because the host does not run without"};
  return MakeFinding(
      kCheck, Finding::PROBLEM,
      bound ? absl::StrCat("it is bound to ", device.driver,
                           ", and must be to vfio-pci; the host loses it")
            : "it is bound to no driver, and must be to vfio-pci",
      {bound ? absl::StrCat(link, " -> ", device.driver)
             : absl::StrCat(link, ": ENOENT")},
      std::move(to_do));
}

// The lines are "0xSTART 0xEND 0xFLAGS" (resource_show()).
Finding CheckBars(const HostFiles& host, const HostFacts& facts,
                  const DeviceFacts& device) {
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
      std::vector<std::string> to_do;
      // It stays in the way if the kernel has tried that already.
      if (!CommandLineSays(facts, "pci", "realloc") &&
          !CommandLineSays(facts, "pci", "realloc=on")) {
        AppendWithWord("pci=realloc", to_do);
        to_do.emplace_back(kUpdateGrub);
      }
      to_do.push_back(
          absl::StrCat("# ", to_do.empty() ? "" : "or ",
                       "enable \"above 4G decoding\" in the firmware's setup"));
      return MakeFinding(kCheck, Finding::PROBLEM,
                         absl::StrCat("the host has no address for BAR", i,
                                      ", and VFIO then shows none of it"),
                         {absl::StrCat(resource.known_by, ", line ", i + 1)},
                         std::move(to_do));
    }
    if (end < start) {
      return MakeFinding(
          kCheck, Finding::UNKNOWN,
          absl::StrCat("what the kernel says of BAR", i, " makes no sense"),
          {absl::StrCat(resource.known_by, ", line ", i + 1)});
    }
    const uint64_t size = end - start + 1;
    // The guest has at most as many bits as the host, and its RAM in them.
    if ((flags & kResourceMemory) != 0 && facts.physical_bits.has_value() &&
        *facts.physical_bits < 64 &&
        size >= (uint64_t{1} << *facts.physical_bits) / 2) {
      return MakeFinding(
          kCheck, Finding::PROBLEM,
          absl::StrCat("BAR", i, " of ", Bytes(size),
                       " has no room in a guest, whose addresses have ",
                       *facts.physical_bits, " bits as the host's"),
          {absl::StrCat(resource.known_by, ", line ", i + 1),
           "/proc/cpuinfo: address sizes"},
          {"# make it smaller, if it can be resized: "
           "/sys/bus/pci/devices/*/resource*_resize"});
    }
    if ((flags & kResourceMemory) != 0 && size >= kLargeBar) {
      large.push_back(absl::StrCat("BAR", i, " of ", Bytes(size)));
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
  const absl::Span<const uint8_t> config = device.config_bytes();
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
    finding.add_to_do(InOwnShell(facts, kMoreDescriptors));
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
        // vfio_pci_init() reads the option when it is loaded.
        {absl::StrCat("echo on > ", device.folder, "/power/control"),
         absl::StrCat("echo 0 > ", device.folder, "/d3cold_allowed"),
         "echo options vfio-pci disable_idle_d3=1 > "
         "/etc/modprobe.d/vfio-pci-d3.conf  # from the next boot on"});
  }
  if (absl::StartsWith(state.value, "D3")) {
    return MakeFinding(kCheck, Finding::OK,
                       absl::StrCat("it sleeps in ", state.value,
                                    ", and VFIO wakes it when it is opened"),
                       {state.known_by});
  }
  return MakeFinding(kCheck, Finding::OK,
                     absl::StrCat("it is in ", state.value), {state.known_by});
}

// What users of a class run into most.
std::optional<Finding> CheckClass(const HostFiles& host,
                                  const DeviceFacts& device) {
  const std::string known_by = device.folder + "/class";
  switch (device.class_code >> 8) {
    case 0x0300:
    case 0x0302:
    case 0x0380:
      return MakeFinding(
          "class", Finding::NOTE,
          "a GPU often comes with an audio function, which should go to the "
          "same guest, and its driver may want its ROM",
          {known_by});
    case 0x0403: {
      // Chipsets have audio functions too, beside others of all kinds.
      const pci::Bdf own = device.address;
      const pci::Bdf first(own.segment(), own.bus(), own.device(), 0);
      const auto code = host.Text(
          absl::StrCat("/sys/bus/pci/devices/", first.ToString(), "/class"));
      if (own == first || !absl::StartsWith(code.value, "0x03")) break;
      return MakeFinding(
          "class", Finding::NOTE,
          absl::StrCat("it is the audio part of the GPU ", first.ToString(),
                       ", and useless without"),
          {known_by, code.known_by});
    }
    case 0x0c03:
      return MakeFinding(
          "class", Finding::NOTE,
          "what is plugged into it goes along, such as the keyboard",
          {known_by});
    default:
      break;
  }
  return std::nullopt;
}

}  // namespace

Finding CheckType(const HostFiles& host, const DeviceFacts& device) {
  constexpr std::string_view kCheck = "type";
  const std::string path = device.folder + "/config";
  const absl::Span<const uint8_t> config = device.config_bytes();
  const bool readable = config.size() >= pci::kStandardHeaderSize;
  const std::string known_by = absl::StrCat(
      readable ? absl::StrCat(path, ": header type ", HeaderLayout(config))
               : host.Bytes(path, 1).known_by,
      "; ", device.folder, "/class");
  if (device.stays) {
    const bool bridge =
        device.class_code >> 8 == 0x0604 ||
        (readable && HeaderLayout(config) != pci::HeaderType::kLayoutNormal);
    return MakeFinding(
        kCheck, Finding::PROBLEM,
        bridge ? "it is a bridge: only what is behind it can be passed through"
               : "it is a part of the chipset, which the host needs",
        {known_by});
  }
  if (!readable) {
    return MakeFinding(kCheck, Finding::UNKNOWN,
                       "its configuration space cannot be read", {known_by});
  }
  if (!Answers(device)) {
    std::vector<std::string> to_do;
    // A sleeping device reads so, too.
    const auto power = host.Text(device.folder + "/power_state");
    if (power.value != "D0") {
      to_do.push_back(
          absl::StrCat("echo on > ", device.folder, "/power/control"));
    }
    to_do.push_back(absl::StrCat("echo 1 > ", device.folder, "/remove"));
    to_do.emplace_back("echo 1 > /sys/bus/pci/rescan");
    to_do.emplace_back("# or power the machine off and on");
    return MakeFinding(
        kCheck, Finding::PROBLEM,
        "it does not answer: its configuration space reads all ones", {path},
        std::move(to_do));
  }
  return MakeFinding(kCheck, Finding::OK, "it is a device, no bridge",
                     {known_by});
}

Findings CheckDevice(const HostFiles& host, const HostFacts& facts,
                     const DeviceFacts& device, bool in_the_way) {
  Findings findings;
  findings.push_back(CheckDriver(device, in_the_way));
  findings.push_back(CheckReset(host, device));
  findings.push_back(CheckBars(host, facts, device));
  findings.push_back(CheckInterrupts(facts, device));
  findings.push_back(CheckPower(host, device));
  if (auto finding = CheckClass(host, device)) {
    findings.push_back(*std::move(finding));
  }
  return findings;
}

}  // namespace passthru::doctor
