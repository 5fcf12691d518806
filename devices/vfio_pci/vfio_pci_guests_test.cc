// SPDX-License-Identifier: Apache-2.0
//
// What guests do that is legal and unusual, each on the whole path, and devices
// whose registers say what they should not.

#include <linux/vfio.h>
#include <sys/types.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/types/span.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/allocator/gsi.h"
#include "passthru/devices/kernel/forwarding_syscalls.h"
#include "passthru/devices/vfio_pci/device_report.h"
#include "passthru/devices/vfio_pci/vfio_pci_device.h"
#include "passthru/pci/bar_index.h"
#include "passthru/testing/fixture/device.pb.h"
#include "passthru/testing/rig/passthrough_rig.h"

namespace passthru::vfio_pci {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using fake::kBar;
using fake::kNvmePba;
using fake::kNvmeTable;
using fake::PassthroughRig;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

constexpr uint32_t kAllOnes = 0xffffffff;

void SetConfigRow(fixture::PciDevice& fixture, uint32_t offset,
                  const char* bytes) {
  for (fixture::ByteRow& row : *fixture.mutable_config()) {
    if (row.offset() == offset) row.set_bytes(bytes);
  }
}

class VfioPciGuestsTest : public ::testing::Test {
 protected:
  void Attach(PassthroughRig::Options options = {}) {
    rig_ = std::make_unique<PassthroughRig>(std::move(options));
    ASSERT_THAT(rig_->Attach(), IsOk());
    rig_->kernel().journal().Clear();
  }
  void TearDown() override {
    if (rig_ == nullptr) return;
    EXPECT_EQ(rig_->kernel().kvm().LostInterrupts(), 0u);
    EXPECT_EQ(
        rig_->host().vfio().Snapshot(rig_->bdf())->mapped_msix_table_accesses,
        0u);
    rig_->device_pointer().reset();
    EXPECT_TRUE(rig_->Leaks().empty()) << rig_->Leaks();
  }
  size_t Calls(std::string_view name) {
    return rig_->kernel().journal().Count(name);
  }
  size_t CallsThatDo() {
    size_t calls = 0;
    for (const auto& [name, count] : rig_->kernel().journal().CallCounts()) {
      if (name != "epoll_wait" && name != "read") calls += count;
    }
    return calls;
  }
  uint64_t DeviceReads() { return rig_->device().Describe().bar.device_reads; }

  std::unique_ptr<PassthroughRig> rig_;
};

// --- BARs.

// OpenBSD sizes with the flags' bits zero (PCI_MAPREG_MEM_ADDR_MASK).
TEST_F(VfioPciGuestsTest, OpenBsdSizesWithoutTheFlagBits) {
  Attach();
  rig_->PlaceBar(0, kBar);
  rig_->Write(0x10, 4, 0xfffffff0);
  EXPECT_EQ(rig_->Read(0x10, 4), 0xffffc004u);
  rig_->Write(0x10, 4, kBar);
  rig_->Write(0x14, 4, 0xffffffff);
  EXPECT_EQ(rig_->Read(0x14, 4), 0xffffffffu);
  rig_->Write(0x14, 4, 0);
  EXPECT_THAT(rig_->Slots(), ElementsAre("0xe0000000+0x2000"));
  // A BAR that is not there, and the ROM, which is not shown.
  rig_->Write(0x18, 4, 0xfffffff0);
  EXPECT_EQ(rig_->Read(0x18, 4), 0u);
  rig_->Write(0x30, 4, 0xfffff800);
  EXPECT_EQ(rig_->Read(0x30, 4), 0u);
  EXPECT_THAT(rig_->device().Describe().degraded, IsEmpty());
  TearDown();

  Attach({.fixture = "e1000"});
  rig_->Write(0x14, 4, 0xfffffffc);
  EXPECT_EQ(rig_->Read(0x14, 4), 0xffffffc1u);
  rig_->Write(0x14, 4, 0xc000);
  EXPECT_EQ(rig_->Read(0x14, 4), 0xc001u);
}

// EDK2 sizes and assigns all BARs while decode is off.
TEST_F(VfioPciGuestsTest, AllBarsAreSizedAndPlacedInOneWindow) {
  Attach({.fixture = "e1000e"});
  for (uint16_t bar = 0x10; bar < 0x28; bar += 4) {
    const uint32_t before = rig_->Read(bar, 4);
    rig_->Write(bar, 4, 0xffffffff);
    rig_->Read(bar, 4);
    rig_->Write(bar, 4, before);
  }
  rig_->Write(0x10, 4, 0xe0000000);
  rig_->Write(0x14, 4, 0xe0020000);
  rig_->Write(0x18, 4, 0xc000);
  rig_->Write(0x1c, 4, 0xe0040000);
  EXPECT_EQ(CallsThatDo(), 0u);
  rig_->Write(0x04, 2, 0x7);
  for (const BarReport& bar : rig_->device().Describe().bars) {
    EXPECT_TRUE(bar.placed) << bar.problem;
  }
}

// With decode on, one BAR moves onto another before that one moves away.
TEST_F(VfioPciGuestsTest, TwoBarsChangePlacesWithDecodeOn) {
  Attach({.fixture = "e1000e"});
  rig_->Write(0x10, 4, 0xe0000000);
  rig_->Write(0x14, 4, 0xe0020000);
  rig_->Write(0x04, 2, 0x6);
  const std::vector<std::string> before = rig_->Slots();
  ASSERT_THAT(before,
              UnorderedElementsAre("0xe0000000+0x20000", "0xe0020000+0x20000"));
  const uint64_t bar0 = rig_->Load(0xe0000008, 4);
  const uint64_t bar1 = rig_->Load(0xe0020008, 4);

  rig_->Write(0x10, 4, 0xe0020000);  // Both are here now.
  rig_->Write(0x14, 4, 0xe0000000);
  EXPECT_EQ(rig_->Load(0xe0020008, 4), bar0);
  EXPECT_EQ(rig_->Load(0xe0000008, 4), bar1);
  EXPECT_THAT(rig_->Slots(), testing::UnorderedElementsAreArray(before));
  EXPECT_THAT(rig_->device().Describe().degraded, IsEmpty());

  // In one window with decode off, the same needs no exit in between.
  rig_->Write(0x04, 2, 0x4);
  rig_->Write(0x10, 4, 0xe0000000);
  rig_->Write(0x14, 4, 0xe0020000);
  rig_->Write(0x04, 2, 0x6);
  EXPECT_THAT(rig_->Slots(), testing::UnorderedElementsAreArray(before));
  EXPECT_EQ(rig_->Load(0xe0000008, 4), bar0);
}

TEST_F(VfioPciGuestsTest, MemoryDecodeMayBeOnBeforeTheBarsArePlaced) {
  Attach();
  rig_->Write(0x04, 2, 0x6);
  EXPECT_THAT(rig_->Slots(), IsEmpty());
  rig_->Write(0x14, 4, 0x1);
  rig_->Write(0x10, 4, kBar);
  EXPECT_THAT(rig_->Slots(), ElementsAre("0x1e0000000+0x2000"));
  rig_->Write(0x14, 4, 0x0);
  EXPECT_THAT(rig_->Slots(), ElementsAre("0xe0000000+0x2000"));
  EXPECT_EQ(rig_->Load(kBar + 8, 4), 0x00010400u);
}

// --- MSI-X.

// NVIDIA's drivers write the capability's first 32 bits at once, and others the
// last byte of Message Control alone.
TEST_F(VfioPciGuestsTest, MsixEnabledInAnyWidthDelivers) {
  Attach();
  rig_->PlaceBar(0, kBar);
  rig_->WriteVector(2, 0x32, /*masked=*/false);
  rig_->Write(0x40, 4, 0x80008011);
  EXPECT_EQ(rig_->Read(0x40, 2), 0x8011u) << "ID and next are read-only";
  rig_->RaiseMsix(2);
  EXPECT_THAT(rig_->TakeMessages(), ElementsAre(0x32));
  rig_->Write(0x43, 1, 0x00);
  EXPECT_EQ(rig_->device().Describe().interrupt, InterruptKind::kNone);
  rig_->Write(0x43, 1, 0x80);
  rig_->RaiseMsix(2);
  EXPECT_THAT(rig_->TakeMessages(), ElementsAre(0x32));
}

// Linux restores MSI-X after a suspend by enable and function mask, the whole
// table, and then Message Control as it was (__pci_restore_msix_state()).
TEST_F(VfioPciGuestsTest, LinuxResumes) {
  Attach();
  rig_->PlaceBar(0, kBar);
  rig_->SetMsixControl(/*enable=*/true, /*function_mask=*/false);
  for (uint16_t i = 0; i < 3; ++i) rig_->WriteVector(i, 0x30 + i, false);
  const auto power = static_cast<uint16_t>(rig_->FindCapability(0x01) + 4);
  rig_->Write(power, 2, 0x3);
  rig_->Write(power, 2, 0x0);
  ASSERT_THAT(rig_->device().Reset(), IsOk());

  rig_->PlaceBar(0, kBar);
  rig_->Write(0x42, 2, 0xc000);
  for (uint16_t i = 0; i < 3; ++i) {
    rig_->WriteVector(i, 0x40 + i, /*masked=*/i == 1);
  }
  rig_->Write(0x42, 2, 0x8000);
  for (uint16_t i = 0; i < 3; ++i) rig_->RaiseMsix(i);
  EXPECT_THAT(rig_->TakeMessages(), ElementsAre(0x40, 0x42));
  EXPECT_EQ(rig_->Load(kNvmePba, 4), 0x2u);
  rig_->Store(kNvmeTable + 16 + 12, 4, 0);
  EXPECT_THAT(rig_->TakeMessages(), ElementsAre(0x41));
}

TEST_F(VfioPciGuestsTest, EntriesWrittenThriceWhileMaskedCostNothing) {
  Attach();
  rig_->PlaceBar(0, kBar);
  rig_->SetMsixControl(/*enable=*/true, /*function_mask=*/false);
  rig_->kernel().journal().Clear();
  for (const uint32_t data : {0x51, 0x61, 0x71}) {
    for (uint16_t i = 0; i < 8; ++i) {
      rig_->WriteVector(i, data + i, /*masked=*/true);
    }
  }
  EXPECT_EQ(Calls("KVM_SET_GSI_ROUTING"), 0u);
  EXPECT_EQ(Calls("KVM_IRQFD"), 0u);
  EXPECT_EQ(Calls("VFIO_DEVICE_SET_IRQS"), 0u);
  rig_->Store(kNvmeTable + 5 * 16 + 12, 4, 0);
  rig_->RaiseMsix(5);
  EXPECT_THAT(rig_->TakeMessages(), ElementsAre(0x76));
}

TEST_F(VfioPciGuestsTest, TheTableTakesOddWidthsAndEndsWhereItEnds) {
  Attach();
  rig_->PlaceBar(0, kBar);
  for (const unsigned width : {1u, 2u, 3u, 8u}) {
    SCOPED_TRACE(width);
    const uint64_t mask = width == 8 ? ~uint64_t{0} : (1ull << 8 * width) - 1;
    const uint64_t entry = kNvmeTable + 7 * 16;
    rig_->Store(entry, 8, 0);
    rig_->Store(entry, width, 0x0807060504030201);
    EXPECT_EQ(rig_->Load(entry, width), 0x0807060504030201 & mask & ~3ull)
        << "the low two bits of an address are reserved";
    EXPECT_EQ(rig_->Load(entry, 8), 0x0807060504030201 & mask & ~3ull);
  }
  EXPECT_EQ(DeviceReads(), 0u);
  // The last 4 bytes of the table, and 4 of the device's behind it.
  const uint64_t end = kNvmeTable + 65 * 16;
  EXPECT_EQ(rig_->Load(end - 4, 8) & kAllOnes, 1u);
  EXPECT_EQ(DeviceReads(), 1u);
  rig_->Store(end - 4, 8, 0);
  EXPECT_EQ(rig_->Load(end - 4, 4), 0u);
  EXPECT_EQ(rig_->device().Describe().bar.device_writes, 1u);
}

// --- MSI-X whose structures the device puts where they cannot be.

// Intel 660p: the PBA is in the table.
TEST_F(VfioPciGuestsTest, APbaInTheTableIsShownBehindIt) {
  Attach({.edit_fixture = [](fixture::PciDevice& fixture) {
    SetConfigRow(fixture, 0x40,
                 "11 80 15 00 00 20 00 00 00 21 00 00 00 00 00 00");
    for (fixture::Irq& irq : *fixture.mutable_irqs()) {
      if (irq.index() == VFIO_PCI_MSIX_IRQ_INDEX) irq.set_count(22);
    }
  }});
  ASSERT_EQ(rig_->FindCapability(0x11), 0x40);
  EXPECT_EQ(rig_->Read(0x44, 4), 0x2000u);
  EXPECT_EQ(rig_->Read(0x48, 4), 0x2160u);
  EXPECT_THAT(ToLines(rig_->device().Describe()),
              Contains(HasSubstr("overlap; the guest sees the PBA behind its "
                                 "table, at BAR0+0x2160")));
  rig_->PlaceBar(0, kBar);
  rig_->SetMsixControl(/*enable=*/true, /*function_mask=*/false);
  // Vector 16's entry is where the device says that the PBA is.
  rig_->WriteVector(16, 0x40, /*masked=*/false);
  rig_->RaiseMsix(16);
  EXPECT_THAT(rig_->TakeMessages(), ElementsAre(0x40));
  rig_->Store(kNvmeTable + 16 * 16 + 12, 4, 1);
  rig_->RaiseMsix(16);
  EXPECT_EQ(rig_->Load(kBar + 0x2160, 4), 0x10000u);
  EXPECT_EQ(rig_->Load(kNvmeTable + 16 * 16 + 12, 4), 1u);
  // The guest reads none of the device's registers as its own.
  EXPECT_EQ(DeviceReads(), 0u);
  for (const std::string& slot : rig_->Slots()) {
    EXPECT_THAT(slot, testing::Not(testing::StartsWith("0xe0002")));
  }
}

// Ports cannot hold the structures.
TEST_F(VfioPciGuestsTest, APbaInPortsIsShownBehindTheTable) {
  Attach({.fixture = "e1000e", .edit_fixture = [](fixture::PciDevice& fixture) {
            SetConfigRow(fixture, 0xa0,
                         "11 00 04 00 03 00 00 00 02 00 00 00 00 00 00 00");
          }});
  ASSERT_EQ(rig_->FindCapability(0x11), 0xa0);
  EXPECT_EQ(rig_->Read(0xa8, 4), 0x53u);
  rig_->PlaceBar(3, kBar);
  rig_->SetMsixControl(/*enable=*/true, /*function_mask=*/false);
  rig_->WriteVector(4, 0x34, /*masked=*/false);
  rig_->RaiseMsix(4);
  EXPECT_THAT(rig_->TakeMessages(), ElementsAre(0x34));
  rig_->Store(kBar + 4 * 16 + 12, 4, 1);
  rig_->RaiseMsix(4);
  EXPECT_EQ(rig_->Load(kBar + 0x50, 8), 0x10u);
  EXPECT_EQ(DeviceReads(), 0u);
}

// --- MSI and INTx.

TEST_F(VfioPciGuestsTest, EightMsiVectorsFollowTheirDataWhileEnabled) {
  Attach({.fixture = "edu", .edit_fixture = [](fixture::PciDevice& fixture) {
            SetConfigRow(fixture, 0x40,
                         "05 00 86 00 00 00 00 00 00 00 00 00 00 00 00 00");
            for (fixture::Irq& irq : *fixture.mutable_irqs()) {
              if (irq.index() == VFIO_PCI_MSI_IRQ_INDEX) irq.set_count(8);
            }
          }});
  rig_->Write(0x04, 2, 0x4);
  rig_->Write(0x44, 4, 0xfee00000);
  rig_->Write(0x4c, 2, 0x40);
  rig_->Write(0x42, 2, 0x0031);
  for (const uint32_t base : {0x40u, 0x48u, 0x50u}) {
    // The guest moves the interrupts without turning MSI off.
    rig_->Write(0x4c, 2, base);
    for (uint16_t i = 0; i < 8; ++i) rig_->RaiseMsi(i);
    EXPECT_THAT(rig_->TakeMessages(),
                ElementsAre(base, base + 1, base + 2, base + 3, base + 4,
                            base + 5, base + 6, base + 7));
  }
}

TEST_F(VfioPciGuestsTest, IntxWorksAfterMsixWasGivenUp) {
  Attach({.edit_options = [](VfioPciDevice::Options& options) {
    options.intx_gsi = allocator::Gsi(16);
  }});
  rig_->PlaceBar(0, kBar);
  // A driver tries MSI-X, gets no test interrupt, and falls back.
  rig_->SetMsixControl(/*enable=*/true, /*function_mask=*/true);
  rig_->WriteVector(0, 0x30, /*masked=*/false);
  rig_->SetMsixControl(/*enable=*/true, /*function_mask=*/false);
  rig_->SetMsixControl(/*enable=*/false, /*function_mask=*/false);
  EXPECT_EQ(rig_->device().Describe().interrupt, InterruptKind::kIntx);
  for (int i = 0; i < 2; ++i) {
    rig_->SetIntx(true);
    EXPECT_TRUE(rig_->kernel().kvm().LineLevel(16));
    rig_->SetIntx(false);
    rig_->kernel().kvm().Acknowledge(16);
  }
  EXPECT_THAT(rig_->TakeMessages(), IsEmpty());
}

// --- The host.

TEST_F(VfioPciGuestsTest, RequestsForReleaseThatNobodyHeedsChangeNothing) {
  Attach();  // without on_unplug_request
  rig_->PlaceBar(0, kBar);
  for (int i = 0; i < 3; ++i) {
    ASSERT_THAT(rig_->host().vfio().RequestRelease(rig_->bdf()), IsOk());
    rig_->RunLoop();
  }
  EXPECT_EQ(rig_->Load(kBar + 8, 4), 0x00010400u);
  EXPECT_EQ(rig_->device().Describe().failure_count, 0u);
  TearDown();

  // The kernel repeats its request until the device is closed, and each repeat
  // is a call.
  int requests = 0;
  Attach({.edit_options = [&](VfioPciDevice::Options& options) {
    options.on_unplug_request = [&requests] { ++requests; };
  }});
  for (int i = 0; i < 3; ++i) {
    ASSERT_THAT(rig_->host().vfio().RequestRelease(rig_->bdf()), IsOk());
    rig_->RunLoop();
  }
  EXPECT_EQ(requests, 3);
}

// A kernel through which a device falls off the bus: from some read on, every
// register of it reads all ones.
class FallingOff : public kernel::ForwardingSyscalls {
 public:
  using ForwardingSyscalls::ForwardingSyscalls;

  kernel::SyscallResult<size_t> Pread(int fd, void* buffer, size_t count,
                                      uint64_t offset) override {
    const kernel::SyscallResult<size_t> result =
        ForwardingSyscalls::Pread(fd, buffer, count, offset);
    if (result.ok() && reads_++ >= fall_at_) {
      std::memset(buffer, 0xff, result.value);
    }
    return result;
  }
  void FallAtRead(int64_t read) { fall_at_ = read; }
  void FallNow() { fall_at_ = reads_; }
  int64_t reads() const { return reads_; }

 private:
  int64_t reads_ = 0;
  int64_t fall_at_ = INT64_MAX;
};

class VfioPciFallingOffTest : public VfioPciGuestsTest {
 protected:
  PassthroughRig::Options Options(std::string fixture = "nvme") {
    return {.fixture = std::move(fixture),
            .edit_options =
                [](VfioPciDevice::Options& options) {
                  options.intx_gsi = allocator::Gsi(16);
                },
            .wrap_calls =
                [this](kernel::Syscalls* target) {
                  auto wrapped = std::make_unique<FallingOff>(target);
                  wrapped->FallAtRead(fall_at_);
                  syscalls_ = wrapped.get();
                  return wrapped;
                }};
  }
  void TearDown() override {
    VfioPciGuestsTest::TearDown();
    rig_.reset();
  }

  int64_t fall_at_ = INT64_MAX;
  FallingOff* syscalls_ = nullptr;  // the rig has it
};

TEST_F(VfioPciFallingOffTest, ADeviceGoneAfterAResetReadsAllOnes) {
  Attach(Options());
  rig_->PlaceBar(0, kBar);
  const auto power = static_cast<uint16_t>(rig_->FindCapability(0x01) + 4);
  rig_->Write(power, 2, 0x3);
  syscalls_->FallNow();
  EXPECT_THAT(rig_->device().Reset(), StatusIs(absl::StatusCode::kUnavailable));
  rig_->PlaceBar(0, kBar);
  // PMCSR reads D3hot, so nothing is mapped, and the guest sees what it would
  // see of a dead device.
  EXPECT_THAT(rig_->Slots(), IsEmpty());
  EXPECT_EQ(rig_->Load(kBar + 8, 4), kAllOnes);
  EXPECT_EQ(rig_->Read(power, 2), 0xffffu);
  // What the guest writes is still there, so that it does not loop.
  EXPECT_EQ(rig_->Read(0x10, 4), kBar | 4);
  rig_->Write(0x04, 2, 0x0);
  rig_->Write(0x04, 2, 0x6);
  EXPECT_THAT(rig_->device().Reset(), StatusIs(absl::StatusCode::kUnavailable));
  rig_->device().ReconcileBars();
  EXPECT_THAT(rig_->device().Detach(), IsOk());
}

// Wherever in a guest's life it happens, the device can be used up to a point
// and be detached, and nothing is left.
TEST_F(VfioPciFallingOffTest, ADeviceMayGoAtAnyMoment) {
  const auto live = [this] {
    rig_ = std::make_unique<PassthroughRig>(Options());
    if (!rig_->Attach().ok()) return;
    const auto power = static_cast<uint16_t>(rig_->FindCapability(0x01) + 4);
    const auto pcie = rig_->FindCapability(0x10);
    for (uint16_t offset = 0; offset < 0x100; offset += 4) {
      rig_->Read(offset, 4);
    }
    rig_->PlaceBar(0, kBar);
    rig_->Load(kBar + 8, 4);
    rig_->Load(kNvmeTable + 0x40c, 8);
    rig_->SetMsixControl(/*enable=*/true, /*function_mask=*/false);
    rig_->WriteVector(1, 0x31, /*masked=*/false);
    rig_->RaiseMsix(1);
    rig_->Write(power, 2, 0x3);
    rig_->Write(power, 2, 0x0);
    rig_->Write(static_cast<uint16_t>(pcie + 8), 2, 0x8000);  // FLR
    rig_->PlaceBar(0, kBar);
    rig_->Load(kBar + 8, 4);
    rig_->device().ReconcileBars();
    const absl::Status reset = rig_->device().Reset();
    EXPECT_TRUE(reset.ok() ||
                (fall_at_ != INT64_MAX && absl::IsUnavailable(reset)))
        << reset;
    ToLines(rig_->device().Describe());
    EXPECT_THAT(rig_->device().Detach(), IsOk());
    EXPECT_THAT(rig_->Slots(), IsEmpty());
  };
  live();
  const int64_t all = syscalls_->reads();
  TearDown();
  ASSERT_GT(all, 10);
  for (fall_at_ = 0; fall_at_ < all; ++fall_at_) {
    SCOPED_TRACE(fall_at_);
    live();
    TearDown();
  }
}

}  // namespace
}  // namespace passthru::vfio_pci
