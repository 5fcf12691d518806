// SPDX-License-Identifier: Apache-2.0
//
// The program lab_capture runs inside the lab, where it may measure everything.
//
//   lab_capture capture PLATFORM DATE "NAME|BDF|DEVICE|COMMENT"...
//   lab_capture compare "NAME|BDF|FIXTURE"...
//
// `capture` prints each device as a fixture, between the lines "==>
// NAME.textproto" and "<==". `compare` prints how each device differs from the
// fixture at that path, apart from provenance and one flag that depends on the
// kernel, and fails if one does.

#include <linux/vfio.h>

#include <cstddef>
#include <cstdint>
#include <iostream>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "google/protobuf/util/message_differencer.h"
#include "passthru/devices/kernel/linux_syscalls.h"
#include "passthru/devices/kernel/status_macros.h"
#include "passthru/pci/bdf.h"
#include "passthru/testing/capture/capture.h"
#include "passthru/testing/capture/fixture_text.h"
#include "passthru/testing/fixture/device.pb.h"
#include "passthru/testing/fixture/fixture.h"

namespace passthru::capture {
namespace {

// Returns the registers that tests compare with the models of these devices.
std::vector<ContentsRange> ContentsOf(const std::string& name) {
  if (name == "qemu10_nvme") return {{.bar = 0, .offset = 0, .length = 16}};
  if (name == "qemu10_edu") return {{.bar = 0, .offset = 0, .length = 4}};
  return {};
}

absl::StatusOr<Capture> CaptureNamed(const std::string& name,
                                     const std::string& address,
                                     CaptureOptions options) {
  PASSTHRU_ASSIGN_OR_RETURN(const auto bdf, pci::Bdf::Parse(address));
  options.name = name;
  options.write_masks = MaskMeasurement::kAll;
  options.try_hot_reset = true;
  options.contents = ContentsOf(name);
  if (absl::StrContains(name, "nvme")) options.model = "nvme";
  if (absl::StrContains(name, "edu")) options.model = "edu";
  kernel::LinuxSyscalls kernel;
  return CaptureDevice(&kernel, bdf, options);
}

// Clears the flag that says that no vectors can be added to an enabled MSI-X
// (VFIO_IRQ_INFO_NORESIZE). It depends on the kernel and not on the device,
// because kernels since 6.5 can add them.
void IgnoreNoresize(fixture::PciDevice& device) {
  for (fixture::Irq& irq : *device.mutable_irqs()) {
    if (irq.index() == VFIO_PCI_MSIX_IRQ_INDEX && irq.count() != 0) {
      irq.set_flags(irq.flags() & ~uint32_t{VFIO_IRQ_INFO_NORESIZE});
    }
  }
}

absl::Status Compare(const fixture::PciDevice& captured,
                     const std::string& path) {
  auto fixture = fixture::LoadFixture(path);
  if (!fixture.ok()) return fixture.status();
  fixture::PciDevice found = captured;
  IgnoreNoresize(*fixture);
  IgnoreNoresize(found);
  found.clear_provenance();
  fixture->clear_provenance();
  std::string differences;
  google::protobuf::util::MessageDifferencer differencer;
  differencer.ReportDifferencesToString(&differences);
  if (differencer.Compare(*fixture, found)) {
    std::cout << "  " << captured.name() << ": as the fixture says\n";
    return absl::OkStatus();
  }
  std::cout << "  " << captured.name() << " DIFFERS:\n" << differences;
  return absl::InternalError(
      absl::StrCat(captured.name(), " is not what its fixture says"));
}

absl::Status CompareOne(const std::string& argument) {
  const std::vector<std::string> parts = absl::StrSplit(argument, '|');
  if (parts.size() != 3) {
    return absl::InvalidArgumentError("is not NAME|BDF|FIXTURE");
  }
  const auto capture = CaptureNamed(parts[0], parts[1], {});
  if (!capture.ok()) return capture.status();
  return Compare(capture->device, parts[2]);
}

absl::Status PrintOne(const std::string& platform, const std::string& date,
                      const std::string& argument) {
  const std::vector<std::string> parts = absl::StrSplit(argument, '|');
  if (parts.size() != 4) {
    return absl::InvalidArgumentError("is not NAME|BDF|DEVICE|COMMENT");
  }
  CaptureOptions options;
  options.provenance.set_device(parts[2]);
  options.provenance.set_comment(parts[3]);
  options.provenance.set_platform(platform);
  options.provenance.set_date(date);
  options.provenance.set_tool("passthru capture, in testing/lab");
  PASSTHRU_ASSIGN_OR_RETURN(
      const auto capture, CaptureNamed(parts[0], parts[1], std::move(options)));
  std::cout << "==> " << parts[0] << ".textproto\n"
            << FixtureText(capture.device, capture.notes) << "<==\n";
  std::cout.flush();
  return fixture::Validate(capture.device, parts[0]);
}

int Main(const std::vector<std::string>& arguments) {
  const bool compare = !arguments.empty() && arguments[0] == "compare";
  if (!compare && (arguments.size() < 3 || arguments[0] != "capture")) {
    std::cout << "lab_capture: the head of its source says how it is used\n";
    return 2;
  }
  int failed = 0;
  for (size_t i = compare ? 1 : 3; i < arguments.size(); ++i) {
    const absl::Status status =
        compare ? CompareOne(arguments[i])
                : PrintOne(arguments[1], arguments[2], arguments[i]);
    if (status.ok()) continue;
    std::cout << "lab_capture: " << arguments[i] << ": " << status.message()
              << "\n";
    ++failed;
  }
  return failed == 0 ? 0 : 1;
}

}  // namespace
}  // namespace passthru::capture

int main(int argc, char** argv) {
  return passthru::capture::Main(
      std::vector<std::string>(argv + 1, argv + argc));
}
