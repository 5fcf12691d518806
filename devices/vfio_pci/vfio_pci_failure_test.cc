// SPDX-License-Identifier: Apache-2.0
//
// Every call to the kernel may fail. At attach that is an error that leaves
// nothing behind. Afterwards the guest sees what dead hardware would show.

#include <cerrno>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/log/check.h"
#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/devices/kernel/errors.h"
#include "passthru/devices/vfio_pci/device_report.h"
#include "passthru/testing/journal/fault_injector.h"
#include "passthru/testing/rig/passthrough_rig.h"

namespace passthru::vfio_pci {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using fake::kBar;
using fake::PassthroughRig;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

using Mode = journal::FaultInjector::Mode;

PassthroughRig::Options WithEverything(const std::string& fixture) {
  return {.fixture = fixture, .edit_options = [](VfioPciDevice::Options& o) {
            o.intx_gsi = allocator::Gsi(16);
            o.on_unplug_request = [] {};
            o.on_error = [] {};
          }};
}

// Acts as a guest that uses all of the device and ignores failures.
void UseDevice(PassthroughRig& rig) {
  for (const pci::Bar& bar : rig.device().bars()) {
    if (bar.is_io()) continue;
    rig.device()
        .SetBarAddress(bar.index, kBar + bar.index.value() * 0x10000000ull)
        .IgnoreError();
  }
  rig.Write(0x04, 2, 0x7);
  rig.Read(0x04, 4);
  rig.Load(kBar + 8, 4);
  rig.Store(kBar + 0x20, 4, 0);
  if (rig.FindCapability(0x11) != 0) {
    rig.SetMsixControl(true, true);
    for (uint16_t i = 0; i < 4; ++i) rig.WriteVector(i, 0x30 + i, true);
    rig.SetMsixControl(true, false);
    for (uint16_t i = 0; i < 4; ++i) rig.WriteVector(i, 0x30 + i, false);
    for (uint16_t i = 0; i < 4; ++i) rig.RaiseMsix(i);
    rig.WriteVector(0, 0x40, false);
    rig.RaiseMsix(0);
    rig.SetMsixControl(false, false);
  }
  if (const uint16_t msi = rig.FindCapability(0x05); msi != 0) {
    rig.Write(msi + 4, 4, 0xfee00000);
    rig.Write(msi + 12, 2, 0x31);
    rig.Write(msi + 2, 2, 0x1);
    rig.RaiseMsi(0);
    rig.Write(msi + 2, 2, 0x0);
  }
  if (const uint16_t pm = rig.FindCapability(0x01); pm != 0) {
    rig.Write(pm + 4, 2, 0x3);
    rig.Write(pm + 4, 2, 0x0);
  }
  rig.Write(0x04, 2, 0x0);
  rig.device().Reset().IgnoreError();
}

class VfioPciFailureTest : public ::testing::TestWithParam<const char*> {};

TEST_P(VfioPciFailureTest, AttachWithAnyCallFailingLeavesNothing) {
  size_t failed = 0;
  for (size_t n = 1;; ++n) {
    SCOPED_TRACE(n);
    PassthroughRig rig(WithEverything(GetParam()));
    rig.kernel().faults().Clear();
    rig.kernel().faults().FailNth(n, EIO);
    const absl::Status status = rig.Attach();
    const bool injected = rig.kernel().faults().injected() > 0;
    rig.kernel().faults().Clear();
    if (!status.ok()) {
      ++failed;
      EXPECT_NE(status.message(), "");
    } else {
      ASSERT_THAT(rig.device().Detach(), IsOk());
    }
    rig.device_pointer().reset();
    const fake::LeakReport leaks = rig.Leaks();
    EXPECT_TRUE(leaks.empty()) << leaks << status;
    if (!injected) break;
    ASSERT_LT(n, 1000u);
  }
  EXPECT_GT(failed, 3u);
}

TEST_P(VfioPciFailureTest, UseWithAnyCallFailingLeavesNothing) {
  for (size_t n = 1;; ++n) {
    SCOPED_TRACE(n);
    PassthroughRig rig(WithEverything(GetParam()));
    ASSERT_THAT(rig.Attach(), IsOk());
    rig.kernel().faults().Clear();
    rig.kernel().faults().FailNth(n, EIO);
    UseDevice(rig);
    const bool injected = rig.kernel().faults().injected() > 0;
    rig.kernel().faults().Clear();
    EXPECT_THAT(rig.device().Detach(), IsOk());
    const fake::LeakReport leaks = rig.Leaks();
    EXPECT_TRUE(leaks.empty()) << leaks;
    if (!injected) break;
    ASSERT_LT(n, 1000u);
  }
}

TEST_P(VfioPciFailureTest, AfterAnyOneFailureAResetMakesItWorkAgain) {
  for (size_t n = 1;; ++n) {
    SCOPED_TRACE(n);
    PassthroughRig rig(WithEverything(GetParam()));
    ASSERT_THAT(rig.Attach(), IsOk());
    rig.kernel().faults().Clear();
    rig.kernel().faults().FailNth(n, ENOMEM);
    UseDevice(rig);
    const bool injected = rig.kernel().faults().injected() > 0;
    rig.kernel().faults().Clear();
    rig.device().Reset().IgnoreError();
    rig.TakeMessages();

    rig.PlaceBar(0, kBar);
    if (rig.FindCapability(0x11) != 0) {
      rig.SetMsixControl(true, false);
      rig.WriteVector(1, 0x51, false);
      rig.RaiseMsix(1);
      EXPECT_THAT(rig.TakeMessages(), ElementsAre(0x51));
    } else if (const uint16_t msi = rig.FindCapability(0x05); msi != 0) {
      rig.Write(msi + 4, 4, 0xfee00000);
      rig.Write(msi + 12, 2, 0x51);
      rig.Write(msi + 2, 2, 0x1);
      rig.RaiseMsi(0);
      EXPECT_THAT(rig.TakeMessages(), ElementsAre(0x51));
    }
    EXPECT_EQ(rig.Slots().size(), 1u);
    if (!injected) break;
    ASSERT_LT(n, 1000u);
  }
}

INSTANTIATE_TEST_SUITE_P(Fixtures, VfioPciFailureTest,
                         ::testing::Values("nvme", "edu"));

class VfioPciDeadDeviceTest : public ::testing::Test {
 protected:
  VfioPciDeadDeviceTest() {
    CHECK_OK(rig_.Attach());
    rig_.PlaceBar(0, kBar);
  }
  void Fail(const char* name, int error, Mode mode = Mode::kSticky) {
    rig_.kernel().faults().FailNthOf(name, 1, error, mode);
  }
  std::vector<std::string> Degraded() {
    std::vector<std::string> lines;
    for (const Degradation& each : rig_.device().Describe().degraded) {
      lines.push_back(absl::StrCat(each.what, " ", Name(each.kind)));
    }
    return lines;
  }
  PassthroughRig rig_;
};

TEST_F(VfioPciDeadDeviceTest, ConfigurationReadsAreAllOnesAndCounted) {
  Fail("pread", EIO);
  EXPECT_EQ(rig_.Read(0x04, 4), 0xffffffffu);
  EXPECT_EQ(rig_.Read(0x06, 1), 0xffu);
  EXPECT_EQ(rig_.device().Describe().config.failures, 2u);
  // Virtual registers still answer.
  EXPECT_EQ(rig_.Read(0x00, 4), 0x00101b36u);
}

TEST_F(VfioPciDeadDeviceTest, ConfigurationWritesAreDroppedAndCounted) {
  Fail("pwrite", EIO);
  rig_.Write(0x0c, 1, 0x10);
  EXPECT_EQ(rig_.device().Describe().config.failures, 1u);
}

TEST_F(VfioPciDeadDeviceTest, AMemoryAccessIsAllOnesAndDropped) {
  Fail("pread", EIO);
  Fail("pwrite", EIO);
  EXPECT_EQ(rig_.Load(kBar + 8, 4), 0xffffffffu);
  rig_.Store(kBar + 0x14, 4, 1);
  EXPECT_EQ(rig_.device().Describe().bar.failures, 2u);
  EXPECT_EQ(rig_.mmio().stats().failures, 2u);
}

TEST_F(VfioPciDeadDeviceTest, NothingIsMappedWhenCommandCannotBeWritten) {
  rig_.Write(0x04, 2, 0x0);
  Fail("pwrite", EIO);
  rig_.Write(0x04, 2, 0x2);
  EXPECT_THAT(rig_.Slots(), IsEmpty());
  rig_.kernel().faults().Clear();
  rig_.Write(0x04, 2, 0x2);
  EXPECT_THAT(rig_.Slots(), ElementsAre("0xe0000000+0x2000"));
}

TEST_F(VfioPciDeadDeviceTest, EnablingThatFailsLeavesTheGuestsRegister) {
  Fail("VFIO_DEVICE_SET_IRQS", ENOSPC);
  rig_.SetMsixControl(true, false);
  EXPECT_EQ(rig_.Read(0x42, 2), 0x8040u);
  rig_.WriteVector(0, 0x30, false);
  rig_.kernel().faults().Clear();
  rig_.WriteVector(0, 0x30, true);
  rig_.WriteVector(0, 0x30, false);
  rig_.RaiseMsix(0);
  EXPECT_THAT(rig_.TakeMessages(), ElementsAre(0x30));
}

TEST_F(VfioPciDeadDeviceTest, AfterAResetThatFailedTheDeviceIsInD0) {
  const auto control = static_cast<uint16_t>(rig_.FindCapability(0x01) + 4);
  rig_.Write(control, 2, 0x3);
  ASSERT_EQ(rig_.host().vfio().Snapshot(rig_.bdf())->power_state, 3u);
  Fail("VFIO_DEVICE_RESET", EAGAIN);
  EXPECT_EQ(kernel::ErrnoOf(rig_.device().Reset()), EAGAIN);
  EXPECT_EQ(rig_.host().vfio().Snapshot(rig_.bdf())->power_state, 0u);
  rig_.PlaceBar(0, kBar);
  EXPECT_THAT(rig_.Slots(), ElementsAre("0xe0000000+0x2000"));
  EXPECT_EQ(rig_.Load(kBar + 8, 4), 0x00010400u);
}

TEST_F(VfioPciDeadDeviceTest, ASlotThatCannotBeDeletedIsTriedAgain) {
  Fail("KVM_SET_USER_MEMORY_REGION", EIO, Mode::kOneShot);
  rig_.Write(0x04, 2, 0x0);
  EXPECT_EQ(rig_.kernel().kvm().Slots().size(), 1u);
  rig_.Write(0x04, 2, 0x2);
  rig_.Write(0x04, 2, 0x0);
  EXPECT_THAT(rig_.kernel().kvm().Slots(), IsEmpty());
}

// The report lists a degradation only as long as it lasts.
TEST_F(VfioPciDeadDeviceTest, AStaleSlotIsADegradation) {
  EXPECT_THAT(Degraded(), IsEmpty());
  Fail("KVM_SET_USER_MEMORY_REGION", ENOMEM, Mode::kOneShot);
  rig_.Write(0x04, 2, 0x0);
  ASSERT_THAT(Degraded(),
              ElementsAre("BAR0+0x0 is still reached where it was"));
  EXPECT_THAT(rig_.device().Describe().degraded[0].why, HasSubstr("ENOMEM"));
  rig_.device().ReconcileBars();
  EXPECT_THAT(Degraded(), IsEmpty());
  EXPECT_THAT(rig_.kernel().kvm().Slots(), IsEmpty());
  EXPECT_EQ(rig_.device().Describe().failure_count, 1u);
  // The device did not decode because the guest turned decode off.
  rig_.Write(0x04, 2, 0x2);
  EXPECT_EQ(rig_.kernel().kvm().Slots().size(), 1u);
}

TEST_F(VfioPciDeadDeviceTest, ASlotThatIsRefusedIsADegradation) {
  rig_.Write(0x04, 2, 0x0);
  Fail("KVM_SET_USER_MEMORY_REGION", ENOMEM, Mode::kOneShot);
  rig_.Write(0x04, 2, 0x2);
  EXPECT_THAT(Degraded(), ElementsAre("BAR0+0x0 is trapped instead of mapped"));
}

TEST_F(VfioPciDeadDeviceTest, AnIrqfdThatIsRefusedIsADegradation) {
  rig_.SetMsixControl(true, false);
  Fail("KVM_IRQFD", EBUSY, Mode::kOneShot);
  rig_.WriteVector(3, 0x33, false);
  rig_.RaiseMsix(3);
  EXPECT_THAT(Degraded(),
              ElementsAre("MSI-X vector 3 is delivered from user space"));
  EXPECT_THAT(rig_.TakeMessages(), ElementsAre(0x33));
}

TEST_F(VfioPciDeadDeviceTest, AVectorThatIsRefusedIsADegradation) {
  rig_.SetMsixControl(true, false);
  Fail("VFIO_DEVICE_SET_IRQS", ENOSPC);
  rig_.WriteVector(3, 0x33, false);
  EXPECT_THAT(Degraded(), ElementsAre("MSI-X vector 3 is silent"));
  rig_.kernel().faults().Clear();
  rig_.WriteVector(3, 0x33, true);
  rig_.WriteVector(3, 0x33, false);
  EXPECT_THAT(Degraded(), IsEmpty());
}

// The host reset the device, so guest accesses through the slot fault.
TEST_F(VfioPciDeadDeviceTest, ADeviceThatLeftBehindOurBackIsRetracted) {
  ASSERT_THAT(rig_.host().vfio().BackdoorReset(rig_.bdf()), IsOk());
  rig_.device().ReconcileBars();
  EXPECT_THAT(rig_.kernel().kvm().Slots(), IsEmpty());
  EXPECT_THAT(Degraded(), ElementsAre("the device does not answer"));
  rig_.Write(0x04, 2, 0x2);
  EXPECT_THAT(Degraded(), IsEmpty());
  EXPECT_EQ(rig_.Load(kBar + 8, 4), 0x00010400u);
}

TEST(VfioPciMapFailureTest, ABarThatCannotBeMappedIsTrapped) {
  PassthroughRig rig;
  rig.kernel().faults().FailWhen(
      [](const journal::Call& call) {
        return call.name == "mmap" &&
               call.subject.find("vfio-device") != std::string::npos;
      },
      ENOMEM, Mode::kSticky);
  ASSERT_THAT(rig.Attach(), IsOk());
  rig.PlaceBar(0, kBar);
  EXPECT_THAT(rig.Slots(), IsEmpty());
  EXPECT_EQ(rig.Load(kBar + 8, 4), 0x00010400u);
  const BarReport bar = rig.device().Describe().bars[0];
  EXPECT_EQ(bar.areas[0].area.kind, BarAreaKind::kMapFailed);
  EXPECT_THAT(bar.areas[0].refused, HasSubstr("ENOMEM"));
}

// A function that fell off the bus reads all ones, and vfio-pci passes that on.
TEST(VfioPciAttachTest, ADeviceThatReadsAllOnesIsRefused) {
  // A virtual function has no vendor ID in hardware, so this fixture can hold
  // the ID that an absent device reads as.
  PassthroughRig rig(
      {.fixture = "igb_vf", .edit_fixture = [](fixture::PciDevice& fixture) {
         fixture.mutable_identity()->set_vendor_id(0xffff);
       }});
  EXPECT_THAT(rig.Attach(),
              StatusIs(absl::StatusCode::kUnavailable,
                       HasSubstr("does not answer: its configuration space "
                                 "reads all ones")));
  EXPECT_TRUE(rig.Leaks().empty()) << rig.Leaks();
}

TEST(VfioPciAttachTest, ADeviceWhoseReadFailsIsRefused) {
  PassthroughRig rig;
  bool first = true;
  ASSERT_THAT(rig.Attach(), IsOk());
  ASSERT_THAT(rig.device().Detach(), IsOk());
  rig.kernel().faults().FailWhen(
      [&first](const journal::Call& call) {
        return call.name == "pread" && std::exchange(first, false);
      },
      EIO);
  EXPECT_EQ(kernel::ErrnoOf(rig.Attach()), EIO);
  EXPECT_TRUE(rig.Leaks().empty()) << rig.Leaks();
}

}  // namespace
}  // namespace passthru::vfio_pci
