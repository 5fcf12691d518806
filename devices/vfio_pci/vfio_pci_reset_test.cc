// SPDX-License-Identifier: Apache-2.0
//
// Resets of a device for a reset of the machine, and the hot reset of its bus
// when it has no reset of its own.

#include <cerrno>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/devices/kernel/errors.h"
#include "passthru/devices/vfio/hot_reset.h"
#include "passthru/devices/vfio_pci/device_report.h"
#include "passthru/devices/vfio_pci/vfio_pci_device.h"
#include "passthru/pci/bdf.h"
#include "passthru/testing/fixture/fixture.h"
#include "passthru/testing/journal/call.h"
#include "passthru/testing/journal/fault_injector.h"
#include "passthru/testing/rig/passthrough_rig.h"

namespace passthru::vfio_pci {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using fake::kBar;
using fake::PassthroughRig;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

using Mode = journal::FaultInjector::Mode;
constexpr char kHotReset[] = "VFIO_DEVICE_PCI_HOT_RESET";
constexpr char kHotResetInfo[] = "VFIO_DEVICE_GET_PCI_HOT_RESET_INFO";

// The pvscsi is behind a port of its own, in group 31, and has no reset but
// that of its bus. Another function on its bus takes that away.
class VfioPciResetTest : public ::testing::Test {
 protected:
  explicit VfioPciResetTest(
      PassthroughRig::Options options = {.fixture = "pvscsi"})
      : rig_(std::move(options)) {}
  ~VfioPciResetTest() override {
    rig_.device_pointer().reset();
    EXPECT_TRUE(rig_.Leaks().empty()) << rig_.Leaks();
  }

  // Plugs a function into the device's slot.
  pci::Bdf PlugNeighbour(uint32_t group, std::string driver = "vfio-pci",
                         uint8_t function = 1) {
    const pci::Bdf bdf(rig_.bdf().segment(), rig_.bdf().bus(), 0, function);
    const auto fixture =
        fixture::LoadFixture("testing/fixtures/xhci.textproto");
    EXPECT_THAT(fixture, IsOk());
    EXPECT_THAT(rig_.host().vfio().AddDevice(
                    *fixture,
                    {.bdf = bdf, .group = group, .driver = std::move(driver)}),
                IsOk());
    return bdf;
  }
  // Attaches the device as a guest has it in use.
  void Attach() {
    ASSERT_THAT(rig_.Attach(), IsOk());
    rig_.PlaceBar(0, kBar);
    rig_.kernel().journal().Clear();
  }
  size_t Count(std::string_view call) {
    return rig_.kernel().journal().Count(call);
  }
  fake::FakeVfioDevice::Snapshot Host(pci::Bdf bdf) {
    return *rig_.host().vfio().Snapshot(bdf);
  }
  ResetReport Report() { return rig_.device().Describe().reset; }
  // The guest's view is as after power-on, and nothing reaches the device.
  void ExpectStopped() {
    EXPECT_THAT(rig_.Slots(), IsEmpty());
    EXPECT_EQ(rig_.Read(0x04, 2) & 0x7, 0u);
    EXPECT_FALSE(Host(rig_.bdf()).bus_master);
  }

  PassthroughRig rig_;
};

TEST_F(VfioPciResetTest, AFunctionAloneOnItsBusResetsAlone) {
  Attach();
  EXPECT_EQ(Report().kind, ResetKind::kByKernel);
  const uint64_t before = Host(rig_.bdf()).resets;
  EXPECT_THAT(rig_.device().Reset(), IsOk());
  EXPECT_EQ(Host(rig_.bdf()).resets, before + 1);
  EXPECT_EQ(Count("VFIO_DEVICE_RESET"), 1u);
  EXPECT_EQ(Count(kHotReset), 0u);
  ExpectStopped();
}

TEST_F(VfioPciResetTest, AFunctionOfTheSameGroupIsResetToo) {
  const pci::Bdf neighbour = PlugNeighbour(31);
  Attach();
  EXPECT_EQ(Report().kind, ResetKind::kHotReset);
  EXPECT_THAT(Report().also_resets,
              ElementsAre(vfio::HotResetDevice{neighbour, 31}));
  const uint64_t before = Host(neighbour).resets;
  EXPECT_THAT(rig_.device().Reset(), IsOk());
  EXPECT_EQ(Host(neighbour).resets, before + 1);
  EXPECT_EQ(Count("VFIO_DEVICE_RESET"), 0u);
  EXPECT_EQ(Count(kHotReset), 1u);
  ExpectStopped();
  rig_.PlaceBar(0, kBar);
  EXPECT_THAT(rig_.Slots(), Not(IsEmpty()));
}

// Nothing is reset, so the guest's old DMA must at least stop.
TEST_F(VfioPciResetTest, AFunctionThatIsNotTheVmsIsNamed) {
  const pci::Bdf neighbour = PlugNeighbour(77);
  Attach();
  EXPECT_THAT(rig_.device().Reset(),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr(rig_.bdf().ToString()),
                             HasSubstr(neighbour.ToString() + " (group 77)"))));
  EXPECT_EQ(Count(kHotReset), 0u);
  ExpectStopped();
}

// A function without a driver is in the group, but the kernel resets only what
// VFIO has.
TEST_F(VfioPciResetTest, AFunctionThatVfioDoesNotHaveIsExplained) {
  PlugNeighbour(31, "");
  Attach();
  const absl::Status status = rig_.device().Reset();
  EXPECT_EQ(kernel::ErrnoOf(status), EINVAL);
  EXPECT_THAT(status.message(), AllOf(HasSubstr("only if vfio-pci has all"),
                                      HasSubstr("0f:00.1")));
  EXPECT_EQ(Count(kHotReset), 1u);
  ExpectStopped();
}

TEST_F(VfioPciResetTest, AFunctionThatCameAfterTheAttachIsResetToo) {
  PlugNeighbour(31);
  Attach();
  const pci::Bdf late = PlugNeighbour(31, "vfio-pci", 2);
  const uint64_t before = Host(late).resets;
  EXPECT_THAT(rig_.device().Reset(), IsOk());
  EXPECT_EQ(Host(late).resets, before + 1);
}

// The kernel found this one alone at attach.
TEST_F(VfioPciResetTest, AResetThatIsGoneIsAnError) {
  Attach();
  PlugNeighbour(31);
  EXPECT_EQ(kernel::ErrnoOf(rig_.device().Reset()), ENOTTY);
  ExpectStopped();
}

TEST_F(VfioPciResetTest, AnotherAccessToTheBusIsWaitedOut) {
  PlugNeighbour(31);
  Attach();
  rig_.kernel().faults().FailNthOf(kHotReset, 1, EBUSY);
  EXPECT_THAT(rig_.device().Reset(), IsOk());
  EXPECT_EQ(Count(kHotReset), 2u);
}

TEST_F(VfioPciResetTest, ABusThatStaysBusyIsAnError) {
  PlugNeighbour(31);
  Attach();
  rig_.kernel().faults().FailNthOf(kHotReset, 1, EBUSY, Mode::kSticky);
  EXPECT_EQ(kernel::ErrnoOf(rig_.device().Reset()), EBUSY);
  EXPECT_LE(Count(kHotReset), 8u);
  ExpectStopped();
}

TEST_F(VfioPciResetTest, AnErrorOfTheBusIsPassedOn) {
  PlugNeighbour(31);
  Attach();
  rig_.kernel().faults().FailNthOf(kHotReset, 1, ENOTTY, Mode::kSticky);
  const absl::Status status = rig_.device().Reset();
  EXPECT_EQ(kernel::ErrnoOf(status), ENOTTY);
  EXPECT_THAT(status.message(),
              AllOf(HasSubstr("is not reset"), HasSubstr(kHotReset)));
  EXPECT_EQ(Count(kHotReset), 1u);
}

TEST_F(VfioPciResetTest, AKernelWithoutHotResetsSaysSo) {
  PlugNeighbour(31);
  rig_.kernel().faults().FailNthOf(kHotResetInfo, 1, ENOTTY, Mode::kSticky);
  Attach();
  EXPECT_EQ(Report().kind, ResetKind::kNone);
  EXPECT_THAT(Report().why_none, HasSubstr("ENOTTY"));
  EXPECT_THAT(
      rig_.device().Reset(),
      StatusIs(absl::StatusCode::kUnimplemented,
               AllOf(HasSubstr("no reset of its own"), HasSubstr("ENOTTY"))));
  ExpectStopped();
}

// The bus of a function that is alone may be reset in its place.
TEST_F(VfioPciResetTest, AHotResetHelpsIfTheFunctionsOwnFails) {
  Attach();
  rig_.kernel().faults().FailNthOf("VFIO_DEVICE_RESET", 1, EAGAIN);
  const uint64_t before = Host(rig_.bdf()).resets;
  EXPECT_THAT(rig_.device().Reset(), IsOk());
  EXPECT_EQ(Host(rig_.bdf()).resets, before + 1);
  EXPECT_THAT(rig_.device().Describe().failures,
              Contains(HasSubstr("VFIO_DEVICE_RESET")));
}

TEST_F(VfioPciResetTest, ADeviceThatDoesNotComeBackIsReported) {
  Attach();
  ASSERT_THAT(rig_.host().vfio().DieAtNextReset(rig_.bdf()), IsOk());
  EXPECT_THAT(rig_.device().Reset(),
              StatusIs(absl::StatusCode::kUnavailable,
                       HasSubstr("does not answer after its reset")));
  ASSERT_THAT(rig_.device().Describe().degraded, Not(IsEmpty()));
  EXPECT_EQ(rig_.device().Describe().degraded[0].kind,
            DegradationKind::kNotAnswering);
  EXPECT_THAT(rig_.Slots(), IsEmpty());
  EXPECT_EQ(rig_.Read(0x06, 2), 0xffffu) << "STATUS is the device's";
}

TEST_F(VfioPciResetTest, DevicesOfDifferentVmsAreRefused) {
  Attach();
  PassthroughRig other({.fixture = "pvscsi"});
  ASSERT_THAT(other.Attach(), IsOk());
  EXPECT_THAT(
      rig_.device().Reset({&other.device()}),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("not of one VM")));
}

TEST_F(VfioPciResetTest, DetachedDevicesAreLeftOutOfAllAndRefusedAlone) {
  Attach();
  ASSERT_THAT(rig_.device().Detach(), IsOk());
  EXPECT_THAT(VfioPciDevice::ResetAll({&rig_.device()}), IsOk());
  EXPECT_THAT(rig_.device().Reset(),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("is detached")));
  EXPECT_THAT(VfioPciDevice::ResetAll({}), IsOk());
}

class VfioPciNoResetTest : public VfioPciResetTest {
 protected:
  VfioPciNoResetTest() : VfioPciResetTest({.fixture = "edu"}) {}
};

// On a root bus, which no reset reaches.
TEST_F(VfioPciNoResetTest, ADeviceWithoutAnyResetIsStoppedAndSaysSo) {
  Attach();
  EXPECT_EQ(Report().kind, ResetKind::kNone);
  const uint64_t before = Host(rig_.bdf()).resets;
  EXPECT_THAT(rig_.device().Reset(),
              StatusIs(absl::StatusCode::kUnimplemented,
                       AllOf(HasSubstr(rig_.bdf().ToString()),
                             HasSubstr("no reset of its own"),
                             HasSubstr(kHotResetInfo))));
  EXPECT_EQ(Host(rig_.bdf()).resets, before);
  ExpectStopped();
  EXPECT_THAT(ToLines(rig_.device().Describe()),
              Contains(HasSubstr("Reset: none: the device has no reset")));
}

// An NVMe controller whose resets the host's kernel does not trust. The hot
// reset of its port fails (ENOTTY), as it was measured.
class VfioPciFailedHotResetTest : public VfioPciResetTest {
 protected:
  VfioPciFailedHotResetTest()
      : VfioPciResetTest(
            {.fixture = "nvme", .edit_fixture = [](fixture::PciDevice& nvme) {
               nvme.mutable_reset()->clear_methods();
             }}) {}
};

TEST_F(VfioPciFailedHotResetTest, TheDeviceIsInD0AndWorksAgain) {
  Attach();
  EXPECT_EQ(Report().kind, ResetKind::kHotReset);
  EXPECT_THAT(Report().also_resets, IsEmpty());
  rig_.Write(static_cast<uint16_t>(rig_.FindCapability(0x01) + 4), 2, 0x3);
  ASSERT_EQ(Host(rig_.bdf()).power_state, 3u);
  EXPECT_EQ(kernel::ErrnoOf(rig_.device().Reset()), ENOTTY);
  EXPECT_EQ(Host(rig_.bdf()).power_state, 0u);
  ExpectStopped();
  rig_.PlaceBar(0, kBar);
  EXPECT_THAT(rig_.Slots(), Not(IsEmpty()));
}

TEST(ResetReportTest, NamesWhatTheCapabilitiesOffer) {
  const auto kind = [](const char* fixture) {
    PassthroughRig rig({.fixture = fixture});
    EXPECT_THAT(rig.Attach(), IsOk());
    return rig.device().Describe().reset.ToString();
  };
  EXPECT_EQ(kind("nvme"), "function level reset");
  EXPECT_EQ(kind("e1000e"), "power management reset");
  EXPECT_EQ(kind("pvscsi"), "reset by the host's kernel");
}

}  // namespace
}  // namespace passthru::vfio_pci
