// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_SIMULATE_OPTIONS_H_
#define PASSTHRU_TESTING_SIMULATE_OPTIONS_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "passthru/pci/bdf.h"
#include "passthru/testing/kernel/kernel_version.h"

namespace passthru::simulate {

// A device of the simulated machine.
struct DeviceOption {
  std::string fixture;
  std::optional<pci::Bdf> address;
  std::optional<uint32_t> group;
  std::optional<std::string> driver;  // Empty for none.
  std::string disk;                   // A file or a size, or empty.
};

// Two virtio network devices that are wired back to back.
struct ConnectOption {
  pci::Bdf first;
  pci::Bdf second;
};

// A call that fails, such as the third VFIO_DEVICE_SET_IRQS.
struct FailOption {
  std::string call;
  size_t nth = 1;
  int error = 0;
};

// The command line of the launcher.
struct Options {
  enum class Kvm { kNone, kReal, kSimulated };
  enum class Bars { kTrapped, kPolled };
  enum class Check { kOff, kReport, kFail };

  std::vector<DeviceOption> devices;
  std::vector<ConnectOption> wires;
  fake::KernelVersion kernel = fake::KernelVersion::k6_12;
  std::string driver = "vfio-pci";  // Of devices that name none.
  Kvm kvm = Kvm::kNone;
  Bars bars = Bars::kTrapped;
  Check check = Check::kReport;
  Check leaks = Check::kReport;
  bool host_devices = false;
  std::vector<FailOption> failures;
  std::string journal;  // A file, or empty.
  std::string library;  // The preloaded one, or empty for the one beside.
  bool help = false;
  std::vector<std::string> program;
};

// Parses the arguments behind the launcher's name. An error says in one
// sentence what is wrong and what is possible.
absl::StatusOr<Options> ParseOptions(const std::vector<std::string>& arguments);

// Returns the manual.
std::string Manual();

}  // namespace passthru::simulate

#endif  // PASSTHRU_TESTING_SIMULATE_OPTIONS_H_
