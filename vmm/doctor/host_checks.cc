// SPDX-License-Identifier: Apache-2.0
#include <sys/resource.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "passthru/devices/kernel/syscalls.h"
#include "passthru/devices/kvm/kvm_vm.h"
#include "passthru/devices/vfio/locked_memory.h"
#include "passthru/devices/vfio/vfio_container.h"
#include "passthru/vmm/doctor/checks.h"
#include "passthru/vmm/doctor/doctor_report.pb.h"
#include "passthru/vmm/doctor/host_files.h"
#include "passthru/vmm/plural.h"

namespace passthru::doctor {
namespace {

using vmm::Count;

constexpr std::string_view kGroups = "/sys/kernel/iommu_groups";
// A VMM opens this many descriptors beside those of interrupts.
constexpr uint64_t kOtherDescriptors = 256;
// CAP_IPC_LOCK, as a bit of CapEff (proc_pid_status(5)).
constexpr unsigned kIpcLock = 14;

bool IsIntel(std::string_view cpuinfo) {
  return absl::StrContains(cpuinfo, "GenuineIntel");
}

// Returns the words of the kernel's command line that are about the IOMMU.
std::vector<std::string> IommuWords(std::string_view command_line) {
  std::vector<std::string> words;
  for (const std::string_view word : absl::StrSplit(command_line, ' ')) {
    if (absl::StrContains(word, "iommu=")) words.emplace_back(word);
  }
  return words;
}

// Returns how the IOMMU is turned on. The kernel uses one that the firmware
// shows, except Intel's, which most distributions leave off
// (CONFIG_INTEL_IOMMU_DEFAULT_ON).
std::vector<std::string> TurnOnIommu(std::string_view cpuinfo,
                                     const std::vector<std::string>& words) {
  const bool intel = IsIntel(cpuinfo);
  if (absl::StrContains(LineAfter(cpuinfo, "flags"), " hypervisor")) {
    return {
        "# this is a virtual machine, so its hypervisor must give it an IOMMU "
        "(QEMU: -device intel-iommu,intremap=on)"};
  }
  std::vector<std::string> to_do = {
      absl::StrCat("# enable ", intel ? "VT-d" : "AMD-Vi (IOMMU)",
                   " in the firmware's setup")};
  const size_t edits = to_do.size();
  for (const std::string& word : words) {
    if (!absl::EndsWith(word, "iommu=off")) continue;
    to_do.push_back(
        absl::StrCat("sed -i 's/\\<", word, "\\>//' /etc/default/grub"));
  }
  if (intel) {
    to_do.emplace_back(
        "sed -i 's/^GRUB_CMDLINE_LINUX=\"/&intel_iommu=on /' "
        "/etc/default/grub");
  }
  if (to_do.size() > edits) to_do.emplace_back("update-grub && reboot");
  return to_do;
}

// Returns for example "DMA-FQ" or "11 DMA, 3 identity": the default domains of
// the groups, which are how the host's own drivers use the IOMMU.
std::string Modes(const HostFiles& host,
                  const std::vector<std::string>& groups) {
  std::map<std::string, int> modes;
  for (const std::string& group : groups) {
    const auto type = host.Text(absl::StrCat(kGroups, "/", group, "/type"));
    ++modes[type.ok() ? type.value : "unknown"];
  }
  if (modes.size() == 1) return modes.begin()->first;
  return absl::StrJoin(modes, ", ", [](std::string* out, const auto& mode) {
    absl::StrAppend(out, mode.second, " ", mode.first);
  });
}

Finding CheckIommu(const HostFiles& host, HostFacts& facts) {
  const auto groups = host.Folder(std::string(kGroups));
  const auto cpuinfo = host.Text("/proc/cpuinfo");
  const auto command_line = host.Text("/proc/cmdline");
  facts.has_iommu = groups.ok() && !groups.value.empty();
  if (!facts.has_iommu) {
    const std::vector<std::string> words = IommuWords(command_line.value);
    return MakeFinding(
        "IOMMU", Finding::PROBLEM,
        "is off, so no device can be kept to its guest's memory",
        {groups.known_by,
         !command_line.ok() ? command_line.known_by
         : words.empty()
             ? "/proc/cmdline says nothing about it"
             : absl::StrCat("/proc/cmdline: ", absl::StrJoin(words, " "))},
        TurnOnIommu(cpuinfo.value, words));
  }
  const auto units = host.Folder("/sys/class/iommu");
  std::string kind;
  for (const std::string& unit : units.value) {
    if (absl::StartsWith(unit, "dmar")) kind = "Intel VT-d, ";
    if (absl::StartsWith(unit, "ivhd")) kind = "AMD-Vi, ";
    if (absl::StartsWith(unit, "smmu")) kind = "Arm SMMU, ";
  }
  return MakeFinding(
      "IOMMU", Finding::OK,
      absl::StrCat("is on: ", kind, Count(groups.value.size(), "group"),
                   ", the host's own devices in mode ",
                   Modes(host, groups.value)),
      {groups.known_by, absl::StrCat(kGroups, "/*/type")});
}

Finding CheckModule(const HostFiles& host) {
  // A driver that is built in has no folder in /sys/module without parameters,
  // but a loaded one always has its folder here.
  const auto driver = host.Folder("/sys/bus/pci/drivers/vfio-pci");
  if (driver.ok()) {
    return MakeFinding("vfio-pci", Finding::OK, "is loaded", {driver.known_by});
  }
  return MakeFinding(
      "vfio-pci", Finding::PROBLEM, "is not loaded", {driver.known_by},
      {"modprobe vfio-pci",
       "echo vfio-pci > /etc/modules-load.d/vfio-pci.conf  # at each boot"});
}

// Makes a finding of a message of the library.
Finding Explained(std::string_view check, const absl::Status& status,
                  std::string_view path) {
  return MakeFinding(check, Finding::PROBLEM, WithoutCommands(status.message()),
                     {std::string(path)}, CommandsIn(status.message()));
}

Finding CheckContainer(const HostFiles& host, HostFacts& facts) {
  const auto container = vfio::VfioContainer::Create(host.syscalls());
  facts.has_container = container.ok();
  if (!container.ok()) {
    return Explained("/dev/vfio/vfio", container.status(),
                     "open of /dev/vfio/vfio and VFIO_CHECK_EXTENSION");
  }
  return MakeFinding("/dev/vfio/vfio", Finding::OK, "opens and has type1v2",
                     {"VFIO_CHECK_EXTENSION(VFIO_TYPE1v2_IOMMU) = 1"});
}

Finding CheckKvm(const HostFiles& host) {
  const auto vm = kvm::KvmVm::Create(host.syscalls());
  if (vm.ok()) {
    return MakeFinding("/dev/kvm", Finding::OK, "makes virtual machines",
                       {"KVM_CREATE_VM = 0"});
  }
  Finding finding =
      Explained("/dev/kvm", vm.status(), "open of /dev/kvm, KVM_CREATE_VM");
  // The message names the modules of both makers of CPUs.
  const auto cpuinfo = host.Text("/proc/cpuinfo");
  if (!cpuinfo.ok()) return finding;
  const std::string_view other =
      IsIntel(cpuinfo.value) ? "kvm_amd" : "kvm_intel";
  auto& to_do = *finding.mutable_to_do();
  to_do.erase(std::remove_if(to_do.begin(), to_do.end(),
                             [other](const std::string& command) {
                               return absl::EndsWith(command, other);
                             }),
              to_do.end());
  return finding;
}

Finding CheckLockedMemory(const HostFiles& host, const HostFacts& facts) {
  constexpr std::string_view kCheck = "locked memory";
  const vfio::LockedMemory memory = vfio::ReadLockedMemory(host.syscalls());
  const auto status = host.Text("/proc/self/status");
  const std::string capabilities = LineAfter(status.value, "CapEff");
  uint64_t mask = 0;
  const bool privileged =
      absl::SimpleHexAtoi(capabilities, &mask) && (mask >> kIpcLock & 1) != 0;
  const std::string need =
      absl::StrCat("a guest of ", Bytes(facts.guest_memory));
  if (privileged) {
    return MakeFinding(
        kCheck, Finding::OK, "has no limit for this user, who has CAP_IPC_LOCK",
        {absl::StrCat("/proc/self/status: CapEff = ", capabilities)});
  }
  if (!memory.limit.has_value()) {
    return MakeFinding(
        kCheck, Finding::UNKNOWN,
        "its limit cannot be read, so whether it is enough for " + need +
            " is unknown",
        {host.Text("/proc/self/limits").known_by});
  }
  const std::vector<std::string> known_by = {
      "/proc/self/limits: Max locked memory"};
  if (*memory.limit == std::numeric_limits<uint64_t>::max()) {
    return MakeFinding(kCheck, Finding::OK, "has no limit", known_by);
  }
  const uint64_t wanted = facts.guest_memory + memory.locked.value_or(0);
  if (*memory.limit >= wanted) {
    return MakeFinding(
        kCheck, Finding::OK,
        absl::StrCat("may be ", Bytes(*memory.limit), ", enough for ", need),
        known_by);
  }
  return MakeFinding(
      kCheck, Finding::PROBLEM,
      absl::StrCat("may be ", Bytes(*memory.limit), ", but DMA locks all of ",
                   need),
      known_by,
      {absl::StrCat("prlimit --pid $$ --memlock=", wanted,
                    "  # this shell; LimitMEMLOCK= for a systemd unit")});
}

Finding CheckDescriptors(const HostFiles& host, HostFacts& facts) {
  constexpr std::string_view kCheck = "descriptors";
  rlimit limit = {};
  const auto result = host.syscalls()->Getrlimit(RLIMIT_NOFILE, &limit);
  if (!result.ok()) {
    return MakeFinding(
        kCheck, Finding::UNKNOWN, "their limit cannot be read",
        {absl::StrCat("getrlimit(RLIMIT_NOFILE): ", ErrnoName(result.error))});
  }
  const auto open = host.Folder("/proc/self/fd");
  const uint64_t taken =
      std::max<uint64_t>(open.value.size(), kOtherDescriptors);
  facts.free_descriptors =
      limit.rlim_cur - std::min<uint64_t>(limit.rlim_cur, taken);
  const std::vector<std::string> known_by = {
      absl::StrCat("getrlimit(RLIMIT_NOFILE) = ", limit.rlim_cur)};
  if (*facts.free_descriptors == 0) {
    return MakeFinding(
        kCheck, Finding::PROBLEM,
        absl::StrCat("may be ", limit.rlim_cur, ", and a VMM needs ",
                     kOtherDescriptors, " beside one for each interrupt"),
        known_by, {"prlimit --pid $$ --nofile=65536"});
  }
  return MakeFinding(kCheck, Finding::OK,
                     absl::StrCat("may be ", limit.rlim_cur, ", enough for ",
                                  Count(*facts.free_descriptors, "interrupt")),
                     known_by);
}

Finding CheckHostVectors(const HostFiles& host, HostFacts& facts) {
  constexpr std::string_view kCheck = "host vectors";
  // x86_vector_debug_show() writes it.
  const auto domain = host.Text("/sys/kernel/debug/irq/domains/VECTOR");
  uint64_t available = 0;
  if (!domain.ok() ||
      !absl::SimpleAtoi(LineAfter(domain.value, "Global available"),
                        &available)) {
    return MakeFinding(
        kCheck, Finding::UNKNOWN,
        "how many the CPUs have left is in debugfs only, for root and with "
        "CONFIG_GENERIC_IRQ_DEBUGFS",
        {domain.known_by});
  }
  facts.free_vectors = available;
  const std::string known_by = absl::StrCat(
      "/sys/kernel/debug/irq/domains/VECTOR: Global available = ", available);
  if (available == 0) {
    return MakeFinding(kCheck, Finding::PROBLEM,
                       "are all taken, so no device gets an interrupt",
                       {known_by},
                       {"# unbind devices with many vectors from their "
                        "drivers; `cat /proc/interrupts` shows them"});
  }
  return MakeFinding(kCheck, Finding::OK,
                     absl::StrCat(available, " are left for all devices"),
                     {known_by});
}

Finding CheckUnsafeInterrupts(const HostFiles& host, HostFacts& facts) {
  constexpr std::string_view kCheck = "forged interrupts";
  const auto allowed = host.Text(
      "/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts");
  if (!allowed.ok()) {
    return MakeFinding(
        kCheck, Finding::UNKNOWN,
        "whether the kernel accepts devices that could forge them is unknown",
        {allowed.known_by});
  }
  facts.unsafe_interrupts = allowed.value == "Y";
  if (!*facts.unsafe_interrupts) {
    return MakeFinding(kCheck, Finding::OK,
                       "the kernel refuses devices that could forge them",
                       {allowed.known_by});
  }
  return MakeFinding(
      kCheck, Finding::WARNING,
      "the kernel was told to accept devices that can forge them: a guest can "
      "attack the host",
      {allowed.known_by},
      {"# enable interrupt remapping (x2APIC) in the firmware's setup, then:",
       "echo 0 > /sys/module/vfio_iommu_type1/parameters/"
       "allow_unsafe_interrupts"});
}

std::optional<Finding> CheckNoIommuMode(const HostFiles& host) {
  const auto mode =
      host.Text("/sys/module/vfio/parameters/enable_unsafe_noiommu_mode");
  if (!mode.ok() || mode.value != "Y") return std::nullopt;
  return MakeFinding(
      "no-IOMMU mode", Finding::WARNING,
      "is on: VFIO gives devices away whose DMA reaches all of the host, which "
      "no guest can use",
      {mode.known_by},
      {"echo N > /sys/module/vfio/parameters/enable_unsafe_noiommu_mode"});
}

// Sets how many bits a physical address has, which is the line "address sizes :
// 39 bits physical, 48 bits virtual".
void ReadPhysicalBits(const HostFiles& host, HostFacts& facts) {
  const auto cpuinfo = host.Text("/proc/cpuinfo");
  const std::string line = LineAfter(cpuinfo.value, "address sizes");
  unsigned bits = 0;
  if (absl::SimpleAtoi(line.substr(0, line.find(' ')), &bits)) {
    facts.physical_bits = bits;
  }
}

}  // namespace

Findings CheckHost(const HostFiles& host, HostFacts& facts) {
  ReadPhysicalBits(host, facts);
  Findings findings;
  findings.push_back(CheckIommu(host, facts));
  findings.push_back(CheckModule(host));
  findings.push_back(CheckContainer(host, facts));
  findings.push_back(CheckKvm(host));
  findings.push_back(CheckUnsafeInterrupts(host, facts));
  if (auto mode = CheckNoIommuMode(host)) findings.push_back(*std::move(mode));
  findings.push_back(CheckLockedMemory(host, facts));
  findings.push_back(CheckDescriptors(host, facts));
  findings.push_back(CheckHostVectors(host, facts));
  return findings;
}

}  // namespace passthru::doctor
