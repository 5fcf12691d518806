// SPDX-License-Identifier: Apache-2.0
//
// Eight GPUs with BARs of 256 GiB each in one VM. ThreadSanitizer has no room
// for them.

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/log/check.h"
#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/devices/vfio_pci/device_report.h"
#include "passthru/pci/bar_index.h"
#include "passthru/pci/bdf.h"
#include "passthru/testing/fixture/device.pb.h"
#include "passthru/testing/fixture/fixture.h"
#include "passthru/testing/host/simulated_host.h"
#include "passthru/testing/kernel/kernel_version.h"
#include "passthru/testing/vfio/bar_entries.h"
#include "passthru/testing/vfio/fake_vfio.h"
#include "passthru/vmm/device_manager.h"
#include "passthru/vmm/machine.h"

namespace passthru::vmm {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr unsigned kGpus = 8;
constexpr uint64_t kGpuMemory = uint64_t{256} << 30;

pci::Bdf GpuAt(unsigned i) {
  return pci::Bdf(0, static_cast<uint8_t>(i + 1), 0, 0);
}

// The registers of ivshmem with a BAR 2 of the size of a GPU's memory.
fixture::PciDevice MakeGpu() {
  fixture::PciDevice gpu =
      *fixture::LoadFixture("testing/fixtures/ivshmem.textproto");
  gpu.mutable_regions(1)->set_size(kGpuMemory);
  // BAR 2 is at 256 GiB on the host.
  gpu.mutable_config(1)->set_bytes(
      "00 00 04 f8 00 00 00 00 0c 00 00 00 40 00 00 00");
  return gpu;
}

class HugeBarsTest : public ::testing::Test {
 protected:
  void Start(fake::SimulatedHost::Options options,
             DeviceManagerOptions manager_options = {}) {
    host_ = std::make_unique<fake::SimulatedHost>(std::move(options));
    machine_ = *Machine::Create({.syscalls = &host_->kernel()});
    manager_ =
        *DeviceManager::Create(machine_.get(), std::move(manager_options));
    const fixture::PciDevice gpu = MakeGpu();
    for (unsigned i = 0; i < kGpus; ++i) {
      fake::DeviceOptions device;
      device.bdf = GpuAt(i);
      device.group = i + 1;
      CHECK_OK(host_->vfio().AddDevice(gpu, std::move(device)));
    }
  }
  // Attaches a GPU and turns its decode on.
  pci::Bdf AttachGpu(unsigned i) {
    const auto guest = manager_->Attach(GpuAt(i));
    CHECK_OK(guest);
    manager_->Find(*guest)->ConfigWrite(0x04, std::vector<uint8_t>{0x2, 0x0});
    return *guest;
  }
  vfio_pci::BarReport Memory(pci::Bdf guest) {
    return manager_->Find(guest)->Describe().bars[1];
  }

  std::unique_ptr<fake::SimulatedHost> host_;
  std::unique_ptr<Machine> machine_;
  std::unique_ptr<DeviceManager> manager_;
};

TEST_F(HugeBarsTest, EightGpusOf256GiBAreMappedWithTheLargestPages) {
  Start({});
  for (unsigned i = 0; i < kGpus; ++i) {
    const pci::Bdf guest = AttachGpu(i);
    const vfio_pci::BarReport memory = Memory(guest);
    EXPECT_EQ(memory.bar.address, (i + 1) * kGpuMemory);
    ASSERT_EQ(memory.areas.size(), 1u);
    EXPECT_TRUE(memory.areas[0].in_guest) << memory.areas[0].refused;
    // BAR 0 has a page of its own.
    EXPECT_EQ(host_->vfio().CountBarEntries(GpuAt(i)),
              (fake::BarEntries{.of_4_kib = 1, .of_1_gib = 256}));
  }
}

// A kernel before 6.12 has small entries only.
TEST_F(HugeBarsTest, AnOlderKernelTakes64MiEntriesForOneGpu) {
  Start({.kernel = {.version = fake::KernelVersion::k6_1}});
  AttachGpu(0);
  EXPECT_EQ(host_->vfio().CountBarEntries(GpuAt(0)),
            (fake::BarEntries{.of_4_kib = kGpuMemory / 4096 + 1}));
}

TEST_F(HugeBarsTest, PeersReachOneAnother) {
  fake::SimulatedHost::Options options;
  options.vfio.iommu.iova_ranges = {{0, 0xfedf'ffff},
                                    {0xfef0'0000, 0xffff'ffff'ffff}};
  Start(std::move(options), {.peer_to_peer = true});
  for (unsigned i = 0; i < kGpus; ++i) AttachGpu(i);
  // RAM, and of each GPU its memory and the page of BAR 0.
  EXPECT_EQ(host_->vfio().DmaMappings(GpuAt(0)).size(), 1 + 2 * kGpus);
  EXPECT_EQ(manager_->unreachable_bars(), 0u);
}

// A CPU of 41 bits has room for seven. The eighth GPU is there without memory.
TEST_F(HugeBarsTest, ABarThatFitsNowhereDoesNotCostTheDevice) {
  Start({.kernel = {.kvm = {.physical_address_bits = 41}}});
  for (unsigned i = 0; i < kGpus - 1; ++i) {
    EXPECT_THAT(manager_->UnplacedBars(AttachGpu(i)), IsEmpty());
  }
  const pci::Bdf last = AttachGpu(kGpus - 1);
  EXPECT_THAT(manager_->UnplacedBars(last), ElementsAre(pci::BarIndex(2)));
  EXPECT_FALSE(Memory(last).placed);
  const auto registers = manager_->Find(last)->Describe().bars[0];
  EXPECT_TRUE(registers.placed);
  // Its memory is placed once another GPU has gone.
  ASSERT_THAT(manager_->Detach(last), IsOk());
  ASSERT_THAT(manager_->Detach(pci::Bdf(0, 0, 3, 0)), IsOk());
  EXPECT_TRUE(Memory(AttachGpu(kGpus - 1)).areas[0].in_guest);
}

TEST_F(HugeBarsTest, BarsGoWhereTheVmmOrTheHostHasThem) {
  Start({});
  const auto fixed = manager_->Attach(
      {.host = GpuAt(0),
       .bars = {.fixed = {{pci::BarIndex(2), 16 * kGpuMemory}}}});
  ASSERT_THAT(fixed, IsOk());
  EXPECT_EQ(Memory(*fixed).bar.address, 16 * kGpuMemory);
  const auto as_on_host =
      manager_->Attach({.host = GpuAt(1), .bars = {.as_on_host = true}});
  ASSERT_THAT(as_on_host, IsOk());
  EXPECT_EQ(Memory(*as_on_host).bar.address, kGpuMemory);
  const auto report = manager_->Find(*as_on_host)->Describe();
  EXPECT_EQ(report.bars[0].bar.address, 0xf8040000u);
  // The place of both is taken, and the device is given back.
  EXPECT_THAT(
      manager_->Attach({.host = GpuAt(2), .bars = {.as_on_host = true}}),
      StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr("0000:03:00.0")));
  EXPECT_THAT(manager_->Attach(GpuAt(2)), IsOk());
}

}  // namespace
}  // namespace passthru::vmm
