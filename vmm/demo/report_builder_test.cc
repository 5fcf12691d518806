// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/demo/report_builder.h"

#include <string>
#include <string_view>
#include <utility>

#include "gtest/gtest.h"
#include "passthru/devices/vfio_pci/device_report.h"
#include "passthru/pci/bdf.h"
#include "passthru/testing/guest/drivers/guest_driver.h"
#include "passthru/vmm/report/run_report.pb.h"

namespace passthru::vmm {
namespace {

constexpr pci::Bdf kGuest(0, 0, 1, 0);

// Returns the report of a guest that enumerated one device.
guest::GuestReport GuestWith(guest::GuestDeviceReport device) {
  device.pci.bdf = kGuest;
  guest::GuestReport report;
  report.devices.push_back(std::move(device));
  return report;
}

std::string StepResult(const guest::GuestReport& guest,
                       std::string_view title) {
  Passthrough passthrough;
  AddUse(kGuest, vfio_pci::DeviceReport(), guest, passthrough);
  for (const Step& step : passthrough.steps()) {
    if (step.title() == title) return step.result();
  }
  return "";
}

TEST(ReportBuilderTest, TheIdsAreThoseThatTheGuestFound) {
  guest::GuestDeviceReport device;
  device.pci.vendor_id = 0x1b36;
  device.pci.device_id = 0x0010;
  device.pci.class_code = 0x010802;
  Passthrough passthrough;
  AddUse(kGuest, vfio_pci::DeviceReport(), GuestWith(std::move(device)),
         passthrough);
  EXPECT_EQ(passthrough.device().vendor_id(), 0x1b36u);
  EXPECT_EQ(passthrough.device().device_id(), 0x0010u);
  EXPECT_EQ(passthrough.device().class_code(), 0x010802u);
}

TEST(ReportBuilderTest, OneOfEachIsSingular) {
  guest::GuestDeviceReport device;
  device.pci.bars.resize(1);
  device.pci.capabilities.resize(1);
  device.nvme = guest::GuestNvmeReport{.model = "disk",
                                       .blocks = 1,
                                       .block_size = 1,
                                       .interrupt_kind = "MSI",
                                       .interrupt_vectors = 1,
                                       .io_queues = 1,
                                       .blocks_written = 1,
                                       .blocks_read = 1,
                                       .blocks_verified = 1};
  const guest::GuestReport guest = GuestWith(device);
  EXPECT_EQ(StepResult(guest, "enumerate"),
            "1 function on bus 0, this one with 1 BAR and 1 capability");
  EXPECT_EQ(StepResult(guest, "bring up"),
            "\"disk\" with 1 block of 1 byte, 1 I/O queue on 1 MSI vector");
  EXPECT_EQ(StepResult(guest, "write"), "1 block by DMA");
  EXPECT_EQ(StepResult(guest, "read"), "1 block by DMA");
  EXPECT_EQ(StepResult(guest, "compare"), "1 block as written, 0 different");
}

TEST(ReportBuilderTest, NoneAndManyArePlural) {
  guest::GuestDeviceReport device;
  device.pci.capabilities.resize(2);
  device.interrupt_kind = "MSI-X";
  device.interrupt_vectors = 4;
  const guest::GuestReport guest = GuestWith(device);
  EXPECT_EQ(StepResult(guest, "enumerate"),
            "1 function on bus 0, this one with 0 BARs and 2 capabilities");
  EXPECT_EQ(StepResult(guest, "bring up"),
            "no driver in this guest, 4 MSI-X vectors enabled and disabled");
}

}  // namespace
}  // namespace passthru::vmm
