// SPDX-License-Identifier: Apache-2.0
//
// The VMM with a captured NVMe controller on the simulated kernel. A guest's
// driver works on the device, and the VMM keeps everything that is its own.

#include "vmm.h"

#include <map>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status_matchers.h"
#include "clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/testing/passthru_testing.h"
#include "pci/bar.h"

namespace example {
namespace {

using absl_testing::IsOk;
using testing::HasSubstr;

constexpr pci::Bdf kGuest(0, 0, 3, 0);

class VmmTest : public testing::Test {
 protected:
  ~VmmTest() override {
    EXPECT_TRUE(host_.kernel().CheckLeaks().empty())
        << host_.kernel().CheckLeaks();
  }

  // Runs a guest whose NVMe driver writes and reads blocks. Before and after,
  // it uses the VMM's own clock and waits for the VMM's own interrupt.
  void Run(Vmm& vmm) {
    guest::GuestOptions options;
    options.layout = {
        .dma_memory = {.base = 1 << 20, .size = Vmm::kRamSize - (1 << 20)},
        .io_window = {.base = 0x1000, .size = 0xf000},
        .memory32_window = {.base = 0xc0000000, .size = 0x10000000}};
    host_.kernel().kvm().SetGuestProgram(0, [&](guest::GuestCpu& cpu) {
      EXPECT_EQ(cpu.In(kClockPort, 1), 1u);
      EXPECT_THAT(vmm.RaiseOwnInterrupt(), IsOk());
      const std::optional<guest::GuestInterrupt> own = cpu.WaitForInterrupt();
      EXPECT_EQ(own.value_or(guest::GuestInterrupt()).data, Vmm::kOwnVector);
      absl::Status status = guest::RunGuest(cpu, options, report_);
      cpu.Out(kClockPort, 1, 0);
      EXPECT_EQ(cpu.In(kClockPort, 1), 2u);
      return status;
    });
    EXPECT_THAT(vmm.Run(), IsOk());
    EXPECT_THAT(host_.kernel().kvm().GuestStatus(0),
                testing::Optional(absl::OkStatus()));
    while (vmm.own_events == 0) std::this_thread::yield();
  }

  // What the driver used, of the one device that the guest found.
  const guest::GuestDeviceReport& Driven() {
    for (const auto& device : report_.devices) {
      if (device.driver == "nvme") return device;
    }
    static const guest::GuestDeviceReport kNone;
    ADD_FAILURE() << "the guest found no NVMe controller";
    return kNone;
  }

  // The driver does all its I/O by interrupt, on an admin and an I/O queue.
  void ExpectMsixDelivered() {
    ASSERT_TRUE(Driven().nvme.has_value());
    EXPECT_EQ(Driven().nvme->interrupt_kind, "MSI-X");
    ASSERT_GE(Driven().nvme->interrupts.size(), 2u);
    EXPECT_GT(Driven().nvme->interrupts[0], 0u);
    EXPECT_GT(Driven().nvme->interrupts[1], 0u);
  }

  fake::SimulatedHost host_;
  pci::Bdf nvme_ =
      *host_.AddFixture("external/passthru/testing/fixtures/nvme.textproto");
  guest::GuestReport report_;
};

TEST_F(VmmTest, AGuestDrivesTheDeviceWithAFullIrqchip) {
  Vmm vmm(&host_.kernel(), /*split_irqchip=*/false);
  auto device = vmm.Attach(nvme_, kGuest);
  ASSERT_THAT(device, IsOk());
  EXPECT_EQ((*device)->Describe().intx_hidden_reason, "");
  Run(vmm);
  ExpectMsixDelivered();
  EXPECT_TRUE(report_.unexpected_interrupts.empty());
  EXPECT_TRUE((*device)->Describe().degraded.empty());
}

// MSI-X works without an IOAPIC in the kernel. INTx does not, so the guest sees
// no pin, and the report says why.
TEST_F(VmmTest, AGuestDrivesTheDeviceWithASplitIrqchip) {
  Vmm vmm(&host_.kernel(), /*split_irqchip=*/true);
  auto device = vmm.Attach(nvme_, kGuest);
  ASSERT_THAT(device, IsOk());
  EXPECT_THAT((*device)->Describe().intx_hidden_reason,
              HasSubstr("split irqchip"));
  EXPECT_THAT(vmm.log, testing::Contains(HasSubstr("no interrupt pin")));
  EXPECT_EQ((*device)->ConfigRead(0x3d, 1) & 0xff, 0u);
  Run(vmm);
  ExpectMsixDelivered();
  EXPECT_TRUE(report_.unexpected_interrupts.empty());
  EXPECT_TRUE((*device)->Describe().degraded.empty());
}

}  // namespace
}  // namespace example
