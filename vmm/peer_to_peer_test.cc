// SPDX-License-Identifier: Apache-2.0
//
// DMA from one passed-through device to the BAR of another. An edu with
// addresses of 48 bits copies to and from the shared memory of an ivshmem.

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/log/check.h"
#include "absl/status/status_matchers.h"
#include "absl/types/span.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/devices/vfio_pci/bar_mapper.h"
#include "passthru/devices/vfio_pci/device_report.h"
#include "passthru/devices/vfio_pci/vfio_pci_device.h"
#include "passthru/pci/bar_index.h"
#include "passthru/pci/bdf.h"
#include "passthru/pci/little_endian.h"
#include "passthru/testing/host/simulated_host.h"
#include "passthru/testing/models/edu_model.h"
#include "passthru/testing/vfio/fake_vfio.h"
#include "passthru/vmm/device_manager.h"
#include "passthru/vmm/machine.h"

namespace passthru::vmm {
namespace {

using ::absl_testing::IsOk;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr pci::Bdf kEduHost(0, 1, 0, 0);
constexpr pci::Bdf kPeerHost(0, 2, 0, 0);
constexpr pci::BarIndex kSharedMemory(2);
constexpr uint64_t kSharedSize = 0x400000;
constexpr uint64_t kDma48 = 0xffffffffffff;
constexpr uint64_t kBytes = 64;

class PeerToPeerTest : public ::testing::Test {
 protected:
  void Start(bool peer_to_peer, fake::SimulatedHost::Options host = {}) {
    host_ = std::make_unique<fake::SimulatedHost>(std::move(host));
    fake::DeviceOptions edu;
    edu.bdf = kEduHost;
    edu.group = 1;
    edu.model = std::make_unique<models::EduModel>(kDma48);
    CHECK_OK(
        host_->AddFixture("testing/fixtures/edu.textproto", std::move(edu)));
    fake::DeviceOptions peer;
    peer.bdf = kPeerHost;
    peer.group = 2;
    CHECK_OK(host_->AddFixture("testing/fixtures/ivshmem.textproto",
                               std::move(peer)));
    machine_ = *Machine::Create({.syscalls = &host_->kernel()});
    manager_ =
        *DeviceManager::Create(machine_.get(), {.peer_to_peer = peer_to_peer});
    edu_ = manager_->Find(*manager_->Attach(kEduHost));
    peer_ = manager_->Find(*manager_->Attach(kPeerHost));
    SetCommand(*edu_, 0x6);
    SetCommand(*peer_, 0x2);
    host_->kernel().journal().Clear();
  }

  static void SetCommand(vfio_pci::VfioPciDevice& device, uint16_t command) {
    std::vector<uint8_t> bytes(2);
    pci::StoreLittleEndian<uint16_t>(absl::MakeSpan(bytes), 0, command);
    device.ConfigWrite(0x04, bytes);
  }
  static uint64_t AddressOf(const vfio_pci::VfioPciDevice& device,
                            uint8_t index) {
    for (const vfio_pci::BarReport& report : device.Describe().bars) {
      if (report.bar.index == pci::BarIndex(index)) return report.bar.address;
    }
    return 0;
  }
  uint64_t SharedMemory() const { return AddressOf(*peer_, 2); }

  void Store(uint64_t address, uint64_t value) {
    std::vector<uint8_t> bytes(8);
    pci::StoreLittleEndian<uint64_t>(absl::MakeSpan(bytes), 0, value);
    machine_->mmio().Write(address, bytes);
  }
  uint64_t Load(uint64_t address) {
    std::vector<uint8_t> bytes(8);
    machine_->mmio().Read(address, absl::MakeSpan(bytes));
    return pci::LoadLittleEndian<uint64_t>(bytes, 0);
  }

  // Lets the edu copy between guest memory and its buffer, whatever comes of
  // it. A command of 1 copies into the buffer, and 3 out of it.
  void Transfer(uint64_t source, uint64_t destination, uint64_t command) {
    const uint64_t registers = AddressOf(*edu_, 0);
    Store(registers + 0x80, source);
    Store(registers + 0x88, destination);
    Store(registers + 0x90, kBytes);
    Store(registers + 0x98, command);
    host_->kernel().RunDevicesUntilIdle();
  }
  // Copies from one guest address to another.
  void Copy(uint64_t from, uint64_t to) {
    Transfer(from, models::EduModel::kBufferAddress, 1);
    Transfer(models::EduModel::kBufferAddress, to, 3);
  }
  size_t Faults() { return host_->vfio().DmaFaults().size(); }
  std::vector<std::string> SlotAndDmaCalls() {
    std::vector<std::string> calls;
    for (const auto& entry : host_->kernel().journal().Entries()) {
      const std::string& name = entry.call.name;
      if (name == "VFIO_IOMMU_MAP_DMA" || name == "VFIO_IOMMU_UNMAP_DMA") {
        calls.push_back(name);
      } else if (name == "KVM_SET_USER_MEMORY_REGION") {
        const bool gone = entry.call.Find("memory_size")->number == 0;
        calls.push_back(gone ? "slot deleted" : "slot set");
      } else if (name == "pwrite") {
        calls.push_back("device written");
      }
    }
    host_->kernel().journal().Clear();
    return calls;
  }

  std::unique_ptr<fake::SimulatedHost> host_;
  std::unique_ptr<Machine> machine_;
  std::unique_ptr<DeviceManager> manager_;
  std::shared_ptr<vfio_pci::VfioPciDevice> edu_;
  std::shared_ptr<vfio_pci::VfioPciDevice> peer_;
};

TEST_F(PeerToPeerTest, ADeviceReadsAndWritesTheBarOfAnother) {
  Start(true);
  const uint64_t shared = SharedMemory();
  for (uint64_t i = 0; i < kBytes; i += 8) Store(shared + i, 0x1122330000 + i);
  Copy(shared, shared + 0x1000);
  for (uint64_t i = 0; i < kBytes; i += 8) {
    EXPECT_EQ(Load(shared + 0x1000 + i), 0x1122330000 + i);
  }
  EXPECT_THAT(host_->vfio().DmaFaults(), IsEmpty());
  EXPECT_EQ(manager_->unreachable_bars(), 0u);
}

TEST_F(PeerToPeerTest, WithoutTheOptionTheBarIsOutOfReach) {
  Start(false);
  Copy(SharedMemory(), SharedMemory() + 0x1000);
  ASSERT_EQ(Faults(), 2u);
  EXPECT_EQ(host_->vfio().DmaFaults()[0].reason,
            fake::DmaFault::Reason::kUnmapped);
  EXPECT_EQ(host_->vfio().DmaFaults()[0].iova, SharedMemory());
}

TEST_F(PeerToPeerTest, TheMappingMovesWithTheBar) {
  Start(true);
  const uint64_t before = SharedMemory();
  const uint64_t after = before + 16 * kSharedSize;
  Store(before, 0x5a5a);
  host_->kernel().journal().Clear();
  ASSERT_THAT(peer_->SetBarAddress(kSharedMemory, after), IsOk());
  EXPECT_THAT(SlotAndDmaCalls(),
              ElementsAre("VFIO_IOMMU_UNMAP_DMA", "slot deleted", "slot set",
                          "VFIO_IOMMU_MAP_DMA"));
  Copy(after, after + 0x2000);
  EXPECT_EQ(Faults(), 0u);
  EXPECT_EQ(Load(after + 0x2000), 0x5a5au);
  Copy(before, before + 0x2000);
  EXPECT_EQ(Faults(), 2u) << "nothing is left where the BAR was";
}

TEST_F(PeerToPeerTest, TheMappingGoesBeforeTheDeviceStopsToAnswer) {
  Start(true);
  SetCommand(*peer_, 0x0);
  EXPECT_THAT(
      SlotAndDmaCalls(),
      ElementsAre("VFIO_IOMMU_UNMAP_DMA", "slot deleted",
                  "VFIO_IOMMU_UNMAP_DMA", "slot deleted", "device written"))
      << "of its registers and of its memory";
  Copy(SharedMemory(), SharedMemory() + 0x1000);
  EXPECT_EQ(Faults(), 2u);
  host_->kernel().journal().Clear();
  SetCommand(*peer_, 0x2);
  EXPECT_THAT(SlotAndDmaCalls(),
              ElementsAre("device written", "slot set", "VFIO_IOMMU_MAP_DMA",
                          "slot set", "VFIO_IOMMU_MAP_DMA"));
  Copy(SharedMemory(), SharedMemory() + 0x1000);
  EXPECT_EQ(Faults(), 2u) << "no more";
}

TEST_F(PeerToPeerTest, ADeviceThatGoesTakesItsMappingAlong) {
  Start(true);
  const uint64_t shared = SharedMemory();
  const size_t mappings = host_->vfio().DmaMappings(kEduHost).size();
  peer_.reset();
  ASSERT_THAT(manager_->Detach(manager_->Devices().back()), IsOk());
  EXPECT_THAT(host_->vfio().DmaMappings(kEduHost), SizeIs(mappings - 2))
      << "of its registers and of its memory";
  Copy(shared, shared + 0x1000);
  EXPECT_EQ(Faults(), 2u);
}

// Guests place BARs where they like. The BAR works there, without its peers.
TEST_F(PeerToPeerTest, BeyondTheIommuTheBarWorksAlone) {
  Start(true);
  const uint64_t beyond = uint64_t{1} << 40;
  ASSERT_THAT(peer_->SetBarAddress(kSharedMemory, beyond), IsOk());
  EXPECT_EQ(manager_->unreachable_bars(), 1u);
  EXPECT_THAT(peer_->Describe().degraded, IsEmpty());
  const auto slots = host_->kernel().kvm().Slots();
  EXPECT_EQ(slots.back().guest_address, beyond);
  Copy(beyond, beyond + 0x1000);
  EXPECT_EQ(Faults(), 2u);
}

}  // namespace
}  // namespace passthru::vmm
