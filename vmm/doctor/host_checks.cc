// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "passthru/devices/kernel/errors.h"
#include "passthru/devices/kvm/kvm_vm.h"
#include "passthru/devices/vfio/find_group.h"
#include "passthru/devices/vfio/vfio_container.h"
#include "passthru/vmm/doctor/checks.h"
#include "passthru/vmm/doctor/doctor_report.pb.h"
#include "passthru/vmm/doctor/host_files.h"
#include "passthru/vmm/doctor/host_uses.h"
#include "passthru/vmm/doctor/shell_word.h"
#include "passthru/vmm/plural.h"

namespace passthru::doctor {
namespace {

using vmm::Count;

constexpr std::string_view kGroups = "/sys/kernel/iommu_groups";
bool IsIntel(std::string_view cpuinfo) {
  return absl::StrContains(cpuinfo, "GenuineIntel");
}

// Returns whether a word of the kernel's command line is about the IOMMU.
bool IsAboutIommu(std::string_view word) {
  return absl::StrContains(word, "iommu=");
}

// Returns whether a word such as "intel_iommu=sm_on,off" says `value`.
bool Says(std::string_view word, std::string_view option,
          std::string_view value) {
  if (!absl::ConsumePrefix(&word, absl::StrCat(option, "="))) return false;
  const std::vector<std::string_view> values = absl::StrSplit(word, ',');
  return std::find(values.begin(), values.end(), value) != values.end();
}

// Returns how the IOMMU is turned on. The kernel uses one that the firmware
// shows, except Intel's, which most distributions leave off
// (CONFIG_INTEL_IOMMU_DEFAULT_ON).
std::vector<std::string> TurnOnIommu(std::string_view cpuinfo,
                                     const std::vector<std::string>& words) {
  const bool intel = IsIntel(cpuinfo);
  std::vector<std::string> to_do;
  if (absl::StrContains(LineAfter(cpuinfo, "flags"), " hypervisor")) {
    to_do.emplace_back(
        "# this is a virtual machine, so its hypervisor must give it an IOMMU "
        "(QEMU: -device intel-iommu,intremap=on)");
  } else {
    to_do.push_back(absl::StrCat("# enable ", intel ? "VT-d" : "AMD-Vi (IOMMU)",
                                 " in the firmware's setup"));
  }
  const size_t edits = to_do.size();
  bool is_on = false;
  for (const std::string& word : words) {
    is_on = is_on || Says(word, "intel_iommu", "on");
    if (Says(word, "intel_iommu", "off") || Says(word, "amd_iommu", "off") ||
        Says(word, "iommu", "off")) {
      AppendWithoutWord(word, to_do);
    }
  }
  if (intel && !is_on) AppendWithWord("intel_iommu=on", to_do);
  if (to_do.size() > edits) {
    to_do.emplace_back(kUpdateGrub);
  } else {
    to_do.emplace_back("dmesg | grep -i -e DMAR -e AMD-Vi  # why it is not");
  }
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

// Returns the groups without those that VFIO makes for devices without an IOMMU
// (vfio_noiommu_group_alloc()).
std::vector<std::string> WithIommu(const HostFiles& host,
                                   std::vector<std::string> groups) {
  std::erase_if(groups, [&host](const std::string& group) {
    return host.Text(absl::StrCat(kGroups, "/", group, "/name")).value ==
           "vfio-noiommu";
  });
  return groups;
}

Finding CheckIommu(const HostFiles& host, HostFacts& facts) {
  const auto groups = host.Folder(std::string(kGroups));
  const auto cpuinfo = host.Text("/proc/cpuinfo");
  const auto command_line = host.Text("/proc/cmdline");
  const std::vector<std::string> iommu_groups = WithIommu(host, groups.value);
  facts.has_iommu = !iommu_groups.empty();
  if (!groups.ok() && groups.error != ENOENT) {
    return MakeFinding("IOMMU", Finding::UNKNOWN,
                       "whether it is on cannot be read", {groups.known_by});
  }
  if (!facts.has_iommu) {
    std::vector<std::string> words;
    std::copy_if(facts.command_line.begin(), facts.command_line.end(),
                 std::back_inserter(words), IsAboutIommu);
    return MakeFinding(
        "IOMMU", Finding::PROBLEM,
        "is off, so no device can be kept to its guest's memory",
        {groups.ok() && !groups.value.empty()
             ? absl::StrCat(kGroups, " has groups of the no-IOMMU mode only")
             : groups.known_by,
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
      absl::StrCat("is on: ", kind, Count(iommu_groups.size(), "group"),
                   ", the host's own devices in mode ",
                   Modes(host, iommu_groups)),
      {groups.known_by, absl::StrCat(kGroups, "/*/type")});
}

Finding CheckModule(const HostFiles& host, HostFacts& facts) {
  // A driver that is built in has no folder in /sys/module without parameters,
  // but a loaded one always has its folder here. There are others for devices
  // of single makers, such as mlx5-vfio-pci.
  const auto drivers = host.Folder("/sys/bus/pci/drivers");
  const auto driver = host.Folder("/sys/bus/pci/drivers/vfio-pci");
  facts.has_vfio_pci = driver.ok();
  if (driver.ok()) {
    return MakeFinding("vfio-pci", Finding::OK, "is loaded", {driver.known_by});
  }
  for (const std::string& name : drivers.value) {
    if (!vfio::IsVfioDriver(name)) continue;
    facts.has_vfio_pci = true;
    return MakeFinding("vfio-pci", Finding::NOTE,
                       absl::StrCat("is not loaded, but ", name, " is"),
                       {absl::StrCat("/sys/bus/pci/drivers/", name)});
  }
  return MakeFinding(
      "vfio-pci", Finding::PROBLEM, "is not loaded", {driver.known_by},
      {"modprobe vfio-pci",
       "echo vfio-pci > /etc/modules-load.d/vfio-pci.conf  # at each boot"});
}

// Makes a finding of a message of the library.
Finding Explained(std::string_view check, const HostFacts& facts,
                  const absl::Status& status, std::string_view call) {
  const int error = kernel::ErrnoOf(status);
  return MakeFinding(check, Finding::PROBLEM, WithoutCommands(status.message()),
                     {error == 0 ? std::string(call)
                                 : absl::StrCat(call, ": ", ErrnoName(error))},
                     ForUser(facts, CommandsIn(status.message())));
}

Finding CheckContainer(const HostFiles& host, HostFacts& facts) {
  constexpr std::string_view kCheck = "/dev/vfio/vfio";
  const auto container = vfio::VfioContainer::Create(host.syscalls());
  facts.has_container = container.ok();
  if (container.ok()) {
    return MakeFinding(kCheck, Finding::OK, "opens and has type1v2",
                       {"VFIO_CHECK_EXTENSION(VFIO_TYPE1v2_IOMMU) = 1"});
  }
  Finding finding = Explained(kCheck, facts, container.status(),
                              "open of /dev/vfio/vfio, VFIO_CHECK_EXTENSION");
  if (kernel::ErrnoOf(container.status()) == ENOENT && facts.has_vfio_pci) {
    // The kernel makes it when VFIO is loaded (vfio_container_init()).
    finding.set_what("there is no /dev/vfio/vfio, although VFIO is loaded");
    finding.clear_to_do();
    finding.add_to_do(
        "# in a container: let it have the device (--device=/dev/vfio/vfio). "
        "Elsewhere:");
    finding.add_to_do(
        "mkdir -p /dev/vfio && mknod -m 0666 /dev/vfio/vfio c 10 196");
  }
  return finding;
}

Finding CheckKvm(const HostFiles& host, const HostFacts& facts) {
  const auto vm = kvm::KvmVm::Create(host.syscalls());
  if (vm.ok()) {
    return MakeFinding("/dev/kvm", Finding::OK, "makes virtual machines",
                       {"KVM_CREATE_VM = 0"});
  }
  Finding finding = Explained("/dev/kvm", facts, vm.status(),
                              "open of /dev/kvm, KVM_CREATE_VM");
  // The message names the modules of both makers of CPUs.
  const auto cpuinfo = host.Text("/proc/cpuinfo");
  if (!cpuinfo.ok()) return finding;
  const std::string_view other =
      IsIntel(cpuinfo.value) ? "kvm_amd" : "kvm_intel";
  std::vector<std::string> to_do;
  const std::string flags =
      absl::StrCat(LineAfter(cpuinfo.value, "flags"), " ");
  if (kernel::ErrnoOf(vm.status()) == ENOENT && flags.size() > 1 &&
      !absl::StrContains(flags, " vmx ") &&
      !absl::StrContains(flags, " svm ")) {
    to_do.emplace_back(
        "# enable VT-x or AMD-V in the firmware's setup (in a virtual machine, "
        "nested virtualization in its hypervisor), because the CPUs do not "
        "show it, then:");
  }
  for (const std::string& command : finding.to_do()) {
    if (!absl::EndsWith(command, other)) to_do.push_back(command);
  }
  finding.mutable_to_do()->Assign(to_do.begin(), to_do.end());
  return finding;
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
        "whether the kernel accepts devices that could forge them is known "
        "when vfio_iommu_type1 is loaded",
        {allowed.known_by});
  }
  if (allowed.value != "Y" && allowed.value != "N") {
    return MakeFinding(kCheck, Finding::UNKNOWN,
                       "the kernel's answer is neither Y nor N",
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

// A patch that some distributions have makes groups smaller than the hardware
// does (pcie_acs_override).
std::optional<Finding> CheckAcsOverride(const HostFacts& facts) {
  for (const std::string& word : facts.command_line) {
    if (!absl::StartsWith(word, "pcie_acs_override=")) continue;
    std::vector<std::string> to_do;
    AppendWithoutWord(word, to_do);
    to_do.emplace_back(kUpdateGrub);
    return MakeFinding(
        "isolation", Finding::WARNING,
        "the kernel was told to make groups that the hardware does not keep "
        "apart: their guests may reach one another's memory",
        {absl::StrCat("/proc/cmdline: ", word)}, std::move(to_do));
  }
  return std::nullopt;
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

void AppendWithoutWord(std::string_view word, std::vector<std::string>& to_do) {
  const bool plain = std::all_of(word.begin(), word.end(), [](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) ||
           absl::StrContains("_=,-.:", c);
  });
  if (!plain) {
    to_do.push_back(absl::StrCat("# remove ", Printable(word),
                                 " from the kernel's command line"));
    return;
  }
  to_do.push_back(
      absl::StrCat("sed -i 's/\\<", word, "\\>//' /etc/default/grub"));
  // Their boot loader entries have a command line each.
  to_do.push_back(absl::StrCat(
      "# Fedora, RHEL: grubby --update-kernel=ALL --remove-args=", word));
}

void AppendWithWord(std::string_view word, std::vector<std::string>& to_do) {
  to_do.push_back(absl::StrCat("sed -i \"s/^GRUB_CMDLINE_LINUX=[\\\"']/&", word,
                               " /\" /etc/default/grub"));
  to_do.push_back(
      absl::StrCat("# Fedora, RHEL: grubby --update-kernel=ALL --args=", word));
}

bool CommandLineSays(const HostFacts& facts, std::string_view option,
                     std::string_view value) {
  return std::any_of(facts.command_line.begin(), facts.command_line.end(),
                     [option, value](std::string_view word) {
                       return Says(word, option, value);
                     });
}

Findings CheckHost(const HostFiles& host, HostFacts& facts) {
  ReadUser(host, facts);
  ReadPhysicalBits(host, facts);
  ReadRemapping(host, facts);
  facts.uses = ReadHostUses(host);
  facts.command_line =
      absl::StrSplit(host.Text("/proc/cmdline").value, ' ', absl::SkipEmpty());
  Findings findings;
  findings.push_back(CheckIommu(host, facts));
  if (auto found = CheckAcsOverride(facts)) findings.push_back(*found);
  findings.push_back(CheckModule(host, facts));
  findings.push_back(CheckContainer(host, facts));
  findings.push_back(CheckKvm(host, facts));
  findings.push_back(CheckUnsafeInterrupts(host, facts));
  if (auto mode = CheckNoIommuMode(host)) findings.push_back(*std::move(mode));
  for (Finding& finding : CheckLimits(host, facts)) {
    findings.push_back(std::move(finding));
  }
  findings.push_back(CheckHostVectors(host, facts));
  return findings;
}

}  // namespace passthru::doctor
