// SPDX-License-Identifier: Apache-2.0
#include <string>

#include "absl/strings/str_cat.h"
#include "passthru/devices/vfio/find_group.h"
#include "passthru/vmm/doctor/checks.h"
#include "passthru/vmm/doctor/doctor_report.pb.h"
#include "passthru/vmm/doctor/host_files.h"

namespace passthru::doctor {
namespace {

// Appends a warning for each of the device's network interfaces that is up.
void CheckNetwork(const HostFiles& host, const DeviceFacts& device,
                  Findings& findings) {
  for (const std::string& name : host.Folder(device.folder + "/net").value) {
    const auto state =
        host.Text(absl::StrCat(device.folder, "/net/", name, "/operstate"));
    if (state.value != "up") continue;
    findings.push_back(MakeFinding(
        absl::StrCat("use as ", name), Finding::WARNING,
        absl::StrCat("the host uses it: the network interface ", name,
                     " is up. Is it the one you came in by?"),
        {state.known_by}, {absl::StrCat("ip link set ", name, " down")}));
  }
}

// The firmware's console, which the host may use without any driver.
void CheckConsole(const HostFiles& host, const DeviceFacts& device,
                  Findings& findings) {
  const auto boot = host.Text(device.folder + "/boot_vga");
  if (boot.value != "1") return;
  findings.push_back(MakeFinding(
      "use as console", Finding::WARNING,
      "the machine's console is on it, and the firmware has run its ROM: the "
      "guest may need the ROM from a file",
      {boot.known_by},
      {"sed -i 's/^GRUB_CMDLINE_LINUX=\"/&initcall_blacklist=sysfb_init /' "
       "/etc/default/grub",
       "update-grub && reboot"}));
}

}  // namespace

Findings CheckUses(const HostFiles& host, const DeviceFacts& device) {
  Findings findings;
  if (!vfio::IsVfioDriver(device.driver)) {
    CheckNetwork(host, device, findings);
    CheckDisks(host, device, findings);
  }
  CheckConsole(host, device, findings);
  return findings;
}

}  // namespace passthru::doctor
