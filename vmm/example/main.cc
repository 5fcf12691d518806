// SPDX-License-Identifier: Apache-2.0
//
// Passes a device of this host through to an empty VM, and prints how its guest
// would see it.

#include <iostream>
#include <string>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "passthru/passthru.h"
#include "vmm.h"

ABSL_FLAG(std::string, device, "", "the host device, as in 0000:01:00.0");
ABSL_FLAG(bool, split_irqchip, false, "whether the IOAPIC is in user space");

int main(int argc, char** argv) {
  absl::ParseCommandLine(argc, argv);
  const auto host = passthru::pci::Bdf::Parse(absl::GetFlag(FLAGS_device));
  if (!host.ok()) {
    std::cerr << "--device: " << host.status().message() << "\n";
    return 2;
  }
  passthru::kernel::LinuxSyscalls linux_kernel;
  example::Vmm vmm(&linux_kernel, absl::GetFlag(FLAGS_split_irqchip));
  const auto device = vmm.Attach(*host, passthru::pci::Bdf(0, 0, 3, 0));
  if (!device.ok()) {
    std::cerr << device.status().message() << "\n";
    return 1;
  }
  for (const std::string& line :
       passthru::vfio_pci::ToLines((*device)->Describe())) {
    std::cout << line << "\n";
  }
  return 0;
}
