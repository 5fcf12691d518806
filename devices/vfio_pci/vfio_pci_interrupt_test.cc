// SPDX-License-Identifier: Apache-2.0
//
// Interrupts of passed-through devices from the simulated hardware to the
// guest's local APIC.

#include <linux/kvm.h>
#include <linux/vfio.h>

#include <cerrno>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/devices/interrupts/interrupt_budget.h"
#include "passthru/devices/kernel/errors.h"
#include "passthru/devices/vfio_pci/device_report.h"
#include "passthru/testing/rig/passthrough_rig.h"

namespace passthru::vfio_pci {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using fake::kBar;
using fake::kNvmePba;
using fake::kNvmeTable;
using fake::PassthroughRig;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class VfioPciInterruptTest : public ::testing::Test {
 protected:
  void Attach(PassthroughRig::Options options = {}) {
    rig_ = std::make_unique<PassthroughRig>(std::move(options));
    ASSERT_THAT(rig_->Attach(), IsOk());
  }
  // Attaches an NVMe device and turns memory decode and MSI-X on.
  void AttachNvme(PassthroughRig::Options options = {}) {
    ASSERT_NO_FATAL_FAILURE(Attach(std::move(options)));
    rig_->PlaceBar(0, kBar);
    rig_->SetMsixControl(/*enable=*/true, /*function_mask=*/false);
    rig_->kernel().journal().Clear();
  }
  void TearDown() override {
    if (rig_ == nullptr) return;
    EXPECT_EQ(rig_->kernel().kvm().LostInterrupts(), 0u);
    EXPECT_EQ(
        rig_->host().vfio().Snapshot(rig_->bdf())->mapped_msix_table_accesses,
        0u);
    rig_->device_pointer().reset();
    const fake::LeakReport leaks = rig_->Leaks();
    EXPECT_TRUE(leaks.empty()) << leaks;
    EXPECT_EQ(rig_->router().stats().routes, 0u);
  }
  size_t Calls(std::string_view name) {
    return rig_->kernel().journal().Count(name);
  }
  // Returns what the device reports as silent.
  std::vector<std::string> Silent() {
    std::vector<std::string> names;
    for (const Degradation& each : rig_->device().Describe().degraded) {
      if (each.kind == DegradationKind::kSilent) names.push_back(each.what);
    }
    return names;
  }
  VectorGroupReport Msix() {
    for (VectorGroupReport& group : rig_->device().Describe().vector_groups) {
      if (group.kind == InterruptKind::kMsix) return group;
    }
    return {};
  }

  interrupts::InterruptBudget budget_{{.event_fds = 16}};
  std::unique_ptr<PassthroughRig> rig_;
};

TEST_F(VfioPciInterruptTest, AnMsixInterruptArrivesWithItsMessage) {
  AttachNvme();
  rig_->WriteVector(3, 0x33, /*masked=*/false);
  rig_->RaiseMsix(3);
  rig_->RaiseMsix(3);
  EXPECT_THAT(rig_->TakeMessages(), ElementsAre(0x33, 0x33));
  EXPECT_EQ(Calls("KVM_SIGNAL_MSI"), 1u);
  EXPECT_EQ(rig_->device().Describe().interrupt, InterruptKind::kMsix);
}

TEST_F(VfioPciInterruptTest, TheEnableBitReadsBackWhatTheGuestWrote) {
  AttachNvme();
  EXPECT_EQ(rig_->Read(0x42, 2), 0x8040u);
  rig_->SetMsixControl(true, true);
  EXPECT_EQ(rig_->Read(0x42, 2), 0xc040u);
  EXPECT_EQ(rig_->Read(0x40, 4) >> 16, 0xc040u);
}

TEST_F(VfioPciInterruptTest, MsixIsEnabledByAWriteOfAnyWidth) {
  Attach();
  rig_->Write(0x43, 1, 0x80);
  EXPECT_EQ(rig_->device().Describe().interrupt, InterruptKind::kMsix);
  rig_->Write(0x40, 4, 0x00000000);
  EXPECT_EQ(rig_->device().Describe().interrupt, InterruptKind::kNone);
  rig_->Write(0x40, 4, 0xc0000000);
  EXPECT_EQ(rig_->device().Describe().interrupt, InterruptKind::kMsix);
}

TEST_F(VfioPciInterruptTest, AMaskedVectorIsPendingUntilUnmasked) {
  AttachNvme();
  rig_->WriteVector(2, 0x32, /*masked=*/false);
  rig_->Store(kNvmeTable + 2 * 16 + 12, 4, 1);
  rig_->RaiseMsix(2);
  EXPECT_THAT(rig_->TakeMessages(), IsEmpty());
  EXPECT_EQ(rig_->Load(kNvmePba, 8), 0x4u);
  EXPECT_EQ(rig_->Load(kNvmePba, 1), 0x4u);
  EXPECT_EQ(rig_->Load(kNvmePba + 1, 2), 0x0u);
  rig_->Store(kNvmeTable + 2 * 16 + 12, 4, 0);
  EXPECT_THAT(rig_->TakeMessages(), ElementsAre(0x32));
  EXPECT_EQ(rig_->Load(kNvmePba, 8), 0u);
}

// Hardware takes the enable bit in D3hot. The kernel enables no MSI-X there
// (__pci_enable_msix_range()), so this happens on the way back.
TEST_F(VfioPciInterruptTest, MsixThatWasEnabledInD3hotWorksInD0) {
  Attach();
  rig_->PlaceBar(0, kBar);
  rig_->WriteVector(0, 0x30, /*masked=*/false);
  const auto power = static_cast<uint16_t>(rig_->FindCapability(0x01) + 4);
  rig_->Write(power, 2, 0x3);
  rig_->SetMsixControl(/*enable=*/true, /*function_mask=*/false);
  rig_->Write(power, 2, 0x0);
  rig_->RaiseMsix(0);
  EXPECT_THAT(rig_->TakeMessages(), ElementsAre(0x30));
}

TEST_F(VfioPciInterruptTest, TheFunctionMaskHoldsAllVectors) {
  AttachNvme();
  rig_->WriteVector(0, 0x30, /*masked=*/false);
  rig_->WriteVector(64, 0x70, /*masked=*/false);
  rig_->SetMsixControl(true, true);
  rig_->RaiseMsix(0);
  rig_->RaiseMsix(64);
  EXPECT_THAT(rig_->TakeMessages(), IsEmpty());
  EXPECT_EQ(rig_->Load(kNvmePba, 8), 1u);
  EXPECT_EQ(rig_->Load(kNvmePba + 8, 8), 1u);
  rig_->SetMsixControl(true, false);
  EXPECT_THAT(rig_->TakeMessages(), ElementsAre(0x30, 0x70));
}

TEST_F(VfioPciInterruptTest, TheTableTakesQwordsAndBytes) {
  AttachNvme();
  rig_->Store(kNvmeTable, 8, 0xfee00000);
  rig_->Store(kNvmeTable + 8, 8, 0x0000000000000041);
  rig_->RaiseMsix(0);
  EXPECT_THAT(rig_->TakeMessages(), ElementsAre(0x41));
  rig_->Store(kNvmeTable + 12, 1, 1);
  EXPECT_EQ(rig_->Load(kNvmeTable + 12, 4), 1u);
  rig_->RaiseMsix(0);
  EXPECT_THAT(rig_->TakeMessages(), IsEmpty());
}

TEST_F(VfioPciInterruptTest, BringUpCostsTwoSetIrqsAndOneRoutingCall) {
  Attach();
  rig_->PlaceBar(0, kBar);
  rig_->kernel().journal().Clear();
  rig_->SetMsixControl(true, true);
  for (uint16_t i = 0; i < 65; ++i) rig_->WriteVector(i, 0x30 + i, true);
  rig_->SetMsixControl(true, false);
  for (uint16_t i = 0; i < 65; ++i) rig_->WriteVector(i, 0x80 + i, false);
  EXPECT_EQ(Calls("VFIO_DEVICE_SET_IRQS"), 2u);
  EXPECT_EQ(Calls("KVM_SET_GSI_ROUTING"), 0u);
  EXPECT_EQ(Calls("KVM_IRQFD"), 0u);
  for (uint16_t i = 0; i < 65; ++i) rig_->RaiseMsix(i);
  EXPECT_EQ(Calls("KVM_SET_GSI_ROUTING"), 1u);
  EXPECT_EQ(Calls("KVM_IRQFD"), 65u);
  EXPECT_EQ(Calls("KVM_SIGNAL_MSI"), 65u);
  EXPECT_EQ(rig_->TakeMessages().size(), 65u);
  for (uint16_t i = 0; i < 65; ++i) rig_->RaiseMsix(i);
  EXPECT_EQ(Calls("KVM_SIGNAL_MSI"), 65u);
  EXPECT_EQ(rig_->TakeMessages().size(), 65u);
}

TEST_F(VfioPciInterruptTest, AHostWithFewerVectorsShowsASmallerTable) {
  // Linux 6.1 cannot add vectors, so the device requests all at attach.
  PassthroughRig::Options options;
  options.host.kernel.version = fake::KernelVersion::k6_1;
  options.msix_vectors_available = 10;
  Attach(std::move(options));
  EXPECT_EQ(rig_->Read(0x42, 2), 9u);
  EXPECT_THAT(Msix().limited_by, HasSubstr("10 vectors"));
  EXPECT_EQ(Msix().device_vectors, 65u);
  EXPECT_EQ(Msix().shown_vectors, 10u);
  rig_->PlaceBar(0, kBar);
  rig_->SetMsixControl(true, false);
  rig_->WriteVector(9, 0x39, /*masked=*/false);
  rig_->RaiseMsix(9);
  EXPECT_THAT(rig_->TakeMessages(), ElementsAre(0x39));
  // The table ends after the entries that are shown.
  EXPECT_EQ(rig_->Load(kNvmeTable + 10 * 16, 4), 0xffffffffu);
}

TEST_F(VfioPciInterruptTest, AFixedHostIsNeverDisabledToGrow) {
  PassthroughRig::Options options;
  options.host.kernel.version = fake::KernelVersion::k6_1;
  Attach(std::move(options));
  rig_->PlaceBar(0, kBar);
  rig_->kernel().journal().Clear();
  rig_->SetMsixControl(true, false);
  for (uint16_t i = 0; i < 65; ++i) {
    rig_->WriteVector(i, 0x30 + i, /*masked=*/false);
    rig_->RaiseMsix(i);
  }
  EXPECT_EQ(rig_->TakeMessages().size(), 65u);
  EXPECT_EQ(rig_->kernel().journal().CountWhere([](const auto& entry) {
    return entry.call.name == "VFIO_DEVICE_SET_IRQS" &&
           entry.Number("count") == 0;
  }),
            0u);
}

TEST_F(VfioPciInterruptTest, TheBudgetLimitsTheTable) {
  Attach({.edit_options = [&budget = budget_](VfioPciDevice::Options& options) {
    options.budget = &budget;
  }});
  EXPECT_EQ(rig_->Read(0x42, 2), 15u);
  EXPECT_THAT(Msix().limited_by, HasSubstr("eventfds"));
  const DeviceReport report = rig_->device().Describe();
  ASSERT_EQ(report.degraded.size(), 1u);
  EXPECT_EQ(report.degraded[0].kind, DegradationKind::kFewerVectors);
  EXPECT_EQ(report.degraded[0].what, "MSI-X");
  EXPECT_THAT(ToLines(report),
              testing::Contains(HasSubstr("Degraded: MSI-X is shown with fewer "
                                          "vectors than the device has: ")));
  rig_->device_pointer().reset();
  EXPECT_EQ(budget_.Reserve(64)->vectors(), 16u);
  ASSERT_THAT(rig_->Attach(), IsOk());
}

TEST_F(VfioPciInterruptTest, AnExhaustedBudgetHidesTheCapability) {
  const auto all = budget_.Reserve(16);
  Attach({.edit_options = [&budget = budget_](VfioPciDevice::Options& options) {
    options.budget = &budget;
    options.intx_gsi = allocator::Gsi(16);
  }});
  EXPECT_EQ(rig_->FindCapability(0x11), 0u);
  EXPECT_NE(rig_->FindCapability(0x10), 0u);
  const DeviceReport report = rig_->device().Describe();
  EXPECT_EQ(report.capabilities[0].treatment, CapabilityTreatment::kHide);
  EXPECT_THAT(report.capabilities[0].reason, HasSubstr("no eventfds left"));
  ASSERT_EQ(report.degraded.size(), 1u);
  EXPECT_EQ(report.degraded[0].kind, DegradationKind::kHidden);
  EXPECT_EQ(report.degraded[0].what, "MSI-X");
  EXPECT_EQ(report.interrupt, InterruptKind::kIntx);
  // The pages of the device's own table still stay unmapped.
  rig_->PlaceBar(0, kBar);
  EXPECT_THAT(rig_->Slots(), ElementsAre("0xe0000000+0x2000"));
  rig_->Store(kNvmeTable, 4, 0x12345678);
  EXPECT_EQ(rig_->Load(kNvmeTable, 4), 0xffffffffu);
}

TEST_F(VfioPciInterruptTest, AnMsiInterruptArrivesWithItsMessage) {
  Attach({.fixture = "edu"});
  const uint16_t msi = rig_->FindCapability(0x05);
  rig_->Write(0x04, 2, 0x4);
  rig_->Write(msi + 4, 4, 0xfee00000);
  rig_->Write(msi + 8, 4, 0);
  rig_->Write(msi + 12, 2, 0x31);
  rig_->Write(msi + 2, 2, 0x1);
  EXPECT_EQ(rig_->Read(msi + 2, 2) & 1, 1u);
  rig_->RaiseMsi(0);
  rig_->RaiseMsi(0);
  EXPECT_THAT(rig_->TakeMessages(), ElementsAre(0x31, 0x31));
  // The guest changes the message while MSI is enabled.
  rig_->Write(msi + 12, 1, 0x42);
  rig_->RaiseMsi(0);
  EXPECT_THAT(rig_->TakeMessages(), ElementsAre(0x42));
  rig_->Write(msi + 2, 2, 0x0);
  rig_->RaiseMsi(0);
  EXPECT_THAT(rig_->TakeMessages(), IsEmpty());
}

TEST_F(VfioPciInterruptTest, MsiIsEnabledByAWriteOfAnyWidth) {
  Attach({.fixture = "edu"});
  const uint16_t msi = rig_->FindCapability(0x05);
  const auto kind = [this] { return rig_->device().Describe().interrupt; };
  const struct {
    uint16_t offset;
    unsigned width;
    uint32_t enable;
  } kWrites[] = {{2, 1, 0x1}, {2, 2, 0x1}, {0, 4, 0x10000}};
  for (const auto& write : kWrites) {
    const auto at = static_cast<uint16_t>(msi + write.offset);
    rig_->Write(at, write.width, write.enable);
    EXPECT_EQ(kind(), InterruptKind::kMsi) << write.width;
    rig_->Write(at, write.width, 0);
    EXPECT_EQ(kind(), InterruptKind::kNone) << write.width;
  }
}

TEST_F(VfioPciInterruptTest, IntxIsAssertedAndResampled) {
  Attach({.fixture = "edu", .edit_options = [](auto& options) {
            options.intx_gsi = allocator::Gsi(16);
          }});
  EXPECT_EQ(rig_->Read(0x3d, 1), 1u);
  EXPECT_EQ(rig_->device().Describe().interrupt, InterruptKind::kIntx);
  auto& kvm = rig_->kernel().kvm();
  rig_->SetIntx(true);
  EXPECT_TRUE(kvm.LineLevel(16));
  // If the guest acknowledges while the device asserts, the line rises again.
  kvm.Acknowledge(16);
  EXPECT_TRUE(kvm.LineLevel(16));
  rig_->SetIntx(false);
  kvm.Acknowledge(16);
  EXPECT_FALSE(kvm.LineLevel(16));
  rig_->SetIntx(true);
  EXPECT_TRUE(kvm.LineLevel(16));
}

TEST_F(VfioPciInterruptTest, MsiAndIntxTakeTurns) {
  Attach({.fixture = "edu", .edit_options = [](auto& options) {
            options.intx_gsi = allocator::Gsi(16);
          }});
  const uint16_t msi = rig_->FindCapability(0x05);
  rig_->Write(0x04, 2, 0x4);
  rig_->Write(msi + 4, 4, 0xfee00000);
  rig_->Write(msi + 12, 2, 0x31);
  for (int i = 0; i < 3; ++i) {
    rig_->Write(msi + 2, 2, 0x1);
    rig_->RaiseMsi(0);
    EXPECT_THAT(rig_->TakeMessages(), ElementsAre(0x31));
    rig_->Write(msi + 2, 2, 0x0);
    EXPECT_EQ(rig_->device().Describe().interrupt, InterruptKind::kIntx);
    rig_->SetIntx(true);
    EXPECT_TRUE(rig_->kernel().kvm().LineLevel(16));
    rig_->SetIntx(false);
    rig_->kernel().kvm().Acknowledge(16);
  }
}

// --- Devices that the host leaves without interrupts.

TEST_F(VfioPciInterruptTest, ADeviceThatGetsNoVectorIsNotAttached) {
  const auto all = budget_.Reserve(16);
  PassthroughRig rig(
      {.edit_options = [&budget = budget_](VfioPciDevice::Options& options) {
        options.budget = &budget;
      }});
  EXPECT_THAT(
      rig.Attach(),
      StatusIs(absl::StatusCode::kResourceExhausted,
               testing::AllOf(
                   HasSubstr("no interrupts (INTx: the VMM wires none): MSI-X: "
                             "no eventfds left"),
                   HasSubstr("RLIMIT_NOFILE"))));
  EXPECT_TRUE(rig.Leaks().empty()) << rig.Leaks();
}

// Nothing is missing that the VMM asked for, so this is no failure.
TEST_F(VfioPciInterruptTest, ADeviceWhosePinIsNotWiredIsReported) {
  Attach({.fixture = "rtl8139"});
  const DeviceReport report = rig_->device().Describe();
  ASSERT_EQ(report.degraded.size(), 1u);
  EXPECT_EQ(report.degraded[0].kind, DegradationKind::kSilent);
  EXPECT_EQ(report.degraded[0].what, "the device");
  EXPECT_EQ(report.degraded[0].why, "INTx: the VMM wires none");
}

TEST_F(VfioPciInterruptTest, ADeviceThatHasNoInterruptsLacksNone) {
  Attach({.fixture = "i6300esb"});
  EXPECT_THAT(rig_->device().Describe().degraded, IsEmpty());
}

TEST_F(VfioPciInterruptTest, VectorsThatAnotherDeviceTookAreSilent) {
  interrupts::InterruptBudget budget({.event_fds = 6, .guaranteed = 2});
  Attach({.edit_options = [&budget](VfioPciDevice::Options& options) {
    options.budget = &budget;
  }});
  {
    auto other = budget.Reserve(64);
    ASSERT_THAT(other, IsOk());
    for (int i = 0; i < 3; ++i) ASSERT_THAT(other->Take(), IsOk());
    EXPECT_EQ(Msix().shown_vectors, 6u);
    rig_->PlaceBar(0, kBar);
    rig_->SetMsixControl(true, true);
    for (uint16_t i = 0; i < 4; ++i) rig_->WriteVector(i, 0x30 + i, false);
    rig_->SetMsixControl(true, false);
    for (uint16_t i = 0; i < 3; ++i) rig_->RaiseMsix(i);
    EXPECT_THAT(rig_->TakeMessages(), ElementsAre(0x30, 0x31, 0x32));
    EXPECT_THAT(Silent(), ElementsAre("MSI-X vector 3"));
    EXPECT_THAT(rig_->device().Describe().failures,
                testing::Contains(HasSubstr("no eventfds left")));
  }
  // A driver that starts turns bus mastering on, which tries again.
  rig_->Write(0x04, 2, 0x6);
  EXPECT_THAT(Silent(), IsEmpty());
  rig_->RaiseMsix(3);
  EXPECT_THAT(rig_->TakeMessages(), ElementsAre(0x33));
  rig_->device_pointer().reset();
  EXPECT_EQ(budget.Reserve(64)->vectors(), 6u);
}

// --- INTx that cannot be turned on.

bool TurnsIntxOn(const journal::Call& call) {
  return call.name == "VFIO_DEVICE_SET_IRQS" &&
         call.Find("index")->number == VFIO_PCI_INTX_IRQ_INDEX &&
         call.Find("count")->number == 1;
}

// The kernel requests the host's interrupt exclusively for a device that cannot
// mask it (vfio_intx_set_signal()), and another device may share it.
TEST_F(VfioPciInterruptTest, APinWhoseLineCannotBeRequestedIsHidden) {
  rig_ = std::make_unique<PassthroughRig>(PassthroughRig::Options{
      .fixture = "edu", .edit_options = [](auto& options) {
        options.intx_gsi = allocator::Gsi(16);
      }});
  rig_->kernel().faults().FailWhen(TurnsIntxOn, EBUSY);
  ASSERT_THAT(rig_->Attach(), IsOk());
  EXPECT_EQ(rig_->Read(0x3d, 1), 0u);
  const DeviceReport report = rig_->device().Describe();
  EXPECT_EQ(report.interrupt, InterruptKind::kNone);
  EXPECT_THAT(report.intx_hidden_reason, HasSubstr("EBUSY"));
  ASSERT_EQ(report.degraded.size(), 1u);
  EXPECT_EQ(report.degraded[0].kind, DegradationKind::kHidden);
  EXPECT_EQ(report.degraded[0].what, "INTx");
  EXPECT_THAT(report.degraded[0].why, HasSubstr("EBUSY"));
  // MSI takes its place.
  const uint16_t msi = rig_->FindCapability(0x05);
  rig_->Write(0x04, 2, 0x4);
  rig_->Write(msi + 4, 4, 0xfee00000);
  rig_->Write(msi + 12, 2, 0x31);
  rig_->Write(msi + 2, 2, 0x1);
  rig_->RaiseMsi(0);
  EXPECT_THAT(rig_->TakeMessages(), ElementsAre(0x31));
}

TEST_F(VfioPciInterruptTest, ADeviceWithNothingButALineThatFailsIsNotAttached) {
  PassthroughRig rig({.fixture = "rtl8139", .edit_options = [](auto& options) {
                        options.intx_gsi = allocator::Gsi(16);
                      }});
  rig.kernel().faults().FailWhen(TurnsIntxOn, EBUSY);
  const absl::Status status = rig.Attach();
  EXPECT_EQ(kernel::ErrnoOf(status), EBUSY);
  EXPECT_THAT(status.message(),
              HasSubstr("the guest would get no interrupts: INTx: "));
  EXPECT_TRUE(rig.Leaks().empty()) << rig.Leaks();
}

TEST_F(VfioPciInterruptTest, ALineThatFailedIsTriedAgainWithBusMastering) {
  Attach({.fixture = "edu", .edit_options = [](auto& options) {
            options.intx_gsi = allocator::Gsi(16);
          }});
  const uint16_t msi = rig_->FindCapability(0x05);
  rig_->Write(0x04, 2, 0x2);
  rig_->Write(msi + 2, 2, 0x1);
  rig_->kernel().faults().FailWhen(TurnsIntxOn, EBUSY);
  rig_->Write(msi + 2, 2, 0x0);
  EXPECT_THAT(Silent(), ElementsAre("INTx"));
  // Decode stays as it is.
  rig_->Write(0x04, 2, 0x6);
  EXPECT_THAT(Silent(), IsEmpty());
  rig_->SetIntx(true);
  EXPECT_TRUE(rig_->kernel().kvm().LineLevel(16));
}

// Closing the device ends what could not be disabled.
TEST_F(VfioPciInterruptTest, DetachEndsALineThatCannotBeDisabled) {
  Attach({.fixture = "edu", .edit_options = [](auto& options) {
            options.intx_gsi = allocator::Gsi(16);
          }});
  rig_->kernel().faults().FailWhen(
      [](const journal::Call& call) {
        return call.name == "VFIO_DEVICE_SET_IRQS" &&
               call.Find("index")->number == VFIO_PCI_INTX_IRQ_INDEX;
      },
      EIO, journal::FaultInjector::Mode::kSticky);
  EXPECT_THAT(rig_->device().Detach(), IsOk());
  const size_t calls = Calls("VFIO_DEVICE_SET_IRQS");
  rig_->device_pointer().reset();
  EXPECT_EQ(Calls("VFIO_DEVICE_SET_IRQS"), calls);
  rig_->kernel().faults().Clear();
}

TEST_F(VfioPciInterruptTest, RoutesThatRunOutLeaveVectorsToUserSpace) {
  AttachNvme();
  rig_->kernel().faults().FailWhen(
      [](const journal::Call& call) {
        return call.name == "KVM_SET_GSI_ROUTING";
      },
      EINVAL, journal::FaultInjector::Mode::kSticky);
  for (uint16_t i = 0; i < 4; ++i) rig_->WriteVector(i, 0x30 + i, false);
  for (int round = 0; round < 3; ++round) {
    for (uint16_t i = 0; i < 4; ++i) rig_->RaiseMsix(i);
    EXPECT_THAT(rig_->TakeMessages(), ElementsAre(0x30, 0x31, 0x32, 0x33));
  }
  EXPECT_EQ(Calls("KVM_IRQFD"), 0u);
  rig_->kernel().faults().Clear();
}

TEST_F(VfioPciInterruptTest, TheHostsRequestsAndErrorsAreCallbacks) {
  int requests = 0;
  int errors = 0;
  Attach({.edit_options = [&](VfioPciDevice::Options& options) {
    options.on_unplug_request = [&requests] { ++requests; };
    options.on_error = [&errors] { ++errors; };
  }});
  ASSERT_THAT(rig_->host().vfio().RequestRelease(rig_->bdf()), IsOk());
  rig_->RunLoop();
  EXPECT_EQ(requests, 1);
  ASSERT_THAT(rig_->host().vfio().ReportError(rig_->bdf()), IsOk());
  rig_->RunLoop();
  EXPECT_EQ(errors, 1);
}

TEST_F(VfioPciInterruptTest, AnUnplugRequestMayDetachTheDevice) {
  Attach({.edit_options = [this](VfioPciDevice::Options& options) {
    options.on_unplug_request = [this] {
      EXPECT_THAT(rig_->device().Detach(), IsOk());
    };
  }});
  rig_->PlaceBar(0, kBar);
  rig_->SetMsixControl(true, false);
  rig_->WriteVector(0, 0x30, /*masked=*/false);
  ASSERT_THAT(rig_->host().vfio().RequestRelease(rig_->bdf()), IsOk());
  rig_->RunLoop();
  EXPECT_THAT(rig_->Slots(), IsEmpty());
  EXPECT_EQ(rig_->Read(0, 4), 0xffffffffu);
}

TEST_F(VfioPciInterruptTest, ReportShowsEachVectorsState) {
  AttachNvme();
  rig_->WriteVector(0, 0x30, /*masked=*/false);
  rig_->WriteVector(1, 0x31, /*masked=*/false);
  rig_->RaiseMsix(0);
  rig_->WriteVector(2, 0x32, /*masked=*/false);
  rig_->Store(kNvmeTable + 2 * 16 + 12, 4, 1);
  const std::vector<interrupts::VectorReport> vectors = Msix().vectors;
  EXPECT_EQ(vectors[0].state, interrupts::VectorState::kActive);
  EXPECT_EQ(vectors[1].state, interrupts::VectorState::kWatched);
  EXPECT_EQ(vectors[2].state, interrupts::VectorState::kMasked);
  EXPECT_EQ(vectors[5].state, interrupts::VectorState::kOff);
  EXPECT_THAT(ToLines(rig_->device().Describe()),
              testing::Contains(HasSubstr("Active")));
}

}  // namespace
}  // namespace passthru::vfio_pci
