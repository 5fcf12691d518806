// SPDX-License-Identifier: Apache-2.0
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "passthru/devices/vfio/find_group.h"
#include "passthru/pci/bdf.h"
#include "passthru/vmm/doctor/checks.h"
#include "passthru/vmm/doctor/doctor_report.pb.h"
#include "passthru/vmm/doctor/host_files.h"
#include "passthru/vmm/doctor/host_uses.h"
#include "passthru/vmm/doctor/shell_word.h"
#include "passthru/vmm/plural.h"

namespace passthru::doctor {
namespace {

// IFF_UP of <linux/if.h>.
constexpr uint32_t kInterfaceUp = 1;

// Appends a warning for each of the device's network interfaces that is up.
// Some drivers have them below another device of theirs, such as virtio0.
void CheckNetwork(const HostFiles& host, const HostUses& uses,
                  const DeviceFacts& device, Findings& findings) {
  const std::string below = absl::StrCat("/", device.address.ToString(), "/");
  for (const auto& [name, target] : uses.interfaces) {
    if (!absl::StrContains(target, below)) continue;
    const std::string folder = "/sys/class/net/" + name;
    const auto flags = host.Text(folder + "/flags");
    uint32_t bits = 0;
    if (!absl::SimpleHexAtoi(flags.value, &bits)) {
      findings.push_back(
          MakeFinding(absl::StrCat("use as ", name), Finding::UNKNOWN,
                      absl::StrCat("whether the network interface ", name,
                                   " is up cannot be read"),
                      {flags.known_by}));
      continue;
    }
    if ((bits & kInterfaceUp) == 0) continue;
    std::string what = absl::StrCat("the host uses it: the network interface ",
                                    name, " is up");
    std::vector<std::string> known_by = {flags.known_by};
    const auto master = host.Link(folder + "/master");
    const bool is_default =
        uses.default_routes.contains(name) ||
        (master.ok() && uses.default_routes.contains(master.value));
    if (master.ok()) {
      absl::StrAppend(&what, ", as a part of ", master.value);
      known_by.push_back(master.known_by);
    }
    if (is_default) {
      absl::StrAppend(&what, ", and has the default route");
      known_by.emplace_back("/proc/net/route");
    }
    absl::StrAppend(&what, ". Is it the one you came in by?");
    findings.push_back(MakeFinding(
        absl::StrCat("use as ", name), Finding::WARNING, what, known_by,
        {absl::StrCat("ip link set ", ShellWord(name), " down")}));
  }
}

// Appends a warning if the host shows its screen on the device.
void CheckDisplay(const HostFiles& host, const DeviceFacts& device,
                  Findings& findings) {
  const std::string cards = device.folder + "/drm";
  for (const std::string& card : host.Folder(cards).value) {
    const std::string folder = absl::StrCat(cards, "/", card);
    for (const std::string& connector : host.Folder(folder).value) {
      const auto enabled =
          host.Text(absl::StrCat(folder, "/", connector, "/enabled"));
      if (enabled.value != "enabled") continue;
      std::vector<std::string> to_do = {
          "systemctl isolate multi-user.target  # ends the desktop"};
      // The text console has to let go of the screen, too.
      for (const std::string& console :
           host.Folder("/sys/class/vtconsole").value) {
        const std::string path = "/sys/class/vtconsole/" + console;
        if (absl::StrContains(host.Text(path + "/name").value,
                              "frame buffer")) {
          to_do.push_back(absl::StrCat("echo 0 > ", path, "/bind"));
        }
      }
      findings.push_back(MakeFinding(
          "use as display", Finding::WARNING,
          absl::StrCat("the host uses it: its screen is at ", connector),
          {enabled.known_by}, std::move(to_do)));
      return;
    }
  }
}

// The firmware's console, which the host may use without any driver.
void CheckConsole(const HostFiles& host, const HostFacts& facts,
                  const DeviceFacts& device, Findings& findings) {
  const auto boot = host.Text(device.folder + "/boot_vga");
  if (boot.value != "1") return;
  std::vector<std::string> to_do;
  const bool kept_off =
      CommandLineSays(facts, "initcall_blacklist", "sysfb_init");
  if (!kept_off) {
    AppendWithWord("initcall_blacklist=sysfb_init", to_do);
    to_do.emplace_back(kUpdateGrub);
  }
  findings.push_back(MakeFinding(
      "use as console", kept_off ? Finding::NOTE : Finding::WARNING,
      "the machine's console is on it, and the firmware has run its ROM: the "
      "guest may need the ROM from a file",
      {boot.known_by}, std::move(to_do)));
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
          {parent.known_by, driver.known_by},
          {"# give the VMM that token, or the other one back to its driver"});
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
      absl::StrCat("it has ", vmm::Count(functions, "virtual function"),
                   vfio::IsVfioDriver(device.driver)
                       ? ", which can be opened with its user's vf_token only"
                       : ", which go when it is given away"),
      {count.known_by},
      {absl::StrCat("echo 0 > ", device.folder, "/sriov_numvfs")});
}

}  // namespace

Findings CheckUses(const HostFiles& host, const HostFacts& facts,
                   const DeviceFacts& device) {
  Findings findings;
  if (!vfio::IsVfioDriver(device.driver)) {
    CheckNetwork(host, facts.uses, device, findings);
    CheckDisks(host, facts.uses, device, findings);
    CheckDisplay(host, device, findings);
  }
  CheckConsole(host, facts, device, findings);
  if (auto finding = CheckVirtualFunctions(host, device)) {
    findings.push_back(*std::move(finding));
  }
  return findings;
}

}  // namespace passthru::doctor
