// SPDX-License-Identifier: Apache-2.0
//
// guest_contract [--print] NVME MEMORY checks the guest contract on this
// machine's /dev/kvm and /dev/vfio. The arguments are the addresses of QEMU's
// NVMe controller and of its ivshmem-plain with 4 MiB. The program prints every
// observation that differs from the stored answers, and fails if there is one.
// Otherwise it prints the number of observations. --print prints all of them.

#include <iostream>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "passthru/devices/kernel/linux_syscalls.h"
#include "passthru/devices/kernel/status_macros.h"
#include "passthru/pci/bdf.h"
#include "passthru/testing/contract/guest/guest_contract.h"
#include "passthru/testing/contract/observation.h"
#include "passthru/vmm/guest_contract/guest_contract_run.h"

namespace passthru::vmm {
namespace {

absl::Status Main(std::vector<std::string> arguments) {
  const bool print = !arguments.empty() && arguments.front() == "--print";
  if (print) arguments.erase(arguments.begin());
  if (arguments.size() != 2) {
    return absl::InvalidArgumentError(
        "usage: guest_contract [--print] NVME MEMORY");
  }
  PASSTHRU_ASSIGN_OR_RETURN(const auto nvme, pci::Bdf::Parse(arguments[0]));
  PASSTHRU_ASSIGN_OR_RETURN(const auto memory, pci::Bdf::Parse(arguments[1]));
  kernel::LinuxSyscalls linux_kernel;
  std::vector<contract::Observation> observations;
  absl::Status status = RunGuestContract(
      {.syscalls = &linux_kernel, .nvme = nvme, .memory = memory},
      observations);
  if (print) {
    for (const contract::Observation& one : observations) {
      std::cout << "  " << one.ToString() << "\n";
    }
  }
  const std::vector<std::string> differences =
      contract::DifferencesFromGuestAnswers(observations);
  for (const std::string& difference : differences) {
    std::cout << "  DIFFERS: " << difference << "\n";
  }
  if (!status.ok()) return status;
  if (!differences.empty()) {
    return absl::InternalError("the guest did not observe what it should");
  }
  std::cout << "guest_contract: all " << observations.size()
            << " observations are as expected\n";
  return absl::OkStatus();
}

}  // namespace
}  // namespace passthru::vmm

int main(int argc, char** argv) {
  const absl::Status status =
      passthru::vmm::Main(std::vector<std::string>(argv + 1, argv + argc));
  if (status.ok()) return 0;
  std::cerr << "guest_contract: " << status.message() << "\n";
  return 1;
}
