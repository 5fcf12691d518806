// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/report/host_interrupts.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/pci/bdf.h"

namespace passthru::vmm {
namespace {

using ::testing::IsEmpty;
using ::testing::Pair;
using ::testing::UnorderedElementsAre;

constexpr pci::Bdf kNic(0, 1, 0, 0);

TEST(HostInterruptsTest, SumsTheCpusOfEachVector) {
  constexpr char kText[] =
      "            CPU0       CPU1\n"
      "   9:          4          0   IO-APIC   9-fasteoi   acpi\n"
      "  45:         10          2   IR-PCI-MSIX-0000:01:00.0   0-edge      "
      "vfio-msix[0](0000:01:00.0)\n"
      "  46:          0          7   IR-PCI-MSIX-0000:01:00.0   1-edge      "
      "vfio-msix[17](0000:01:00.0)\n"
      "  47:          1          1   IR-PCI-MSIX-0000:02:00.0   0-edge      "
      "vfio-msix[0](0000:02:00.0)\n"
      "NMI:          5          5   Non-maskable interrupts\n";
  EXPECT_THAT(HostInterrupts(kText, kNic),
              UnorderedElementsAre(Pair(0, 12), Pair(17, 7)));
}

TEST(HostInterruptsTest, MsiAndAPinHaveLinesToo) {
  EXPECT_THAT(HostInterrupts(
                  " 30:  3  PCI-MSI 5-edge  vfio-msi[2](0000:01:00.0)\n", kNic),
              UnorderedElementsAre(Pair(2, 3)));
  EXPECT_THAT(HostInterrupts(" 16:  8  IO-APIC  16-fasteoi  ehci_hcd:usb1, "
                             "vfio-intx(0000:01:00.0)\n",
                             kNic),
              UnorderedElementsAre(Pair(0, 8)));
}

TEST(HostInterruptsTest, OddLinesCountNothing) {
  EXPECT_THAT(HostInterrupts("", kNic), IsEmpty());
  EXPECT_THAT(HostInterrupts("](0000:01:00.0)\nvfio-msix[](0000:01:00.0)\n"
                             "vfio-msix[x](0000:01:00.0)",
                             kNic),
              IsEmpty());
}

}  // namespace
}  // namespace passthru::vmm
