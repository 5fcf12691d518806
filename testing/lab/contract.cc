// SPDX-License-Identifier: Apache-2.0
//
// contract [group=BDF,BDF] [DEVICE=BDF]...: puts every question of the contract
// tests to the kernel that it runs on, and prints the answers for
// //testing/contract:contract_report.
//
// DEVICE is e1000e, nvme or edu, as QEMU emulates them. Of the group's two
// devices the first is bound to vfio-pci, the second to a driver of the host's.

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
#include "devices/kernel/linux_syscalls.h"
#include "devices/vfio/find_group.h"
#include "pci/bdf.h"
#include "testing/contract/observation.h"
#include "testing/kvm_contract.h"
#include "testing/vfio/vfio_contract.h"

namespace passthru::fake {
namespace {

void Print(std::string_view subject, const std::vector<Observation>& answers) {
  std::cout << "SUBJECT " << subject << "\n";
  for (const Observation& one : answers) std::cout << one.ToString() << "\n";
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
  Print("kvm", ObserveKvm(&kernel));
  for (const std::string& argument : arguments) {
    const std::pair<std::string, std::string> parts =
        absl::StrSplit(argument, absl::MaxSplits('=', 1));
    const std::pair<std::string, std::string> bdfs =
        absl::StrSplit(parts.second, absl::MaxSplits(',', 1));
    const auto bdf = pci::Bdf::Parse(bdfs.first);
    if (!bdf.ok()) return bdf.status();
    const auto group = vfio::FindGroup(&kernel, *bdf);
    if (!group.ok()) return group.status();
    if (parts.first == "group") {
      Print("group", ObserveGroup(&kernel, bdfs.first, bdfs.second, *group,
                                  [&] { Unbind(kernel, bdfs.second); }));
    } else {
      Print(parts.first, ObserveVfio(&kernel, bdf->ToString(), *group));
    }
  }
  return absl::OkStatus();
}

}  // namespace
}  // namespace passthru::fake

int main(int argc, char** argv) {
  const absl::Status status =
      passthru::fake::Run(std::vector<std::string>(argv + 1, argv + argc));
  if (status.ok()) return 0;
  std::cerr << "contract: " << status.message() << "\n";
  return 1;
}
