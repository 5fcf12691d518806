// SPDX-License-Identifier: Apache-2.0
//
// vm_report_sample prints the page of a VM that runs on the simulated kernel
// with the captured devices that its arguments name. html_check looks at it.

#include <iostream>
#include <string>
#include <vector>

#include "passthru/vmm/linux_vm/sample_vm.h"

int main(int argc, char** argv) {
  const auto report = passthru::vmm::RunSampleVm(
      std::vector<std::string>(argv + 1, argv + argc));
  if (!report.ok()) {
    std::cerr << "vm_report_sample: " << report.status() << "\n";
    return 1;
  }
  const auto page = (*report)->Html();
  if (!page.ok()) {
    std::cerr << "vm_report_sample: " << page.status() << "\n";
    return 1;
  }
  std::cout << *page;
}
