// SPDX-License-Identifier: Apache-2.0
// Tests interrupts as hardware raises them. The tests follow the measurements
// on real kernels, and the PCI specification.
#include "passthru/testing/vfio/vfio_irqs.h"

#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <sys/mman.h>

#include <cerrno>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status_matchers.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/pci/bdf.h"
#include "passthru/testing/rig/vfio_user.h"

namespace passthru::fake {
namespace {

using ::absl_testing::IsOk;
using ::testing::ElementsAre;

constexpr uint32_t kTrigger = VFIO_IRQ_SET_ACTION_TRIGGER;
constexpr uint32_t kUnmask = VFIO_IRQ_SET_ACTION_UNMASK;
constexpr uint32_t kIntx = VFIO_PCI_INTX_IRQ_INDEX;
constexpr uint32_t kMsi = VFIO_PCI_MSI_IRQ_INDEX;
constexpr uint32_t kMsix = VFIO_PCI_MSIX_IRQ_INDEX;
constexpr uint16_t kMsiCapability = 0x40;  // Of edu.
constexpr uint64_t kPendingBits = 0x3000;  // Of nvme.
constexpr uint16_t kPowerControl = 0x64;   // Of nvme.
constexpr uint32_t kDecodeAndMaster =
    PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER;

class IntxTest : public VfioDeviceTest {
 protected:
  void SetUp() override {
    Start(LoadDevice("edu"));
    eventfd_ = user().NewEventfd();
    ASSERT_EQ(user().SetEventfds(kIntx, kTrigger, 0, {eventfd_}), 0);
  }

  uint64_t Count() { return user().Count(eventfd_); }
  void Unmask() { ASSERT_EQ(user().SetNone(kIntx, kUnmask, 0, 1), 0); }
  uint32_t PhysicalDisable() {
    return Physical(PCI_COMMAND, 2) & PCI_COMMAND_INTX_DISABLE;
  }
  uint32_t VirtualDisable() {
    return user().ReadConfig(PCI_COMMAND, 2) & PCI_COMMAND_INTX_DISABLE;
  }

  int eventfd_ = -1;
};

TEST_F(IntxTest, AssertionSignalsOnceAndMasks) {
  SetIntx(true);
  EXPECT_EQ(Count(), 1u);
  // The kernel masked the line at the device, but the user's view is unchanged.
  EXPECT_NE(PhysicalDisable(), 0u);
  EXPECT_EQ(VirtualDisable(), 0u);
  EXPECT_NE(user().ReadConfig(PCI_STATUS, 2) & PCI_STATUS_INTERRUPT, 0u);
  SetIntx(true);
  EXPECT_EQ(Count(), 0u);
}

TEST_F(IntxTest, AListenerHearsOfWhatReachesAnEventfd) {
  std::vector<std::string> heard;
  host().vfio().SetInterruptListener(
      [&heard](const pci::Bdf& bdf, std::string_view kind, uint32_t vector) {
        heard.push_back(absl::StrCat(bdf.ToString(), " ", kind, " ", vector));
      });
  SetIntx(true);
  SetIntx(true);  // It is masked.
  host().vfio().SetInterruptListener(nullptr);
  Unmask();
  EXPECT_EQ(Count(), 2u);
  EXPECT_THAT(heard, ElementsAre(absl::StrCat(bdf().ToString(), " INTx 0")));
}

TEST_F(IntxTest, UnmaskOfAssertedLineSignalsAgain) {
  SetIntx(true);
  ASSERT_EQ(Count(), 1u);
  Unmask();
  EXPECT_EQ(Count(), 1u);
  EXPECT_TRUE(Snapshot().irqs.intx_masked);
}

TEST_F(IntxTest, UnmaskAfterAcknowledgeIsQuietAndRearms) {
  SetIntx(true);
  ASSERT_EQ(Count(), 1u);
  SetIntx(false);
  Unmask();
  EXPECT_EQ(Count(), 0u);
  EXPECT_EQ(PhysicalDisable(), 0u);
  SetIntx(true);
  EXPECT_EQ(Count(), 1u);
}

TEST_F(IntxTest, UnmaskEventfdUnmasksAndIsConsumed) {
  const int resample = user().NewEventfd();
  ASSERT_EQ(user().SetEventfds(kIntx, kUnmask, 0, {resample}), 0);
  SetIntx(true);
  ASSERT_EQ(Count(), 1u);
  SetIntx(false);
  user().Signal(resample);
  EXPECT_FALSE(Snapshot().irqs.intx_masked);
  EXPECT_EQ(user().Count(resample), 0u);
  SetIntx(true);
  EXPECT_EQ(Count(), 1u);
}

TEST_F(IntxTest, VirtualDisableBlocksSignalsAcrossUnmask) {
  user().WriteConfig(PCI_COMMAND, 2,
                     PCI_COMMAND_MEMORY | PCI_COMMAND_INTX_DISABLE);
  SetIntx(true);
  EXPECT_EQ(Count(), 0u);
  Unmask();
  EXPECT_EQ(Count(), 0u);
  user().WriteConfig(PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
  EXPECT_EQ(Count(), 1u);
}

TEST_F(IntxTest, LineAssertedBeforeEnableSignalsAtEnable) {
  ASSERT_EQ(user().SetNone(kIntx, kTrigger, 0, 0), 0);
  SetIntx(true);
  ASSERT_EQ(Count(), 0u);
  ASSERT_EQ(user().SetEventfds(kIntx, kTrigger, 0, {eventfd_}), 0);
  EXPECT_EQ(Count(), 1u);
}

TEST_F(IntxTest, EventfdOutlivesItsDescriptor) {
  const int closed = host().kernel().Eventfd(0, 0).value;
  ASSERT_EQ(user().SetEventfds(kIntx, kTrigger, 0, {closed}), 0);
  ASSERT_EQ(host().kernel().Close(closed).error, 0);
  SetIntx(true);
  EXPECT_EQ(Snapshot().irqs.delivered, 1u);
}

TEST_F(IntxTest, NoHostInterruptIsNoDevice) {
  CloseUser();
  DeviceOptions options;
  options.has_host_irq = false;
  Start(LoadDevice("rtl8139"), std::move(options));
  EXPECT_EQ(user().SetEventfds(kIntx, kTrigger, 0, {user().NewEventfd()}),
            -ENODEV);
}

class MsiTest : public VfioDeviceTest {
 protected:
  void SetUp() override {
    Start(LoadDevice("edu"));
    eventfd_ = user().NewEventfd();
    ASSERT_EQ(user().SetEventfds(kMsi, kTrigger, 0, {eventfd_}), 0);
    user().WriteConfig(PCI_COMMAND, 2, kDecodeAndMaster);
  }

  uint64_t Count() { return user().Count(eventfd_); }
  void SetControl(uint32_t control) {
    user().WriteConfig(kMsiCapability + PCI_MSI_FLAGS, 2, control);
  }

  int eventfd_ = -1;
};

TEST_F(MsiTest, MessageSignals) {
  RaiseMsi(0);
  EXPECT_EQ(Count(), 1u);
}

TEST_F(MsiTest, BusMasterOffBlocksMessages) {
  user().WriteConfig(PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
  RaiseMsi(0);
  EXPECT_EQ(Count(), 0u);
  EXPECT_EQ(Snapshot().irqs.dropped, 1u);
}

TEST_F(MsiTest, IoctlDoesNotSetTheVirtualEnableBit) {
  EXPECT_EQ(user().ReadConfig(kMsiCapability, 4), 0x00800005u);
  EXPECT_EQ(Physical(kMsiCapability, 4), 0x00810005u);
}

TEST_F(MsiTest, GuestsEnableBitReachesTheHardwareWhileOn) {
  SetControl(0x81);
  EXPECT_EQ(user().ReadConfig(kMsiCapability, 4), 0x00810005u);
  SetControl(0x80);
  RaiseMsi(0);
  EXPECT_EQ(Count(), 0u);
  SetControl(0x81);
  RaiseMsi(0);
  EXPECT_EQ(Count(), 1u);
}

TEST_F(MsiTest, VirtualEnableBitSurvivesDisableByIoctl) {
  SetControl(0x81);
  ASSERT_EQ(user().SetNone(kMsi, kTrigger, 0, 0), 0);
  EXPECT_EQ(user().ReadConfig(kMsiCapability, 4), 0x00810005u);
  EXPECT_EQ(Physical(kMsiCapability, 4), 0x00800005u);
}

TEST_F(MsiTest, GuestsEnableBitIsRefusedWhileOff) {
  ASSERT_EQ(user().SetNone(kMsi, kTrigger, 0, 0), 0);
  SetControl(0x81);
  EXPECT_EQ(user().ReadConfig(kMsiCapability, 4), 0x00800005u);
}

// A device with 16 messages, as measured with and without remapping.
class MultiMsiTest : public VfioDeviceTest {
 protected:
  void StartWith16(bool interrupt_remapping) {
    fixture::PciDevice device = LoadDevice("edu");
    SetConfigBytes(device, kMsiCapability + PCI_MSI_FLAGS, {0x88});
    device.mutable_irqs(1)->set_count(16);
    SimulatedHost::Options options;
    options.vfio.iommu.interrupt_remapping = interrupt_remapping;
    options.vfio.iommu.allow_unsafe_interrupts = true;
    Start(device, {}, options);
    for (int i = 0; i < 16; ++i) eventfds_.push_back(user().NewEventfd());
  }

  int Enable(uint32_t start, size_t count) {
    return user().SetEventfds(
        kMsi, kTrigger, start,
        {eventfds_.begin(), eventfds_.begin() + static_cast<ptrdiff_t>(count)});
  }
  int Disable() { return user().SetNone(kMsi, kTrigger, 0, 0); }

  std::vector<int> eventfds_;
};

TEST_F(MultiMsiTest, WithRemappingAllAreGiven) {
  StartWith16(true);
  EXPECT_EQ(Enable(0, 16), 0);
  EXPECT_EQ(Enable(0, 2), 0);
  EXPECT_EQ(Disable(), 0);
  EXPECT_EQ(Enable(0, 1), 0);
  EXPECT_EQ(Enable(1, 1), -EINVAL);
  // The vectors that were on stay on.
  EXPECT_EQ(user().SetNone(kMsi, kTrigger, 0, 1), 0);
  EXPECT_EQ(user().Count(eventfds_[0]), 1u);
  EXPECT_EQ(Disable(), 0);
  EXPECT_EQ(Enable(1, 1), 0);
}

TEST_F(MultiMsiTest, WithoutRemappingTheNumberAvailableIsReturned) {
  StartWith16(false);
  EXPECT_EQ(Enable(0, 16), 1);
  EXPECT_EQ(Enable(0, 2), 1);
  EXPECT_EQ(Disable(), -EINVAL);  // SET_IRQS enabled nothing.
  EXPECT_EQ(Enable(0, 1), 0);
  EXPECT_EQ(Enable(1, 1), -EINVAL);
  EXPECT_EQ(user().SetNone(kMsi, kTrigger, 0, 1), 0);
  EXPECT_EQ(user().Count(eventfds_[0]), 1u);
  EXPECT_EQ(Disable(), 0);
  EXPECT_EQ(Enable(1, 1), 1);
}

TEST_F(MultiMsiTest, FailedUpdateTakesItsOwnVectorsDown) {
  StartWith16(true);
  ASSERT_EQ(Enable(0, 4), 0);
  EXPECT_EQ(user().SetEventfds(kMsi, kTrigger, 2, {eventfds_[2], 9999}),
            -EBADF);
  EXPECT_EQ(Snapshot().irqs.triggers.size(), 2u);
  EXPECT_TRUE(Snapshot().irqs.triggers.contains(0));
  EXPECT_TRUE(Snapshot().irqs.triggers.contains(1));
}

TEST_F(MultiMsiTest, HardwareIsToldThePowerOfTwo) {
  StartWith16(true);
  ASSERT_EQ(Enable(0, 5), 0);
  EXPECT_EQ(Physical(kMsiCapability + PCI_MSI_FLAGS, 2),
            0x88u | 0x1u | 3u << 4);
}

TEST_F(MultiMsiTest, MaskedMessagePendsAndIsSentWhenUnmasked) {
  fixture::PciDevice device = LoadDevice("edu");
  // The capability has two messages, 64 bits and mask bits, which is 24 bytes.
  SetConfigBytes(device, kMsiCapability + PCI_MSI_FLAGS, {0x82, 0x01});
  device.mutable_irqs(1)->set_count(2);
  // Deletes the masks of what edu has after its shorter capability.
  device.mutable_write_masks()->DeleteSubrange(2, 2);
  Start(device);
  user().WriteConfig(PCI_COMMAND, 2, kDecodeAndMaster);
  const int first = user().NewEventfd();
  const int second = user().NewEventfd();
  ASSERT_EQ(user().SetEventfds(kMsi, kTrigger, 0, {first, -1}), 0);
  // The kernel masked the vector without an eventfd.
  EXPECT_EQ(user().ReadConfig(kMsiCapability + PCI_MSI_MASK_64, 4), 2u);
  RaiseMsi(1);
  EXPECT_EQ(user().ReadConfig(kMsiCapability + PCI_MSI_PENDING_64, 4), 2u);
  ASSERT_EQ(user().SetEventfds(kMsi, kTrigger, 1, {second}), 0);
  EXPECT_EQ(user().Count(second), 1u);
  // The guest's own masking reaches the hardware.
  user().WriteConfig(kMsiCapability + PCI_MSI_MASK_64, 4, 1);
  RaiseMsi(0);
  EXPECT_EQ(user().Count(first), 0u);
  user().WriteConfig(kMsiCapability + PCI_MSI_MASK_64, 4, 0);
  EXPECT_EQ(user().Count(first), 1u);
  EXPECT_EQ(user().ReadConfig(kMsiCapability + PCI_MSI_PENDING_64, 4), 0u);
}

class MsixTest : public VfioDeviceTest {
 protected:
  void SetUp() override { StartNvme({}); }
  void StartNvme(DeviceOptions options) {
    CloseUser();
    Start(LoadDevice("nvme"), std::move(options));
    user().WriteConfig(PCI_COMMAND, 2, kDecodeAndMaster);
    first_ = user().NewEventfd();
    second_ = user().NewEventfd();
  }
  uint64_t PendingBits() {
    uint64_t bits = 0;
    EXPECT_EQ(user().ReadBar(0, kPendingBits, 8, &bits), 8);
    return bits;
  }

  int first_ = -1;
  int second_ = -1;
};

TEST_F(MsixTest, VectorSignalsItsEventfd) {
  ASSERT_EQ(user().SetEventfds(kMsix, kTrigger, 0, {first_, second_}), 0);
  RaiseMsix(1);
  EXPECT_EQ(user().Count(first_), 0u);
  EXPECT_EQ(user().Count(second_), 1u);
}

TEST_F(MsixTest, VectorWithoutEventfdPendsAndFiresWhenItGetsOne) {
  ASSERT_EQ(user().SetEventfds(kMsix, kTrigger, 0, {first_}), 0);
  RaiseMsix(3);
  EXPECT_EQ(PendingBits(), 1u << 3);
  ASSERT_EQ(user().SetEventfds(kMsix, kTrigger, 3, {second_}), 0);
  EXPECT_EQ(PendingBits(), 0u);
  EXPECT_EQ(user().Count(second_), 1u);
}

TEST_F(MsixTest, VectorTakenAwayIsMasked) {
  ASSERT_EQ(user().SetEventfds(kMsix, kTrigger, 0, {first_, second_}), 0);
  ASSERT_EQ(user().SetEventfds(kMsix, kTrigger, 1, {-1}), 0);
  RaiseMsix(1);
  EXPECT_EQ(user().Count(second_), 0u);
  EXPECT_EQ(PendingBits(), 1u << 1);
}

TEST_F(MsixTest, BusMasterOffLosesTheMessage) {
  ASSERT_EQ(user().SetEventfds(kMsix, kTrigger, 0, {first_}), 0);
  user().WriteConfig(PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
  RaiseMsix(0);
  EXPECT_EQ(user().Count(first_), 0u);
  EXPECT_EQ(PendingBits(), 0u);
  EXPECT_EQ(Snapshot().irqs.dropped, 1u);
}

TEST_F(MsixTest, VectorBeyondTheTableIsDropped) {
  ASSERT_EQ(user().SetEventfds(kMsix, kTrigger, 0, {first_}), 0);
  RaiseMsix(65);
  EXPECT_EQ(Snapshot().irqs.dropped, 1u);
}

TEST_F(MsixTest, ControlWordIsTheHardwaresAndNotWritable) {
  ASSERT_EQ(user().SetEventfds(kMsix, kTrigger, 0, {first_}), 0);
  EXPECT_EQ(user().ReadConfig(0x42, 2), 0x8040u);
  user().WriteConfig(0x42, 2, 0x4000);
  EXPECT_EQ(user().ReadConfig(0x42, 2), 0x8040u);
  ASSERT_EQ(user().SetNone(kMsix, kTrigger, 0, 0), 0);
  EXPECT_EQ(user().ReadConfig(0x42, 2), 0x0040u);
}

TEST_F(MsixTest, EnablingNeedsD0) {
  user().WriteConfig(kPowerControl, 2, 3);
  EXPECT_EQ(user().SetEventfds(kMsix, kTrigger, 0, {first_}), -EINVAL);
  EXPECT_EQ(Snapshot().irqs.type, VfioIrqs::Type::kNone);
  // The number of vectors is checked first.
  EXPECT_EQ(user().SetEventfds(kMsix, kTrigger, 0, {}), -ERANGE);
  user().WriteConfig(kPowerControl, 2, 0);
  EXPECT_EQ(user().SetEventfds(kMsix, kTrigger, 0, {first_}), 0);
  // What is on stays on, and more vectors can come.
  user().WriteConfig(kPowerControl, 2, 3);
  EXPECT_EQ(user().SetNone(kMsix, kTrigger, 0, 1), 0);
  EXPECT_EQ(user().Count(first_), 1u);
  EXPECT_EQ(user().SetEventfds(kMsix, kTrigger, 1, {second_}), 0);
  EXPECT_EQ(user().SetNone(kMsix, kTrigger, 0, 0), 0);
}

TEST_F(MsixTest, VectorAddedInD3StaysMasked) {
  ASSERT_EQ(user().SetEventfds(kMsix, kTrigger, 0, {first_}), 0);
  user().WriteConfig(kPowerControl, 2, 3);
  ASSERT_EQ(user().SetEventfds(kMsix, kTrigger, 1, {second_}), 0);
  user().WriteConfig(kPowerControl, 2, 0);
  RaiseMsix(1);
  EXPECT_EQ(user().Count(second_), 0u);
  EXPECT_EQ(PendingBits(), 1u << 1);
  // A reset programs the vectors again.
  ASSERT_EQ(user().Ioctl(user().device(), VFIO_DEVICE_RESET), 0);
  RaiseMsix(1);
  EXPECT_EQ(user().Count(second_), 1u);
}

TEST_F(MsixTest, InterruptsSurviveAReset) {
  ASSERT_EQ(user().SetEventfds(kMsix, kTrigger, 0, {first_}), 0);
  ASSERT_EQ(user().Ioctl(user().device(), VFIO_DEVICE_RESET), 0);
  RaiseMsix(0);
  EXPECT_EQ(user().Count(first_), 1u);
}

TEST_F(MsixTest, FewerVectorsThanAskedIsANumber) {
  DeviceOptions options;
  options.msix_vectors_available = 8;
  StartNvme(std::move(options));
  EXPECT_EQ(user().SetEventfds(kMsix, kTrigger, 0, std::vector<int>(9, first_)),
            8);
  EXPECT_EQ(Snapshot().irqs.type, VfioIrqs::Type::kNone);
  EXPECT_EQ(user().SetEventfds(kMsix, kTrigger, 0, std::vector<int>(8, first_)),
            0);
  EXPECT_EQ(user().SetEventfds(kMsix, kTrigger, 8, {second_}), -ENOSPC);
}

// vfio_msi_alloc_irq() takes a host vector for each vector that is added, and
// keeps it until MSI-X is disabled.
TEST_F(MsixTest, TheHostCountsVectorsAndDoesNotNumberThem) {
  StartNvme({});
  ASSERT_EQ(user().SetEventfds(kMsix, kTrigger, 0, {first_}), 0);
  ASSERT_THAT(host().vfio().SetVectorsAvailable(bdf(), 1, 2), IsOk());
  EXPECT_EQ(user().SetEventfds(kMsix, kTrigger, 40, {second_}), 0);
  EXPECT_EQ(user().SetEventfds(kMsix, kTrigger, 1, {second_}), -ENOSPC);
  EXPECT_EQ(user().SetEventfds(kMsix, kTrigger, 40, {-1}), 0);
  EXPECT_EQ(user().SetEventfds(kMsix, kTrigger, 1, {second_}), -ENOSPC);
  EXPECT_EQ(user().SetEventfds(kMsix, kTrigger, 40, {second_}), 0);
  EXPECT_EQ(Snapshot().irqs.allocated, 2u);
  ASSERT_EQ(user().SetNone(kMsix, kTrigger, 0, 0), 0);
  EXPECT_EQ(user().SetEventfds(kMsix, kTrigger, 0, {first_, second_}), 0);
}

TEST_F(MsixTest, LastCloseTurnsInterruptsOff) {
  ASSERT_EQ(user().SetEventfds(kMsix, kTrigger, 0, {first_}), 0);
  user().CloseDevice();
  RaiseMsix(0);
  EXPECT_EQ(user().Count(first_), 0u);
  EXPECT_EQ(Physical(0x42, 2), 0x0040u);
}

TEST_F(MsixTest, ErrorAndRequestHaveTheirEventfds) {
  ASSERT_EQ(user().SetEventfds(VFIO_PCI_ERR_IRQ_INDEX, kTrigger, 0, {first_}),
            0);
  ASSERT_EQ(user().SetEventfds(VFIO_PCI_REQ_IRQ_INDEX, kTrigger, 0, {second_}),
            0);
  EXPECT_THAT(host().vfio().ReportError(bdf()), IsOk());
  EXPECT_EQ(user().Count(first_), 1u);
  EXPECT_THAT(host().vfio().RequestRelease(bdf()), IsOk());
  EXPECT_THAT(host().vfio().RequestRelease(bdf()), IsOk());
  EXPECT_EQ(user().Count(second_), 2u);
}

TEST_F(MsixTest, BadPointersAreFaults) {
  EXPECT_EQ(user().Ioctl(user().device(), VFIO_DEVICE_SET_IRQS, nullptr),
            -EFAULT);
  // The header is at the end of a page, and its data is in the next one, which
  // has no access. It stays mapped, so that no thread gets its address.
  uint8_t* memory = user().NewMemory(8192);
  ASSERT_EQ(mprotect(memory + 4096, 4096, PROT_NONE), 0);
  vfio_irq_set header = {};
  header.argsz = sizeof(header) + 4;
  header.flags = VFIO_IRQ_SET_DATA_EVENTFD | kTrigger;
  header.index = kMsix;
  header.count = 1;
  uint8_t* at = memory + 4096 - sizeof(header);
  std::memcpy(at, &header, sizeof(header));
  EXPECT_EQ(user().Ioctl(user().device(), VFIO_DEVICE_SET_IRQS, at), -EFAULT);
}

}  // namespace
}  // namespace passthru::fake
