// SPDX-License-Identifier: Apache-2.0
// Tests one open device: mappings, access, ROM, reset, ioeventfds, leaks.
#include "passthru/testing/vfio/fake_vfio_device.h"

#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <sys/mman.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "absl/types/span.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/testing/journal/user_memory.h"
#include "passthru/testing/journal/vfio_offset.h"
#include "passthru/testing/kernel/fake_file.h"
#include "passthru/testing/kernel/kernel_core.h"
#include "passthru/testing/kernel/mapping_table.h"
#include "passthru/testing/rig/vfio_user.h"

namespace passthru::fake {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr uint32_t kMayDoBoth =
    VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE;
constexpr uint64_t kPage = 4096;

// Returns whether a load from a mapping works, without risking a SIGBUS.
bool Readable(const void* address, uint32_t* value) {
  return journal::CopyFromUser(value, address, sizeof(*value));
}

// ---- Mappings of BARs.

class BarMappingTest : public VfioDeviceTest {
 protected:
  void SetUp() override {
    Start(LoadDevice("nvme"));
    user().WriteConfig(PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
  }
};

TEST_F(BarMappingTest, MappingAndRegionAreTheSameMemory) {
  auto* mapped = static_cast<uint32_t*>(user().MapBar(0, 0x1000, kPage));
  *mapped = 0x12345678;
  uint64_t value = 0;
  EXPECT_EQ(user().ReadBar(0, 0x1000, 4, &value), 4);
  EXPECT_EQ(value, 0x12345678u);
  user().WriteBar(0, 0x1004, 4, 0x9abcdef0);
  EXPECT_EQ(mapped[1], 0x9abcdef0u);
  user().UnmapBar(mapped, kPage);
}

TEST_F(BarMappingTest, ContentsSurviveDecodeOff) {
  auto* mapped = static_cast<uint32_t*>(user().MapBar(0, 0x1000, kPage));
  *mapped = 0x12345678;
  user().WriteConfig(PCI_COMMAND, 2, 0);
  uint32_t value = 0;
  EXPECT_FALSE(Readable(mapped, &value));
  user().WriteConfig(PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
  EXPECT_EQ(*mapped, 0x12345678u);
  user().UnmapBar(mapped, kPage);
}

TEST_F(BarMappingTest, MappingMadeWhileOffComesAlive) {
  user().WriteConfig(PCI_COMMAND, 2, 0);
  void* mapped = user().MapBar(0, 0, kPage);
  uint32_t value = 0;
  EXPECT_FALSE(Readable(mapped, &value));
  user().WriteConfig(PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
  EXPECT_TRUE(Readable(mapped, &value));
  EXPECT_EQ(value, 0x0f0107ffu);
  user().UnmapBar(mapped, kPage);
}

TEST_F(BarMappingTest, PartOfAMappingFollowsToo) {
  auto* mapped = static_cast<uint8_t*>(user().MapBar(0, 0, 4 * kPage));
  user().UnmapBar(mapped + kPage, kPage);
  user().WriteConfig(PCI_COMMAND, 2, 0);
  uint32_t value = 0;
  EXPECT_FALSE(Readable(mapped, &value));
  EXPECT_FALSE(Readable(mapped + 2 * kPage, &value));
  user().WriteConfig(PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
  EXPECT_TRUE(Readable(mapped, &value));
  EXPECT_FALSE(Readable(mapped + kPage, &value));
  EXPECT_TRUE(Readable(mapped + 2 * kPage, &value));
  user().UnmapBar(mapped, kPage);
  user().UnmapBar(mapped + 2 * kPage, 2 * kPage);
}

// Processors reach these registers directly, so the simulation must take them
// away where they are, and not look at them meanwhile.
TEST_F(VfioDeviceTest, PolledRegistersFollowDecode) {
  StartWithModel(LoadDevice("nvme"), {.vfio = {.mapped_registers = true}});
  const auto* mapped = static_cast<uint32_t*>(user().MapBar(0, 0, kPage));
  user().WriteConfig(PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
  uint32_t value = 0;
  EXPECT_TRUE(Readable(mapped, &value));
  const uint32_t version = mapped[2];
  EXPECT_NE(version, 0u);
  user().WriteConfig(PCI_COMMAND, 2, 0);
  EXPECT_FALSE(Readable(mapped, &value));
  host().kernel().StepDevices();
  EXPECT_EQ(user().Ioctl(user().device(), VFIO_DEVICE_RESET, nullptr), 0);
  user().WriteConfig(PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
  EXPECT_EQ(mapped[2], version);
  user().UnmapBar(const_cast<uint32_t*>(mapped), kPage);
}

TEST_F(VfioDeviceTest, AStoreJustBeforeDecodeGoesOffReachesTheModel) {
  constexpr uint64_t kAdminQueueAttributes = 0x24;
  StartWithModel(LoadDevice("nvme"), {.vfio = {.mapped_registers = true}});
  auto* mapped = static_cast<uint32_t*>(user().MapBar(0, 0, kPage));
  user().WriteConfig(PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
  mapped[kAdminQueueAttributes / 4] = 0x001f001f;
  user().WriteConfig(PCI_COMMAND, 2, 0);
  user().WriteConfig(PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
  uint64_t value = 0;
  EXPECT_EQ(user().ReadBar(0, kAdminQueueAttributes, 4, &value), 4);
  EXPECT_EQ(value, 0x001f001fu);
  EXPECT_EQ(mapped[kAdminQueueAttributes / 4], 0x001f001fu);
  user().UnmapBar(mapped, kPage);
}

TEST_F(BarMappingTest, PowerStateAndLowPowerFeatureTurnItOff) {
  void* mapped = user().MapBar(0, 0, kPage);
  uint32_t value = 0;
  user().WriteConfig(0x64, 2, 3);
  EXPECT_FALSE(Readable(mapped, &value));
  user().WriteConfig(0x64, 2, 0);
  EXPECT_TRUE(Readable(mapped, &value));
  vfio_device_feature feature = {};
  feature.argsz = sizeof(feature);
  feature.flags = VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY;
  ASSERT_EQ(user().Ioctl(user().device(), VFIO_DEVICE_FEATURE, &feature), 0);
  EXPECT_FALSE(Readable(mapped, &value));
  feature.flags = VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_LOW_POWER_EXIT;
  ASSERT_EQ(user().Ioctl(user().device(), VFIO_DEVICE_FEATURE, &feature), 0);
  EXPECT_TRUE(Readable(mapped, &value));
  user().UnmapBar(mapped, kPage);
}

TEST_F(BarMappingTest, MappingKeepsTheDeviceOpen) {
  void* mapped = user().MapBar(0, 0, kPage);
  user().CloseDevice();
  EXPECT_EQ(Snapshot().open_files, 1u);
  uint32_t value = 0;
  EXPECT_TRUE(Readable(mapped, &value));
  user().UnmapBar(mapped, kPage);
  EXPECT_EQ(Snapshot().open_files, 0u);
}

TEST_F(BarMappingTest, PeerToPeerMappingNeedsMemoryOn) {
  void* mapped = user().MapBar(0, 0, kPage);
  user().WriteConfig(PCI_COMMAND, 2, 0);
  EXPECT_EQ(user().MapDma(0x100000, mapped, kPage, kMayDoBoth), -EFAULT);
  user().WriteConfig(PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
  EXPECT_EQ(user().MapDma(0x100000, mapped, kPage, kMayDoBoth), 0);
  EXPECT_EQ(user().UnmapDma(0x100000, kPage), 0);
  user().UnmapBar(mapped, kPage);
}

TEST_F(BarMappingTest, GuestAccessToTheMsixTableIsCounted) {
  void* mapped = user().MapBar(0, 0x2000, kPage);
  KernelCore& core = host().kernel().core();
  {
    absl::MutexLock lock(&core.mutex);
    const Mapping* mapping =
        core.mappings.Find(reinterpret_cast<uintptr_t>(mapped));
    ASSERT_NE(mapping, nullptr);
    uint8_t byte = 0;
    EXPECT_EQ(mapping->file->MappedLoad(mapping->offset + 0x40f,
                                        absl::MakeSpan(&byte, 1)),
              MappedAccess::kPlainMemory);
    EXPECT_EQ(mapping->file->MappedLoad(mapping->offset + 0x410,
                                        absl::MakeSpan(&byte, 1)),
              MappedAccess::kPlainMemory);
  }
  EXPECT_EQ(Snapshot().mapped_msix_table_accesses, 1u);
  user().UnmapBar(mapped, kPage);
}

class ModelAccessTest : public VfioDeviceTest {};

TEST_F(ModelAccessTest, GuestAccessToAMappedRegisterReachesTheModel) {
  StartWithModel(LoadDevice("edu"));
  void* mapped = user().MapBar(0, 0, kPage);
  KernelCore& core = host().kernel().core();
  const auto access = [&](uint64_t at, std::vector<uint8_t>* load,
                          const std::vector<uint8_t>* store) {
    absl::MutexLock lock(&core.mutex);
    const Mapping* mapping =
        core.mappings.Find(reinterpret_cast<uintptr_t>(mapped));
    return load != nullptr
               ? mapping->file->MappedLoad(mapping->offset + at,
                                           absl::MakeSpan(*load))
               : mapping->file->MappedStore(mapping->offset + at, *store);
  };
  std::vector<uint8_t> id(4);
  EXPECT_EQ(access(0, &id, nullptr), MappedAccess::kHandled);
  EXPECT_THAT(id, ElementsAre(0xed, 0x00, 0x00, 0x01));
  const std::vector<uint8_t> value = {1, 2, 3, 4};
  EXPECT_EQ(access(4, nullptr, &value), MappedAccess::kHandled);
  uint64_t inverted = 0;
  EXPECT_EQ(user().ReadBar(0, 4, 4, &inverted), 4);
  EXPECT_EQ(inverted, 0xfbfcfdfeu);
  user().WriteConfig(PCI_COMMAND, 2, 0);
  EXPECT_EQ(access(0, &id, nullptr), MappedAccess::kFault);
  user().UnmapBar(mapped, kPage);
}

// ---- Access by read(2) and write(2).

TEST_F(BarMappingTest, BadPointersAreFaults) {
  FakeKernel& kernel = host().kernel();
  EXPECT_EQ(
      kernel.Pread(user().device(), nullptr, 4, journal::FileOffset(7)).error,
      EFAULT);
  EXPECT_EQ(
      kernel.Pwrite(user().device(), nullptr, 4, journal::FileOffset(0)).error,
      EFAULT);
  EXPECT_EQ(user().Ioctl(user().device(), VFIO_DEVICE_GET_INFO), -EFAULT);
  EXPECT_EQ(user().Ioctl(user().group(), VFIO_GROUP_GET_DEVICE_FD), -EFAULT);
  EXPECT_EQ(user().Ioctl(user().container(), VFIO_IOMMU_MAP_DMA), -EFAULT);
}

TEST_F(BarMappingTest, AccessAcrossTheMsixTablesEdges) {
  user().WriteBar(0, 0x1ffc, 4, 0xaabbccdd);
  std::vector<uint8_t> data(0x420);
  const auto read =
      host().kernel().Pread(user().device(), data.data(), data.size(),
                            journal::FileOffset(0, 0x1ff8));
  ASSERT_EQ(read.value, data.size());
  EXPECT_EQ(data[4], 0xdd);
  EXPECT_EQ(data[8], 0xff);          // The first byte of the table.
  EXPECT_EQ(data[8 + 0x40f], 0xff);  // The last byte of the table.
  EXPECT_EQ(data[8 + 0x410], 0x00);
}

TEST_F(BarMappingTest, PieceOfAnAccessThatIsRefusedRefusesTheWhole) {
  user().WriteConfig(PCI_COMMAND, 2, 0);
  std::vector<uint8_t> data(16);
  // Half of the access is in the table.
  EXPECT_EQ(host()
                .kernel()
                .Pread(user().device(), data.data(), data.size(),
                       journal::FileOffset(0, 0x2408))
                .error,
            EIO);
}

// ---- ROM, as measured on an e1000.

class RomTest : public VfioDeviceTest {
 protected:
  static fixture::PciDevice WithRom() {
    fixture::PciDevice device = LoadDevice("e1000");
    SetConfigBytes(device, PCI_ROM_ADDRESS, {0x00, 0x00, 0xe0, 0xfd});
    device.mutable_expansion_rom()->set_bar_size(0x40000);
    device.mutable_expansion_rom()->add_image()->set_bytes("55 aa 02");
    fixture::Region* region = device.add_regions();
    region->set_index(VFIO_PCI_ROM_REGION_INDEX);
    region->set_size(0x40000);
    region->set_flags(VFIO_REGION_INFO_FLAG_READ);
    return device;
  }
};

TEST_F(RomTest, ReadsImageThenOnesAndIsClamped) {
  Start(WithRom());
  user().WriteConfig(PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
  uint64_t value = 0;
  EXPECT_EQ(user().ReadBar(6, 0, 4, &value), 4);
  EXPECT_EQ(value, 0xff02aa55u);
  EXPECT_EQ(user().ReadBar(6, 0x3fffe, 4, &value), 2);
  EXPECT_EQ(value, 0xffffu);
}

TEST_F(RomTest, ReadWithMemoryOffIsNoMemory) {
  Start(WithRom());
  user().WriteConfig(PCI_COMMAND, 2, 0);
  uint64_t value = 0;
  EXPECT_EQ(user().ReadBar(6, 0, 4, &value), -ENOMEM);
}

TEST_F(RomTest, RegionIsEmptyWhileTheFunctionIsNotInD0) {
  fixture::PciDevice device = WithRom();
  // Power management, with D3hot only.
  SetConfigBytes(device, PCI_STATUS, {PCI_STATUS_CAP_LIST});
  SetConfigBytes(device, PCI_CAPABILITY_LIST, {0x40});
  SetConfigBytes(device, 0x40, {PCI_CAP_ID_PM, 0, 3, 0, 0, 0, 0, 0});
  Start(device);
  const auto size = [&] {
    vfio_region_info info = {.argsz = sizeof(info),
                             .flags = 0,
                             .index = VFIO_PCI_ROM_REGION_INDEX,
                             .cap_offset = 0,
                             .size = 0,
                             .offset = 0};
    EXPECT_EQ(user().Ioctl(user().device(), VFIO_DEVICE_GET_REGION_INFO, &info),
              0);
    return info.size;
  };
  EXPECT_EQ(size(), 0x40000u);
  user().WriteConfig(0x44, 2, 3);
  EXPECT_EQ(size(), 0u);
  user().WriteConfig(0x44, 2, 0);
  EXPECT_EQ(size(), 0x40000u);
}

TEST_F(RomTest, RegisterIsSizedWithItsEnableBit) {
  Start(WithRom());
  EXPECT_EQ(user().ReadConfig(PCI_ROM_ADDRESS, 4), 0xfde00000u);
  user().WriteConfig(PCI_ROM_ADDRESS, 4, ~0u);
  EXPECT_EQ(user().ReadConfig(PCI_ROM_ADDRESS, 4), 0xfffc0001u);
}

// ---- Resets.

TEST_F(BarMappingTest, ResetReturnsMemoryToPowerOn) {
  user().WriteBar(0, 0x1000, 4, 1);
  user().WriteBar(0, 0, 4, 0);
  ASSERT_EQ(user().Ioctl(user().device(), VFIO_DEVICE_RESET), 0);
  uint64_t value = 0;
  EXPECT_EQ(user().ReadBar(0, 0, 4, &value), 4);
  EXPECT_EQ(value, 0x0f0107ffu);
  EXPECT_EQ(user().ReadBar(0, 0x1000, 4, &value), 4);
  EXPECT_EQ(value, 0u);
}

TEST_F(BarMappingTest, MsixTableOfTheHardwareIsMaskedAtPowerOn) {
  CloseUser();
  fixture::PciDevice device = LoadDevice("nvme");
  fixture::MsixTableEntry* entry = device.add_msix_table();
  entry->set_vector(1);
  entry->set_address(0x1122334455667788);
  entry->set_data(0xabcd);
  Start(device);
  auto* table = static_cast<uint32_t*>(user().MapBar(0, 0x2000, kPage));
  EXPECT_EQ(table[3], uint32_t{PCI_MSIX_ENTRY_CTRL_MASKBIT});
  EXPECT_EQ(table[4], 0x55667788u);
  EXPECT_EQ(table[6], 0xabcdu);
  EXPECT_EQ(table[7], 0u);
  user().UnmapBar(table, kPage);
}

// ---- Ioeventfds and device-specific regions.

TEST_F(BarMappingTest, IoEventFdWritesTheValue) {
  const int eventfd = user().NewEventfd();
  vfio_device_ioeventfd request = {};
  request.argsz = sizeof(request);
  request.flags = VFIO_DEVICE_IOEVENTFD_32;
  request.offset = journal::FileOffset(0, 0x1000);
  request.data = 0x55667788;
  request.fd = eventfd;
  ASSERT_EQ(user().Ioctl(user().device(), VFIO_DEVICE_IOEVENTFD, &request), 0);
  user().Signal(eventfd);
  uint64_t value = 0;
  EXPECT_EQ(user().ReadBar(0, 0x1000, 4, &value), 4);
  EXPECT_EQ(value, 0x55667788u);
  EXPECT_EQ(user().Count(eventfd), 0u);
  request.offset = journal::FileOffset(0, 0x2000);
  EXPECT_EQ(user().Ioctl(user().device(), VFIO_DEVICE_IOEVENTFD, &request),
            -EINVAL);
  request.offset = journal::FileOffset(0, 0x1000);
  request.fd = -1;
  EXPECT_EQ(user().Ioctl(user().device(), VFIO_DEVICE_IOEVENTFD, &request), 0);
}

class ExtraRegionTest : public VfioDeviceTest {};

TEST_F(ExtraRegionTest, ChainHasEveryCapability) {
  fixture::PciDevice device = LoadDevice("nvme");
  fixture::SparseMmap* sparse =
      device.mutable_regions(0)->add_capabilities()->mutable_sparse_mmap();
  sparse->add_areas()->set_size(0x2000);
  fixture::UnknownCapability* unknown =
      device.mutable_regions(0)->add_capabilities()->mutable_unknown();
  unknown->set_id(0x7777);
  unknown->set_version(2);
  unknown->set_bytes("01 02 03");
  fixture::Region* extra = device.add_regions();
  extra->set_index(9);
  extra->set_size(0x100);
  extra->set_flags(0xb);
  extra->add_capabilities()->mutable_type()->set_type(5);
  extra->add_contents()->set_bytes("0a 0b");
  Start(device);

  std::vector<uint32_t> info(128, 0);
  info[0] = 512;
  ASSERT_EQ(
      user().Ioctl(user().device(), VFIO_DEVICE_GET_REGION_INFO, info.data()),
      0);
  // A sparse-mmap capability follows an MSI-X-mappable one after the struct.
  // Each header is 8 bytes.
  EXPECT_EQ(info[3], 32u);           // cap_offset
  EXPECT_EQ(info[8], 0x00010003u);   // MSIX_MAPPABLE, version 1
  EXPECT_EQ(info[9], 40u);           // next
  EXPECT_EQ(info[10], 0x00010001u);  // SPARSE_MMAP
  EXPECT_EQ(info[12], 1u);           // One area ...
  EXPECT_EQ(info[16], 0x2000u);      // ... of two pages.
  EXPECT_EQ(info[11], 72u);          // next
  EXPECT_EQ(info[18], 0x00027777u);
  EXPECT_EQ(info[20], 0x00030201u);

  vfio_device_info all = {};
  all.argsz = sizeof(all);
  ASSERT_EQ(user().Ioctl(user().device(), VFIO_DEVICE_GET_INFO, &all), 0);
  EXPECT_EQ(all.num_regions, 10u);
  uint16_t bytes = 0;
  EXPECT_EQ(host()
                .kernel()
                .Pread(user().device(), &bytes, 2, journal::FileOffset(9))
                .value,
            2u);
  EXPECT_EQ(bytes, 0x0b0a);
}

// ---- What is left is found.

TEST_F(BarMappingTest, EverythingHeldIsInTheResources) {
  const int eventfd = user().NewEventfd();
  ASSERT_EQ(user().SetEventfds(VFIO_PCI_MSIX_IRQ_INDEX,
                               VFIO_IRQ_SET_ACTION_TRIGGER, 2, {eventfd}),
            0);
  ASSERT_EQ(user().MapDma(0x4000, user().NewMemory(kPage), kPage, kMayDoBoth),
            0);
  const ResourceSnapshot held = host().kernel().Resources();
  EXPECT_THAT(held, Contains(HasSubstr("DMA mapping [0x4000, +0x1000)")));
  EXPECT_THAT(held, Contains(HasSubstr("0000:02:00.0: vector 2 signals")));
  EXPECT_THAT(held, Contains(HasSubstr("vfio-group 7: in vfio-container 1")));
}

TEST_F(BarMappingTest, CallsAreDecodedInTheJournal) {
  ASSERT_EQ(
      user().SetEventfds(VFIO_PCI_MSIX_IRQ_INDEX, VFIO_IRQ_SET_ACTION_TRIGGER,
                         1, {user().NewEventfd()}),
      0);
  const std::string last =
      host().kernel().journal().Entries().back().ToString();
  EXPECT_THAT(last, HasSubstr("VFIO_DEVICE_SET_IRQS"));
  EXPECT_THAT(last, HasSubstr("vfio-device 0000:02:00.0"));
  EXPECT_THAT(last, HasSubstr("start=1"));
}

}  // namespace
}  // namespace passthru::fake
