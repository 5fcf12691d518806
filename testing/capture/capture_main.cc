// SPDX-License-Identifier: Apache-2.0
//
// The program that makes a fixture (testing/fixture/device.proto) of a real PCI
// device.

#include <fstream>
#include <ios>
#include <iostream>
#include <sstream>
#include <string>
#include <vector>

#include "absl/base/log_severity.h"
#include "absl/flags/flag.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "passthru/devices/kernel/linux_syscalls.h"
#include "passthru/devices/kernel/status_macros.h"
#include "passthru/devices/vfio/find_group.h"
#include "passthru/testing/capture/capture.h"
#include "passthru/testing/capture/fixture_text.h"
#include "passthru/testing/capture/lspci_fixture.h"
#include "passthru/testing/fixture/fixture.h"
#include "passthru/testing/program/program.h"

ABSL_FLAG(std::string, lspci, "",
          "Make the fixture from this file, the text of `lspci -xxxx -vv`, "
          "instead of from a device; with an address if it has several.");
ABSL_FLAG(std::string, name, "",
          "Name of the fixture; by default vendor and device id.");
ABSL_FLAG(std::string, device, "",
          "What the device is called by its maker, for the record.");
ABSL_FLAG(std::string, platform, "",
          "The machine, as far as you want to say, for the record.");
ABSL_FLAG(std::string, comment, "", "What is special about the device.");
ABSL_FLAG(std::vector<std::string>, contents, {},
          "Contents of BARs to keep: BAR:OFFSET+LENGTH, separated by commas. "
          "Reading registers may have effects that only the driver knows.");
ABSL_FLAG(bool, measure_write_masks, false,
          "Find out which configuration bits can be written, by writing them "
          "and writing the old value back: those that a specification defines "
          "and that start nothing. Needs root.");
ABSL_FLAG(bool, measure_undefined_registers, false,
          "Measure bytes too that no specification defines. For emulated "
          "devices, and for hardware that you can afford to power-cycle.");
ABSL_FLAG(bool, try_hot_reset, false,
          "Reset the slot or bus once, if no other function is on it, to learn "
          "how the kernel answers.");
ABSL_FLAG(bool, include_identity, false,
          "Keep serial numbers and the contents of the expansion ROM, and "
          "allow --contents of a network controller, where its MAC address "
          "is.");

namespace passthru::capture {
namespace {

fixture::Provenance ProvenanceFromFlags() {
  fixture::Provenance provenance;
  provenance.set_comment(absl::GetFlag(FLAGS_comment));
  provenance.set_device(absl::GetFlag(FLAGS_device));
  provenance.set_platform(absl::GetFlag(FLAGS_platform));
  provenance.set_tool("passthru capture");
  provenance.set_date(
      absl::FormatTime("%Y-%m-%d", absl::Now(), absl::UTCTimeZone()));
  return provenance;
}

absl::StatusOr<CaptureOptions> OptionsFromFlags() {
  CaptureOptions options;
  options.name = absl::GetFlag(FLAGS_name);
  options.provenance = ProvenanceFromFlags();
  for (const std::string& text : absl::GetFlag(FLAGS_contents)) {
    PASSTHRU_ASSIGN_OR_RETURN(const auto range, ParseContentsRange(text));
    options.contents.push_back(range);
  }
  if (absl::GetFlag(FLAGS_measure_undefined_registers)) {
    options.write_masks = MaskMeasurement::kAll;
  } else if (absl::GetFlag(FLAGS_measure_write_masks)) {
    options.write_masks = MaskMeasurement::kDefined;
  }
  options.try_hot_reset = absl::GetFlag(FLAGS_try_hot_reset);
  options.include_identity = absl::GetFlag(FLAGS_include_identity);
  return options;
}

absl::StatusOr<Capture> CaptureLspci(const std::string& path,
                                     const std::vector<char*>& arguments) {
  LspciOptions options;
  options.name = absl::GetFlag(FLAGS_name);
  options.provenance = ProvenanceFromFlags();
  options.provenance.set_tool("passthru capture --lspci");
  options.include_identity = absl::GetFlag(FLAGS_include_identity);
  if (arguments.size() > 1) {
    PASSTHRU_ASSIGN_OR_RETURN(const auto bdf,
                              vfio::ParseHostDevice(arguments[1]));
    options.bdf = bdf.ToString();
  }
  std::ifstream file(program::UserPath(path), std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  if (!file) {
    return absl::NotFoundError(absl::StrCat(
        path, " cannot be read; give a file with the text of lspci"));
  }
  auto capture = FixtureFromLspci(text.str(), options);
  if (!capture.ok()) {
    return absl::Status(capture.status().code(),
                        absl::StrCat(path, ": ", capture.status().message()));
  }
  return capture;
}

absl::StatusOr<Capture> CaptureOne(const std::vector<char*>& arguments) {
  const std::string lspci = absl::GetFlag(FLAGS_lspci);
  if (arguments.size() > 2 || (lspci.empty() && arguments.size() != 2)) {
    return absl::InvalidArgumentError(
        "give the address of one device, such as 0000:01:00.0 (`lspci -D` "
        "lists them); --help lists the flags");
  }
  if (!lspci.empty()) return CaptureLspci(lspci, arguments);
  PASSTHRU_ASSIGN_OR_RETURN(const auto options, OptionsFromFlags());
  PASSTHRU_ASSIGN_OR_RETURN(const auto bdf,
                            vfio::ParseHostDevice(arguments[1]));
  kernel::LinuxSyscalls kernel;
  return CaptureDevice(&kernel, bdf, options);
}

absl::Status Main(const std::vector<char*>& arguments) {
  PASSTHRU_ASSIGN_OR_RETURN(const auto capture, CaptureOne(arguments));
  std::cout << FixtureText(capture.device, capture.notes);
  std::cout.flush();
  if (!std::cout) return absl::UnavailableError("the output cannot be written");
  if (const absl::Status status =
          fixture::Validate(capture.device, "the fixture");
      !status.ok()) {
    return absl::InternalError(absl::StrCat(
        "the fixture was written, but the simulation does not take it; please "
        "report it together with the fixture:\n",
        status.message()));
  }
  return absl::OkStatus();
}

}  // namespace
}  // namespace passthru::capture

int main(int argc, char** argv) {
  constexpr char kName[] = "capture";
  const auto arguments = passthru::program::Start(
      argc, argv, kName,
      "Makes a fixture of a PCI device that is bound to vfio-pci, on standard "
      "output. The device is as before when it ends.\n"
      "  capture 0000:01:00.0 > nic.textproto\n"
      "  capture --lspci=posted.txt > nic.textproto",
      absl::LogSeverityAtLeast::kWarning);
  return passthru::program::Finish(kName, passthru::capture::Main(arguments));
}
