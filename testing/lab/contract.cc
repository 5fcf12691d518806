// SPDX-License-Identifier: Apache-2.0
//
// The program "contract [group=BDF,BDF] [DEVICE=BDF]..." puts every question of
// the contract tests to the kernel on which it runs, and prints the answers for
// //testing/contract:contract_report.
//
// DEVICE is e1000e, nvme or edu, as QEMU emulates them. The group has two
// devices. The first is bound to vfio-pci and the second to a driver of the
// host.

#include <fcntl.h>
#include <sys/utsname.h>

#include <iostream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "passthru/devices/kernel/linux_syscalls.h"
#include "passthru/devices/kernel/status_macros.h"
#include "passthru/devices/vfio/find_group.h"
#include "passthru/pci/bdf.h"
#include "passthru/testing/contract/kvm/kvm_contract.h"
#include "passthru/testing/contract/observation.h"
#include "passthru/testing/contract/vfio/vfio_contract.h"

namespace passthru::lab {
namespace {

void Print(std::string_view subject,
           const std::vector<contract::Observation>& answers) {
  std::cout << "SUBJECT " << subject << "\n";
  for (const contract::Observation& one : answers)
    std::cout << one.ToString() << "\n";
}

void Unbind(kernel::Syscalls& kernel, const std::string& bdf) {
  const std::string path =
      absl::StrCat("/sys/bus/pci/devices/", bdf, "/driver/unbind");
  const int fd = kernel.Open(path.c_str(), O_WRONLY | O_CLOEXEC).value;
  kernel.Write(fd, bdf.data(), bdf.size());
  kernel.Close(fd);
}

absl::Status Run(const std::vector<std::string>& arguments) {
  utsname system = {};
  uname(&system);
  std::cout << "KERNEL " << system.release << "\n";
  kernel::LinuxSyscalls kernel;
  Print("kvm", contract::ObserveKvm(&kernel));
  for (const std::string& argument : arguments) {
    const std::pair<std::string, std::string> parts =
        absl::StrSplit(argument, absl::MaxSplits('=', 1));
    const std::pair<std::string, std::string> bdfs =
        absl::StrSplit(parts.second, absl::MaxSplits(',', 1));
    PASSTHRU_ASSIGN_OR_RETURN(const auto bdf, pci::Bdf::Parse(bdfs.first));
    const auto group = vfio::FindGroup(&kernel, bdf);
    if (!group.ok()) return group.status();
    if (parts.first == "group") {
      Print("group",
            contract::ObserveGroup(&kernel, bdfs.first, bdfs.second, *group,
                                   [&] { Unbind(kernel, bdfs.second); }));
    } else {
      Print(parts.first,
            contract::ObserveVfio(&kernel, bdf.ToString(), *group));
    }
  }
  return absl::OkStatus();
}

}  // namespace
}  // namespace passthru::lab

int main(int argc, char** argv) {
  const absl::Status status =
      passthru::lab::Run(std::vector<std::string>(argv + 1, argv + argc));
  if (status.ok()) return 0;
  std::cerr << "contract: " << status.message() << "\n";
  return 1;
}
