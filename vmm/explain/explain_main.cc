// SPDX-License-Identifier: Apache-2.0
//
// explain shows a device as the hardware has it, as VFIO shows it and as a
// guest sees it, side by side, and says why they differ.

#include <sys/stat.h>

#include <cstdint>
#include <iostream>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/log_severity.h"
#include "absl/flags/flag.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "passthru/devices/kernel/linux_syscalls.h"
#include "passthru/devices/kernel/status_macros.h"
#include "passthru/devices/vfio/find_group.h"
#include "passthru/pci/bdf.h"
#include "passthru/testing/kernel/kernel_version.h"
#include "passthru/testing/program/program.h"
#include "passthru/vmm/explain/explain.h"
#include "passthru/vmm/explain/explain_report.pb.h"
#include "passthru/vmm/explain/explain_text.h"

ABSL_FLAG(std::string, device, "",
          "The address, as in 0000:01:00.0, of a host device that is bound to "
          "vfio-pci.");
ABSL_FLAG(std::string, fixture, "",
          "The file of a captured device, which is then simulated.");
ABSL_FLAG(std::string, kernel, "6.12",
          "The version of the simulated kernel: 6.1, 6.12, 6.18 or 7.2.");
ABSL_FLAG(std::string, output, "text",
          "The format of the report: text, or json for programs.");
ABSL_FLAG(bool, all, false, "Shows all registers, not only those that differ.");
ABSL_FLAG(std::vector<std::string>, hide, {},
          "The offsets of capabilities to hide from the guest, as in 50,100.");
ABSL_FLAG(std::vector<std::string>, show, {},
          "The offsets of hidden capabilities to pass to the guest.");
ABSL_FLAG(bool, rom, false, "Shows the guest the device's own expansion ROM.");
ABSL_FLAG(uint32_t, max_vectors, 0,
          "The most MSI and MSI-X vectors to show, from 1 to 2048. 0 sets no "
          "limit.");
ABSL_FLAG(bool, below_port, false,
          "Puts the device behind a port and not on the guest's root bus.");
ABSL_FLAG(bool, no_intx, false, "Wires no interrupt pin.");
ABSL_FLAG(bool, unlisted_read_only, false,
          "Lets the guest write only those extended registers that a "
          "capability lists.");

namespace passthru::explain {
namespace {

absl::StatusOr<std::vector<uint16_t>> Offsets(
    std::string_view flag, const std::vector<std::string>& texts) {
  std::vector<uint16_t> offsets;
  for (const std::string& text : texts) {
    uint32_t offset = 0;
    if (!absl::SimpleHexAtoi(text, &offset) || offset > 0xfff) {
      return absl::InvalidArgumentError(absl::StrCat(
          flag, "=", text,
          " is not the offset of a capability. Give it as explain lists it, "
          "in hexadecimal"));
    }
    offsets.push_back(static_cast<uint16_t>(offset));
  }
  return offsets;
}

absl::StatusOr<Wishes> WishesFromFlags() {
  Wishes wishes;
  PASSTHRU_ASSIGN_OR_RETURN(wishes.hide,
                            Offsets("--hide", absl::GetFlag(FLAGS_hide)));
  PASSTHRU_ASSIGN_OR_RETURN(wishes.show,
                            Offsets("--show", absl::GetFlag(FLAGS_show)));
  wishes.rom = absl::GetFlag(FLAGS_rom);
  if (const uint32_t most = absl::GetFlag(FLAGS_max_vectors); most != 0) {
    wishes.max_vectors = most;
  }
  wishes.below_port = absl::GetFlag(FLAGS_below_port);
  wishes.no_intx = absl::GetFlag(FLAGS_no_intx);
  wishes.unlisted_read_only = absl::GetFlag(FLAGS_unlisted_read_only);
  return wishes;
}

absl::StatusOr<fake::KernelVersion> KernelFromFlags() {
  const std::string wanted = absl::GetFlag(FLAGS_kernel);
  if (const auto kernel = fake::KernelVersionNamed(wanted)) return *kernel;
  return absl::InvalidArgumentError(absl::StrCat(
      "--kernel=", wanted,
      " is not a kernel that can be simulated. Give 6.1, 6.12, 6.18 or 7.2"));
}

absl::Status Print(const Report& report) {
  if (absl::GetFlag(FLAGS_output) == "text") {
    std::cout << RenderText(report, absl::GetFlag(FLAGS_all));
    return absl::OkStatus();
  }
  PASSTHRU_ASSIGN_OR_RETURN(const std::string json, program::Json(report));
  std::cout << json;
  return absl::OkStatus();
}

// Returns whether a name that is no capture's is a device's, and what it is if
// it is a file's.
absl::Status CheckDevice(const std::string& name) {
  struct stat file = {};
  if (pci::Bdf::Parse(name).ok() ||
      stat(program::UserPath(name).c_str(), &file) != 0) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat(
      name,
      S_ISDIR(file.st_mode)
          ? " is a folder. Give the file of a capture, as nic.textproto"
          : " is no capture, whose name ends in .textproto. If it is text of "
            "`lspci -xxxx -vv`, `bazel run //testing:capture -- --lspci=FILE` "
            "makes a capture of it"));
}

absl::Status Main(const std::vector<char*>& arguments) {
  const std::string output = absl::GetFlag(FLAGS_output);
  if (output != "text" && output != "json") {
    return absl::InvalidArgumentError(
        absl::StrCat("--output=", output, " is neither text nor json"));
  }
  std::string device = absl::GetFlag(FLAGS_device);
  std::string fixture = absl::GetFlag(FLAGS_fixture);
  if (arguments.size() == 2 && device.empty() && fixture.empty()) {
    const std::string name = arguments[1];
    (absl::EndsWith(name, ".textproto") ? fixture : device) = name;
  } else if (arguments.size() > 1) {
    return absl::InvalidArgumentError(
        "explain takes one device or one capture. --help lists the flags");
  }
  if (device.empty() == fixture.empty()) {
    return absl::InvalidArgumentError(
        "explain needs a device, as 0000:01:00.0, or the file of a capture, as "
        "nic.textproto");
  }
  PASSTHRU_ASSIGN_OR_RETURN(const Wishes wishes, WishesFromFlags());
  if (!fixture.empty()) {
    PASSTHRU_ASSIGN_OR_RETURN(const auto kernel, KernelFromFlags());
    PASSTHRU_ASSIGN_OR_RETURN(
        const Report report,
        ExplainFixture(program::UserPath(fixture), kernel, wishes));
    return Print(report);
  }
  PASSTHRU_RETURN_IF_ERROR(CheckDevice(device));
  PASSTHRU_ASSIGN_OR_RETURN(const auto address, vfio::ParseHostDevice(device));
  kernel::LinuxSyscalls syscalls;
  PASSTHRU_ASSIGN_OR_RETURN(
      const Report report,
      Explain(&syscalls, address, "real hardware, this machine's kernel",
              wishes));
  return Print(report);
}

}  // namespace
}  // namespace passthru::explain

int main(int argc, char** argv) {
  constexpr char kName[] = "explain";
  const auto arguments = passthru::program::Start(
      argc, argv, kName,
      "Shows a PCI device as the hardware has it, as VFIO shows it and as a "
      "guest sees it, and says why they differ.\n"
      "  explain nic.textproto             a captured device\n"
      "  explain 0000:01:00.0              a real one, bound to vfio-pci\n"
      "  explain nic.textproto --rom       what showing the ROM would change",
      absl::LogSeverityAtLeast::kError);
  return passthru::program::Finish(kName, passthru::explain::Main(arguments));
}
