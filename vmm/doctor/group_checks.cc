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

constexpr std::string_view kGroup = "IOMMU group";
constexpr std::string_view kMembers = "group members";
constexpr std::string_view kFirmware = "firmware's memory";
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
        kGroup, Finding::PROBLEM,
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
        kGroup, Finding::PROBLEM,
        absl::StrCat("its group ", number,
                     " is one of the no-IOMMU mode, which keeps no device from "
                     "the host's memory and which no guest can use"),
        {name.known_by});
  }
  return MakeFinding(kGroup, Finding::OK,
                     absl::StrCat("it is in group ", number), {link.known_by});
}

// Appends how the host uses a device that has to leave its driver for another's
// sake. Returns whether the host runs without it.
bool CheckUsesOfMember(const HostFiles& host, const HostFacts& facts,
                       const std::string& member, Findings& findings) {
  const auto address = pci::Bdf::Parse(member);
  if (!address.ok()) return true;
  Findings uses = CheckUses(host, facts, ReadDevice(host, *address));
  const bool spare = !HasProblem(uses);
  for (Finding& use : uses) {
    if (use.verdict() < Finding::WARNING) continue;
    use.set_check(absl::StrCat(use.check(), " of ", member));
    findings.push_back(std::move(use));
  }
  return spare;
}

// Bridges stay with the host and are named apart. The last finding is that on
// the members. Those before it say how the host uses them.
Findings CheckMembers(const HostFiles& host, const HostFacts& facts,
                      const DeviceFacts& device) {
  if (!device.group.has_value()) {
    return {MakeFinding(kMembers, Finding::UNKNOWN,
                        "it has no group, so no other device can be in it")};
  }
  const auto members = host.Folder(GroupFolder(*device.group) + "/devices");
  if (!members.ok()) {
    return {MakeFinding(kMembers, Finding::UNKNOWN,
                        "who else is in its group cannot be read",
                        {members.known_by})};
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
    Findings findings;
    std::vector<vfio::BlockingDevice> spare;
    std::vector<std::string> to_do;
    for (const vfio::BlockingDevice& other : blocking) {
      if (CheckUsesOfMember(host, facts, other.device, findings)) {
        spare.push_back(other);
      } else {
        to_do.push_back(absl::StrCat("# leave ", other.device,
                                     ", because the host does not run without; "
                                     "another slot may have its own group"));
      }
    }
    if (to_do.empty()) {
      to_do =
          CommandsIn(vfio::ExplainNotViable(*device.group, spare).message());
    }
    findings.push_back(MakeFinding(
        kMembers, Finding::PROBLEM,
        absl::StrCat("the host uses others of group ", *device.group, ": ",
                     absl::StrJoin(blocking, ", ",
                                   [](std::string* out,
                                      const vfio::BlockingDevice& other) {
                                     absl::StrAppend(out, other.device, " by ",
                                                     other.driver);
                                   }),
                     beside),
        {members.known_by}, std::move(to_do)));
    return findings;
  }
  if (others.empty()) {
    return {
        MakeFinding(kMembers, Finding::OK,
                    absl::StrCat("it is the only device of its group", beside),
                    {members.known_by})};
  }
  return {MakeFinding(
      kMembers, Finding::NOTE,
      absl::StrCat("one guest gets all that it uses of group ", *device.group,
                   ", which also has ", absl::StrJoin(others, ", "), beside),
      {members.known_by})};
}

// The lines are "0x00000000fee00000 0x00000000feefffff msi"
// (iommu_group_show_resv_regions()).
Finding CheckReserved(const HostFiles& host, const DeviceFacts& device) {
  if (!device.group.has_value()) {
    return MakeFinding(kFirmware, Finding::UNKNOWN,
                       "without a group there are no reserved regions to read");
  }
  const std::string path = GroupFolder(*device.group) + "/reserved_regions";
  const auto regions = host.Text(path);
  if (!regions.ok()) {
    return MakeFinding(kFirmware, Finding::UNKNOWN,
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
        kFirmware, Finding::PROBLEM,
        absl::StrCat("the firmware wants it to reach ", words[0], " to ",
                     words[1],
                     " of the host (RMRR), and the kernel then gives it to no "
                     "guest"),
        {absl::StrCat(path, ": ", line)},
        {"# look in the firmware's setup for shared memory features of this "
         "slot, and turn them off"});
  }
  return MakeFinding(kFirmware, Finding::OK, "it must reach none",
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
    const uint64_t top = high != 0 ? k4GiB + high : low;
    return MakeFinding(
        kCheck, Finding::PROBLEM,
        absl::StrCat("its DMA reaches ", reach,
                     last >= top - 1 ? " with holes" : "",
                     ", and not all of a guest of ", Bytes(facts.guest_memory)),
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

// Returns why the group's file could not be opened, and what to do.
Finding ExplainOpen(const HostFiles& host, const HostFacts& facts, int error,
                    const std::string& path) {
  constexpr std::string_view kCheck = "permission";
  const absl::Status why = vfio::ExplainGroupOpen(error, path);
  std::string what = WithoutCommands(why.message());
  std::vector<std::string> known_by = {
      absl::StrCat("open of ", path, ": ", ErrnoName(error))};
  std::vector<std::string> to_do = ForUser(facts, CommandsIn(why.message()));
  switch (error) {
    case ENOENT:
    case ENODEV: {
      // The device is VFIO's, so the kernel has made the file.
      const auto cdevs = host.Folder("/dev/vfio/devices");
      if (cdevs.ok()) {
        what = absl::StrCat("there is no ", path,
                            ", but /dev/vfio/devices: this kernel has no VFIO "
                            "groups, which the library needs");
        known_by.push_back(cdevs.known_by);
        to_do = {"# boot a kernel with CONFIG_VFIO_GROUP"};
        break;
      }
      what = absl::StrCat("there is no ", path,
                          ", although VFIO has the device: it was not given to "
                          "this container");
      to_do = {absl::StrCat("# let the container have it: --device=", path)};
      break;
    }
    case EPERM:
      what = absl::StrCat("this container or service may not open ", path);
      to_do = {absl::StrCat("# let the container have it: --device=", path,
                            ", or the unit: DeviceAllow=", path, " rw")};
      break;
    case EACCES:
      to_do.push_back(
          absl::StrCat("# at each boot: a file in /etc/udev/rules.d with "
                       "SUBSYSTEM==\"vfio\", OWNER=\"",
                       facts.user.empty() ? "$USER" : facts.user, "\""));
      break;
    default:
      break;
  }
  return MakeFinding(kCheck, Finding::PROBLEM, what, known_by,
                     std::move(to_do));
}

// Opens the group and attaches it to a container for a moment, which is what
// decides. The kernel resets no device at that.
void TryGroup(const HostFiles& host, const HostFacts& facts,
              const DeviceFacts& device, const Findings& before,
              Findings& findings) {
  constexpr std::string_view kOpen = "permission";
  constexpr std::string_view kAddresses = "DMA addresses";
  const auto skip = [&](std::string_view why) {
    findings.push_back(RemappingWithoutGroup(facts, why));
    findings.push_back(NotTried(kAddresses, why));
  };
  const auto is_wrong = [&before](std::string_view check) {
    return std::any_of(before.begin(), before.end(), [&](const Finding& one) {
      return one.check() == check && one.verdict() == Finding::PROBLEM;
    });
  };
  if (!device.group.has_value() || is_wrong(kGroup)) {
    findings.push_back(NotTried(kOpen, "for want of a group"));
    return skip("for want of a group");
  }
  if (!vfio::IsVfioDriver(device.driver)) {
    constexpr std::string_view kWhy =
        "because only a device of vfio-pci has a file in /dev/vfio";
    findings.push_back(NotTried(kOpen, kWhy));
    return skip(kWhy);
  }
  const std::string path = absl::StrCat("/dev/vfio/", *device.group);
  const auto opened = host.syscalls()->Open(path.c_str(), O_RDWR | O_CLOEXEC);
  if (!opened.ok()) {
    findings.push_back(ExplainOpen(host, facts, opened.error, path));
    return skip("because the group could not be opened");
  }
  kernel::FileDescriptor file(host.syscalls(), opened.value);
  findings.push_back(MakeFinding(kOpen, Finding::OK,
                                 absl::StrCat("this user may open ", path),
                                 {absl::StrCat("open of ", path, " = 0")}));
  if (is_wrong(kMembers)) {
    return skip("because the host uses others of the group");
  }
  auto container = vfio::VfioContainer::Create(host.syscalls());
  if (!container.ok()) return skip("for want of a usable /dev/vfio/vfio");
  const auto group =
      vfio::VfioGroup::Adopt(*container, *device.group, std::move(file));
  if (group.ok()) {
    findings.push_back(
        RemappingOfAttached(facts, "VFIO_SET_IOMMU(VFIO_TYPE1v2_IOMMU) = 0"));
    findings.push_back(CheckAddresses(facts, (*container)->QueryInfo()));
    return;
  }
  const int error = kernel::ErrnoOf(group.status());
  const std::string known_by =
      absl::StrCat("VFIO_SET_IOMMU(VFIO_TYPE1v2_IOMMU): ", ErrnoName(error));
  // The kernel refuses devices with memory of the firmware with EPERM, too, and
  // since 6.6 with EINVAL.
  if (is_wrong(kFirmware) && (error == EPERM || error == EINVAL) &&
      facts.remapping != false) {
    return skip(
        "because the kernel refuses the group, as it does for the "
        "firmware's memory");
  }
  if (error == EPERM && facts.remapping != true) {
    findings.push_back(RemappingIsOff(facts, known_by));
    findings.push_back(
        NotTried(kAddresses, "because the group could not be attached"));
    return;
  }
  findings.push_back(MakeFinding("attaching", Finding::PROBLEM,
                                 WithoutCommands(group.status().message()),
                                 {known_by}, {"dmesg | tail  # may say why"}));
  skip("because the group could not be attached");
}

}  // namespace

Findings CheckGroup(const HostFiles& host, const HostFacts& facts,
                    DeviceFacts& device) {
  Findings findings;
  findings.push_back(CheckNumber(host, facts, device));
  for (Finding& finding : CheckMembers(host, facts, device)) {
    findings.push_back(std::move(finding));
  }
  findings.push_back(CheckReserved(host, device));
  const Findings before = findings;
  TryGroup(host, facts, device, before, findings);
  return findings;
}

}  // namespace passthru::doctor
