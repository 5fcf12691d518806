// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "passthru/devices/kernel/errors.h"
#include "passthru/devices/kernel/file_descriptor.h"
#include "passthru/devices/memory/iova.h"
#include "passthru/devices/vfio/explain.h"
#include "passthru/devices/vfio/find_group.h"
#include "passthru/devices/vfio/iommu_info.h"
#include "passthru/devices/vfio/vfio_container.h"
#include "passthru/devices/vfio/vfio_group.h"
#include "passthru/vmm/doctor/checks.h"
#include "passthru/vmm/doctor/doctor_report.pb.h"
#include "passthru/vmm/doctor/host_files.h"

namespace passthru::doctor {
namespace {

constexpr uint64_t k4GiB = uint64_t{4} << 30;
// A PC has at most this much memory below 4 GiB, and the rest above.
constexpr uint64_t kLowMemory = uint64_t{2} << 30;

std::string GroupFolder(uint32_t group) {
  return absl::StrCat("/sys/kernel/iommu_groups/", group);
}

bool IsBridge(const HostFiles& host, std::string_view device) {
  const auto code =
      host.Text(absl::StrCat("/sys/bus/pci/devices/", device, "/class"));
  return absl::StartsWith(code.value, "0x0604");
}

Finding CheckNumber(const HostFiles& host, const HostFacts& facts,
                    DeviceFacts& device) {
  const auto link = host.Link(device.folder + "/iommu_group");
  uint32_t number = 0;
  if (!link.ok() || !absl::SimpleAtoi(link.value, &number)) {
    return MakeFinding(
        "IOMMU group", Finding::PROBLEM,
        facts.has_iommu ? "it has none: no IOMMU is in front of this device"
                        : "it has none, because the IOMMU is off",
        {link.known_by},
        facts.has_iommu
            ? std::vector<std::string>{"# put it into another slot, or see "
                                       "what `dmesg | grep -i -e DMAR -e "
                                       "AMD-Vi` says"}
            : std::vector<std::string>());
  }
  device.group = number;
  const auto name = host.Text(GroupFolder(number) + "/name");
  if (name.ok() && name.value == "vfio-noiommu") {
    return MakeFinding(
        "IOMMU group", Finding::PROBLEM,
        absl::StrCat("its group ", number,
                     " is one of the no-IOMMU mode, which protects nobody and "
                     "which no guest can use"),
        {name.known_by});
  }
  return MakeFinding("IOMMU group", Finding::OK,
                     absl::StrCat("it is in group ", number), {link.known_by});
}

// Bridges stay with the host and are named apart.
Finding CheckMembers(const HostFiles& host, const DeviceFacts& device) {
  constexpr std::string_view kCheck = "group members";
  if (!device.group.has_value()) {
    return MakeFinding(kCheck, Finding::UNKNOWN,
                       "without a group there is nobody to look at");
  }
  const auto members = host.Folder(GroupFolder(*device.group) + "/devices");
  if (!members.ok()) {
    return MakeFinding(kCheck, Finding::UNKNOWN,
                       "who else is in its group cannot be read",
                       {members.known_by});
  }
  const std::string self = device.address.ToString();
  std::vector<vfio::BlockingDevice> blocking =
      vfio::FindBlockingDevices(host.syscalls(), *device.group, {});
  std::erase_if(blocking, [&self](const vfio::BlockingDevice& other) {
    return other.device == self;
  });
  std::vector<std::string> others;
  std::vector<std::string> bridges;
  for (const std::string& member : members.value) {
    if (member == self) continue;
    (IsBridge(host, member) ? bridges : others).push_back(member);
  }
  std::string beside;
  if (!bridges.empty()) {
    beside = absl::StrCat(" (and of ", absl::StrJoin(bridges, ", "),
                          bridges.size() == 1 ? ", a bridge, which stays"
                                              : ", bridges, which stay",
                          " with the host)");
  }
  if (!blocking.empty()) {
    const absl::Status why = vfio::ExplainNotViable(*device.group, blocking);
    return MakeFinding(
        kCheck, Finding::PROBLEM,
        absl::StrCat("the host uses others of group ", *device.group, ": ",
                     absl::StrJoin(blocking, ", ",
                                   [](std::string* out,
                                      const vfio::BlockingDevice& other) {
                                     absl::StrAppend(out, other.device, " by ",
                                                     other.driver);
                                   }),
                     beside),
        {members.known_by}, CommandsIn(why.message()));
  }
  if (others.empty()) {
    return MakeFinding(
        kCheck, Finding::OK,
        absl::StrCat("it is the only device of its group", beside),
        {members.known_by});
  }
  return MakeFinding(
      kCheck, Finding::NOTE,
      absl::StrCat("one guest gets all that it uses of group ", *device.group,
                   ", which also has ", absl::StrJoin(others, ", "), beside),
      {members.known_by});
}

// The lines are "0x00000000fee00000 0x00000000feefffff msi"
// (iommu_group_show_resv_regions()).
Finding CheckReserved(const HostFiles& host, const DeviceFacts& device) {
  constexpr std::string_view kCheck = "firmware's memory";
  if (!device.group.has_value()) {
    return MakeFinding(kCheck, Finding::UNKNOWN,
                       "without a group there are no reserved regions to read");
  }
  const std::string path = GroupFolder(*device.group) + "/reserved_regions";
  const auto regions = host.Text(path);
  if (!regions.ok()) {
    return MakeFinding(kCheck, Finding::UNKNOWN,
                       "whether it must reach memory of the firmware cannot "
                       "be read",
                       {regions.known_by});
  }
  for (const std::string_view line :
       absl::StrSplit(regions.value, '\n', absl::SkipEmpty())) {
    const std::vector<std::string_view> words =
        absl::StrSplit(line, ' ', absl::SkipEmpty());
    if (words.size() != 3 || words[2] != "direct") continue;
    return MakeFinding(
        kCheck, Finding::PROBLEM,
        absl::StrCat("the firmware wants it to reach ", words[0], " to ",
                     words[1],
                     " of the host (RMRR), and the kernel then gives it to no "
                     "guest"),
        {absl::StrCat(path, ": ", line)},
        {"# look in the firmware's setup for shared memory features of this "
         "slot, and turn them off"});
  }
  return MakeFinding(kCheck, Finding::OK, "it must reach none",
                     {regions.known_by});
}

// Returns a finding that could not be made, because of an earlier one.
Finding NotTried(std::string_view check, std::string_view why) {
  return MakeFinding(check, Finding::UNKNOWN, absl::StrCat("not tried, ", why));
}

Finding CheckAddresses(const HostFacts& facts,
                       const absl::StatusOr<vfio::IommuInfo>& info) {
  constexpr std::string_view kCheck = "DMA addresses";
  if (!info.ok()) {
    return MakeFinding(kCheck, Finding::UNKNOWN,
                       std::string(info.status().message()),
                       {"VFIO_IOMMU_GET_INFO"});
  }
  if (!info->iova_ranges.has_value() || info->iova_ranges->empty()) {
    return MakeFinding(kCheck, Finding::UNKNOWN,
                       "the kernel does not tell its windows (before 5.4)",
                       {"VFIO_IOMMU_GET_INFO"});
  }
  const std::vector<std::string> known_by = {
      absl::StrCat("VFIO_IOMMU_GET_INFO = ", info->RangesToString())};
  const uint64_t low = std::min(facts.guest_memory, kLowMemory);
  const uint64_t high = facts.guest_memory - low;
  const uint64_t last = info->iova_ranges->back().last.value();
  const std::string reach = last == ~uint64_t{0}
                                ? "all 64 bits"
                                : absl::StrCat("up to ", Bytes(last + 1));
  if ((low != 0 && !info->Allows(memory::Iova(0), low)) ||
      (high != 0 && !info->Allows(memory::Iova(k4GiB), high))) {
    return MakeFinding(
        kCheck, Finding::PROBLEM,
        absl::StrCat("its DMA reaches ", reach, ", and not all of a guest of ",
                     Bytes(facts.guest_memory)),
        known_by,
        {"# give the guest less memory, or leave the holes out of its memory "
         "map"});
  }
  if (facts.physical_bits.has_value() && *facts.physical_bits < 64 &&
      last < (uint64_t{1} << *facts.physical_bits) - 1) {
    return MakeFinding(
        kCheck, Finding::NOTE,
        absl::StrCat("its DMA reaches ", reach,
                     ": the guest's memory, but not BARs of other devices "
                     "above, where CPUs of ",
                     *facts.physical_bits, " bits may have them"),
        known_by);
  }
  return MakeFinding(kCheck, Finding::OK,
                     absl::StrCat("its DMA reaches ", reach,
                                  ", all of a guest "
                                  "of ",
                                  Bytes(facts.guest_memory)),
                     known_by);
}

// Opens the group and attaches it to a container for a moment, which is what
// decides. The kernel resets no device at that.
void TryGroup(const HostFiles& host, const HostFacts& facts,
              const DeviceFacts& device, bool members_ok, Findings& findings) {
  constexpr std::string_view kOpen = "permission";
  constexpr std::string_view kRemapping = "interrupt remapping";
  constexpr std::string_view kAddresses = "DMA addresses";
  const auto skip = [&](std::initializer_list<std::string_view> checks,
                        std::string_view why) {
    for (const std::string_view check : checks) {
      findings.push_back(NotTried(check, why));
    }
  };
  if (!device.group.has_value()) {
    return skip({kOpen, kRemapping, kAddresses}, "for want of a group");
  }
  if (!vfio::IsVfioDriver(device.driver)) {
    return skip({kOpen, kRemapping, kAddresses},
                "because only a device of vfio-pci has a file in /dev/vfio");
  }
  const std::string path = absl::StrCat("/dev/vfio/", *device.group);
  const auto opened = host.syscalls()->Open(path.c_str(), O_RDWR | O_CLOEXEC);
  if (!opened.ok()) {
    const absl::Status why = vfio::ExplainGroupOpen(opened.error, path);
    findings.push_back(MakeFinding(
        kOpen, Finding::PROBLEM, WithoutCommands(why.message()),
        {absl::StrCat("open of ", path, ": ", ErrnoName(opened.error))},
        CommandsIn(why.message())));
    return skip({kRemapping, kAddresses},
                "because the group could not be opened");
  }
  kernel::FileDescriptor file(host.syscalls(), opened.value);
  findings.push_back(MakeFinding(kOpen, Finding::OK,
                                 absl::StrCat("this user may open ", path),
                                 {absl::StrCat("open of ", path, " = 0")}));
  if (!members_ok) {
    return skip({kRemapping, kAddresses},
                "because the host uses others of the group");
  }
  auto container = vfio::VfioContainer::Create(host.syscalls());
  if (!container.ok()) {
    return skip({kRemapping, kAddresses},
                "for want of a usable /dev/vfio/vfio");
  }
  const auto group =
      vfio::VfioGroup::Adopt(*container, *device.group, std::move(file));
  if (!group.ok()) {
    const std::string_view message = group.status().message();
    const bool refused = kernel::ErrnoOf(group.status()) == EPERM;
    std::vector<std::string> to_do;
    if (refused) {
      to_do.emplace_back(
          "# better: enable interrupt remapping (x2APIC) in the firmware's "
          "setup. Or accept the risk:");
    }
    for (std::string& command : CommandsIn(message)) {
      to_do.push_back(std::move(command));
    }
    findings.push_back(MakeFinding(
        refused ? kRemapping : "attaching", Finding::PROBLEM,
        refused ? "is off, so a guest could forge interrupts through it, and "
                  "the kernel refuses"
                : WithoutCommands(message),
        {absl::StrCat("VFIO_SET_IOMMU(VFIO_TYPE1v2_IOMMU): ",
                      ErrnoName(kernel::ErrnoOf(group.status())))},
        std::move(to_do)));
    return skip({kAddresses}, "because the group could not be attached");
  }
  const std::string attached = "VFIO_SET_IOMMU(VFIO_TYPE1v2_IOMMU) = 0";
  if (facts.unsafe_interrupts == false) {
    findings.push_back(MakeFinding(
        kRemapping, Finding::OK,
        "is on: the kernel attaches the group without leave to be unsafe",
        {attached}));
  } else {
    findings.push_back(MakeFinding(
        kRemapping, Finding::UNKNOWN,
        "the kernel attaches the group, but perhaps only because unsafe "
        "interrupts are allowed",
        {attached}));
  }
  findings.push_back(CheckAddresses(facts, (*container)->QueryInfo()));
}

}  // namespace

Findings CheckGroup(const HostFiles& host, const HostFacts& facts,
                    DeviceFacts& device) {
  Findings findings;
  findings.push_back(CheckNumber(host, facts, device));
  findings.push_back(CheckMembers(host, device));
  const bool members_ok = findings.back().verdict() != Finding::PROBLEM;
  findings.push_back(CheckReserved(host, device));
  TryGroup(host, facts, device, members_ok, findings);
  return findings;
}

}  // namespace passthru::doctor
