// SPDX-License-Identifier: Apache-2.0
// Tests the fake machine: groups and drivers, containers, DMA, hot reset.
#include "passthru/testing/vfio/fake_vfio.h"

#include <fcntl.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <sys/mman.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/testing/rig/vfio_user.h"

namespace passthru::fake {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::Contains;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr uint32_t kRead = VFIO_DMA_MAP_FLAG_READ;
constexpr uint32_t kReadAndWrite =
    VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE;
constexpr uint64_t kVfioPage = 4096;

// ---- edu: DMA as measured (its engine: source, destination, count, command).

class EduDmaTest : public VfioDeviceTest {
 protected:
  static constexpr uint64_t kBuffer = 0x40000;
  static constexpr uint64_t kIova = 0x100000;

  void SetUp() override {
    StartWithModel(LoadDevice("edu"));
    user().WriteConfig(PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    memory_ = user().NewMemory(2 * kVfioPage);
    ASSERT_EQ(user().MapDma(kIova, memory_, kVfioPage, kReadAndWrite), 0);
  }

  void Transfer(uint64_t source, uint64_t destination, uint64_t count,
                uint64_t command) {
    user().WriteBar(0, 0x80, 8, source);
    user().WriteBar(0, 0x88, 8, destination);
    user().WriteBar(0, 0x90, 8, count);
    user().WriteBar(0, 0x98, 8, command);
    host().kernel().RunDevicesUntilIdle();
  }
  void FromMemory(uint64_t iova) { Transfer(iova, kBuffer, 256, 1); }
  void ToMemory(uint64_t iova) { Transfer(kBuffer, iova, 256, 3); }

  std::vector<DmaFault::Reason> Faults() {
    std::vector<DmaFault::Reason> reasons;
    for (const DmaFault& fault : host().vfio().DmaFaults()) {
      reasons.push_back(fault.reason);
    }
    return reasons;
  }

  uint8_t* memory_ = nullptr;
};

TEST_F(EduDmaTest, LoopbackThroughIova) {
  std::memset(memory_, 0x5a, 256);
  FromMemory(kIova);
  ToMemory(kIova + 0x800);
  EXPECT_EQ(memory_[0x800], 0x5a);
  EXPECT_EQ(memory_[0x8ff], 0x5a);
  EXPECT_EQ(memory_[0x900], 0);
  EXPECT_THAT(Faults(), IsEmpty());
}

TEST_F(EduDmaTest, BusMasterOffBlocks) {
  user().WriteConfig(PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
  memory_[0] = 0x77;
  ToMemory(kIova);
  EXPECT_EQ(memory_[0], 0x77);
  EXPECT_THAT(Faults(), Contains(DmaFault::Reason::kBusMasterOff));
}

TEST_F(EduDmaTest, UnmappedIovaIsRefusedAndTheDeviceGoesOn) {
  ToMemory(0x800000);
  EXPECT_THAT(Faults(), Contains(DmaFault::Reason::kUnmapped));
  uint64_t command = 0;
  EXPECT_EQ(user().ReadBar(0, 0x98, 8, &command), 8);
  EXPECT_EQ(command & 1, 0u);
}

TEST_F(EduDmaTest, WriteToReadOnlyMappingIsRefused) {
  ASSERT_EQ(user().MapDma(2 * kIova, memory_ + kVfioPage, kVfioPage, kRead), 0);
  memory_[kVfioPage] = 0x77;
  ToMemory(2 * kIova);
  EXPECT_EQ(memory_[kVfioPage], 0x77);
  EXPECT_THAT(Faults(), Contains(DmaFault::Reason::kPermission));
}

TEST_F(EduDmaTest, UnmappingEndsAccess) {
  ASSERT_EQ(user().UnmapDma(kIova, kVfioPage), 0);
  ToMemory(kIova);
  EXPECT_THAT(Faults(), Contains(DmaFault::Reason::kUnmapped));
}

TEST_F(EduDmaTest, RefusalsAreInTheJournal) {
  ToMemory(0x800000);
  bool found = false;
  for (const journal::JournalEntry& entry :
       host().kernel().journal().Entries()) {
    found |= entry.kind == journal::JournalEntry::Kind::kEvent &&
             entry.call.name == "dma-refused" &&
             entry.Text("reason") == "not mapped";
  }
  EXPECT_TRUE(found);
}

TEST_F(EduDmaTest, MessageArrivesAtTheEventfd) {
  const int eventfd = user().NewEventfd();
  ASSERT_EQ(user().SetEventfds(VFIO_PCI_MSI_IRQ_INDEX,
                               VFIO_IRQ_SET_ACTION_TRIGGER, 0, {eventfd}),
            0);
  user().WriteBar(0, 0x60, 4, 1);  // Raises an interrupt.
  EXPECT_EQ(user().Count(eventfd), 1u);
}

// ---- Groups and drivers.

class FakeMachineTest : public ::testing::Test {
 protected:
  absl::Status Add(const std::string& name, DeviceOptions options = {}) {
    return host_.vfio().AddDevice(LoadDevice(name), std::move(options));
  }
  int Open(const std::string& path) {
    const auto fd = host_.kernel().Open(path.c_str(), O_RDWR);
    if (fd.ok()) fds_.push_back(fd.value);
    return fd.ok() ? fd.value : -fd.error;
  }
  int Ioctl(int fd, unsigned long request, void* arg) {
    const auto result = host_.kernel().Ioctl(fd, request, arg);
    return result.ok() ? result.value : -result.error;
  }
  uint32_t GroupFlags(int group) {
    vfio_group_status status = {};
    status.argsz = sizeof(status);
    EXPECT_EQ(Ioctl(group, VFIO_GROUP_GET_STATUS, &status), 0);
    return status.flags;
  }
  int OpenWithContainer(const std::string& path) {
    const int group = Open(path);
    int container = Open("/dev/vfio/vfio");
    EXPECT_EQ(Ioctl(group, VFIO_GROUP_SET_CONTAINER, &container), 0);
    EXPECT_TRUE(host_.kernel()
                    .IoctlInt(container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU)
                    .ok());
    return group;
  }
  int OpenDevice(int group, std::string bdf) {
    const int fd = Ioctl(group, VFIO_GROUP_GET_DEVICE_FD, bdf.data());
    if (fd >= 0) fds_.push_back(fd);
    return fd;
  }
  ~FakeMachineTest() override {
    for (const int fd : fds_) host_.kernel().Close(fd);
    EXPECT_TRUE(host_.kernel().CheckLeaks().empty())
        << host_.kernel().CheckLeaks();
  }

  SimulatedHost host_;
  std::vector<int> fds_;
};

TEST_F(FakeMachineTest, SiblingOnAHostDriverMakesTheGroupNotViable) {
  ASSERT_THAT(Add("edu", {.group = 12}), IsOk());
  DeviceOptions sibling;
  sibling.group = 12;
  sibling.driver = "8139too";
  ASSERT_THAT(Add("rtl8139", std::move(sibling)), IsOk());
  const int group = Open("/dev/vfio/12");
  int container = Open("/dev/vfio/vfio");
  EXPECT_EQ(GroupFlags(group), 0u);
  EXPECT_EQ(Ioctl(group, VFIO_GROUP_SET_CONTAINER, &container), -EPERM);

  ASSERT_THAT(host_.vfio().SetDriver(pci::Bdf(0, 0, 6, 0), ""), IsOk());
  EXPECT_EQ(GroupFlags(group), uint32_t{VFIO_GROUP_FLAGS_VIABLE});
  EXPECT_EQ(Ioctl(group, VFIO_GROUP_SET_CONTAINER, &container), 0);
}

// Linux waits with the unbind until the device is closed, and then the group
// leaves (vfio_device_remove_group()).
TEST_F(FakeMachineTest, AnUnbindOfAnOpenDeviceDetachesTheGroupAtTheClose) {
  ASSERT_THAT(Add("edu", {.bdf = pci::Bdf(0, 0, 3, 0), .group = 12}), IsOk());
  const int group = OpenWithContainer("/dev/vfio/12");
  const int device = OpenDevice(group, "0000:00:03.0");
  ASSERT_GE(device, 0);
  ASSERT_THAT(host_.vfio().SetDriver(pci::Bdf(0, 0, 3, 0), ""), IsOk());
  constexpr uint32_t kAttached =
      VFIO_GROUP_FLAGS_VIABLE | VFIO_GROUP_FLAGS_CONTAINER_SET;
  EXPECT_EQ(GroupFlags(group), kAttached);
  host_.kernel().Close(device);
  std::erase(fds_, device);
  EXPECT_EQ(GroupFlags(group), uint32_t{VFIO_GROUP_FLAGS_VIABLE});
  EXPECT_EQ(Ioctl(group, VFIO_GROUP_UNSET_CONTAINER, nullptr), -EINVAL);
}

TEST_F(FakeMachineTest, SiblingOfTheFixtureCounts) {
  fixture::PciDevice device = LoadDevice("edu");
  fixture::Sibling* sibling = device.mutable_iommu_group()->add_siblings();
  sibling->set_bdf("0000:00:17.1");
  sibling->set_driver("virtio-pci");
  ASSERT_THAT(host_.vfio().AddDevice(device), IsOk());
  EXPECT_EQ(GroupFlags(Open("/dev/vfio/3")), 0u);
  EXPECT_EQ(host_.kernel()
                .Readlink("/sys/bus/pci/devices/0000:00:17.1/driver")
                .value.substr(0, 2),
            "..");
}

// Two functions of one group, of which each fixture names the other.
TEST_F(FakeMachineTest, SiblingsThatAreBothThereAreThereOnce) {
  ASSERT_THAT(Add("ich9_ehci"), IsOk());
  ASSERT_THAT(Add("ich9_uhci1"), IsOk());
  const int group = OpenWithContainer("/dev/vfio/2");
  EXPECT_GE(OpenDevice(group, "0000:00:1d.7"), 0);
  EXPECT_GE(OpenDevice(group, "0000:00:1d.0"), 0);
}

TEST_F(FakeMachineTest, SiblingsMayBeInGroupsOfTheirOwn) {
  ASSERT_THAT(Add("ich9_ehci", {.group = 8}), IsOk());
  ASSERT_THAT(Add("ich9_uhci1", {.group = 9}), IsOk());
  EXPECT_GE(OpenDevice(OpenWithContainer("/dev/vfio/8"), "0000:00:1d.7"), 0);
  EXPECT_GE(OpenDevice(OpenWithContainer("/dev/vfio/9"), "0000:00:1d.0"), 0);
  const auto folder = [this](const std::string& bdf) {
    const std::string link = "/sys/bus/pci/devices/" + bdf + "/iommu_group";
    return host_.kernel().Readlink(link.c_str()).value;
  };
  EXPECT_THAT(folder("0000:00:1d.7"), EndsWith("/8"));
  EXPECT_THAT(folder("0000:00:1d.0"), EndsWith("/9"));
}

TEST_F(FakeMachineTest, BridgeDriverDoesNotCount) {
  fixture::PciDevice device = LoadDevice("edu");
  fixture::Sibling* sibling = device.mutable_iommu_group()->add_siblings();
  sibling->set_bdf("0000:00:1c.0");
  sibling->set_driver("pcieport");
  ASSERT_THAT(host_.vfio().AddDevice(device), IsOk());
  EXPECT_EQ(GroupFlags(Open("/dev/vfio/3")), uint32_t{VFIO_GROUP_FLAGS_VIABLE});
}

TEST_F(FakeMachineTest, GroupWithoutVfioDriverHasNoNode) {
  DeviceOptions options;
  options.driver = "nvme";
  ASSERT_THAT(Add("nvme", std::move(options)), IsOk());
  EXPECT_EQ(Open("/dev/vfio/7"), -ENOENT);
  ASSERT_THAT(host_.vfio().SetDriver(pci::Bdf(0, 2, 0, 0), "vfio-pci"), IsOk());
  EXPECT_GE(Open("/dev/vfio/7"), 0);
}

TEST_F(FakeMachineTest, DeviceWithoutIommuHasNoGroup) {
  DeviceOptions options;
  options.has_iommu = false;
  ASSERT_THAT(Add("edu", std::move(options)), IsOk());
  EXPECT_EQ(Open("/dev/vfio/3"), -ENOENT);
  EXPECT_EQ(host_.kernel()
                .Readlink("/sys/bus/pci/devices/0000:00:02.0/iommu_group")
                .error,
            ENOENT);
}

TEST_F(FakeMachineTest, SecondDeviceAtAnAddressIsRefused) {
  ASSERT_THAT(Add("edu"), IsOk());
  EXPECT_THAT(Add("edu"), StatusIs(absl::StatusCode::kAlreadyExists,
                                   HasSubstr("0000:00:02.0")));
}

TEST_F(FakeMachineTest, SecondDeviceAtTheAddressOfOneWithoutIommuIsRefused) {
  DeviceOptions options;
  options.has_iommu = false;
  ASSERT_THAT(Add("edu", std::move(options)), IsOk());
  EXPECT_THAT(Add("edu"), StatusIs(absl::StatusCode::kAlreadyExists,
                                   HasSubstr("0000:00:02.0")));
  options = {};
  options.has_iommu = false;
  EXPECT_THAT(Add("edu", std::move(options)),
              StatusIs(absl::StatusCode::kAlreadyExists));
}

TEST_F(FakeMachineTest, WrongFixtureIsRefused) {
  fixture::PciDevice device = LoadDevice("edu");
  device.mutable_regions(0)->set_size(3);
  EXPECT_THAT(host_.vfio().AddDevice(device),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("regions[0].size")));
}

TEST_F(FakeMachineTest, UnsafeInterruptsAreNotPermitted) {
  SimulatedHost::Options options;
  options.vfio.iommu.interrupt_remapping = false;
  SimulatedHost host(options);
  ASSERT_THAT(host.vfio().AddDevice(LoadDevice("edu")), IsOk());
  int container = host.kernel().Open("/dev/vfio/vfio", O_RDWR).value;
  const int group = host.kernel().Open("/dev/vfio/3", O_RDWR).value;
  EXPECT_TRUE(
      host.kernel().Ioctl(group, VFIO_GROUP_SET_CONTAINER, &container).ok());
  EXPECT_EQ(host.kernel()
                .IoctlInt(container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU)
                .error,
            EPERM);
  host.kernel().Close(group);
  host.kernel().Close(container);
}

TEST_F(FakeMachineTest, LastGroupOutTakesTheMappingsAlong) {
  ASSERT_THAT(Add("edu"), IsOk());
  int container = Open("/dev/vfio/vfio");
  const int group = Open("/dev/vfio/3");
  ASSERT_EQ(Ioctl(group, VFIO_GROUP_SET_CONTAINER, &container), 0);
  ASSERT_TRUE(host_.kernel()
                  .IoctlInt(container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU)
                  .ok());
  const auto memory = host_.kernel().Mmap(nullptr, kVfioPage, PROT_READ,
                                          MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  vfio_iommu_type1_dma_map map = {};
  map.argsz = sizeof(map);
  map.flags = kRead;
  map.vaddr = reinterpret_cast<uintptr_t>(memory.value);
  map.size = kVfioPage;
  ASSERT_EQ(Ioctl(container, VFIO_IOMMU_MAP_DMA, &map), 0);
  EXPECT_EQ(host_.vfio().DmaMappings(pci::Bdf(0, 0, 2, 0)).size(), 1u);
  ASSERT_EQ(Ioctl(group, VFIO_GROUP_UNSET_CONTAINER, nullptr), 0);
  EXPECT_EQ(Ioctl(container, VFIO_IOMMU_MAP_DMA, &map), -EINVAL);
  host_.kernel().Munmap(memory.value, kVfioPage);
}

TEST_F(FakeMachineTest, TwoGroupsShareAContainersMappings) {
  ASSERT_THAT(Add("edu"), IsOk());
  ASSERT_THAT(Add("nvme"), IsOk());
  VfioUser user(&host_, pci::Bdf(0, 0, 2, 0), 3);
  const int other = Open("/dev/vfio/7");
  int container = user.container();
  ASSERT_EQ(Ioctl(other, VFIO_GROUP_SET_CONTAINER, &container), 0);
  ASSERT_EQ(user.MapDma(0, user.NewMemory(kVfioPage), kVfioPage, kReadAndWrite),
            0);
  EXPECT_EQ(host_.vfio().DmaMappings(pci::Bdf(0, 2, 0, 0)),
            host_.vfio().DmaMappings(pci::Bdf(0, 0, 2, 0)));
  EXPECT_EQ(host_.vfio().DmaMappings(pci::Bdf(0, 2, 0, 0)).size(), 1u);
  // Unmaps before the destructor releases the memory, because the other group
  // keeps the container.
  EXPECT_EQ(user.UnmapDma(0, kVfioPage), 0);
}

// ---- Resets of several functions.

TEST_F(FakeMachineTest, HotResetNeedsEveryGroupAndResetsAll) {
  fixture::PciDevice first = LoadDevice("nvme");
  first.mutable_reset()->set_hot_reset_errno(0);
  first.mutable_reset()->add_hot_reset_also_affects("0000:02:00.1");
  ASSERT_THAT(host_.vfio().AddDevice(first), IsOk());
  ASSERT_THAT(Add("nvme", {.bdf = pci::Bdf(0, 2, 0, 1), .group = 8}), IsOk());
  VfioUser user(&host_, pci::Bdf(0, 2, 0, 0), 7);
  const int other = Open("/dev/vfio/8");

  std::vector<int32_t> request(5);
  request[0] = 20;  // argsz
  request[2] = 1;   // count
  request[3] = user.group();
  EXPECT_EQ(Ioctl(user.device(), VFIO_DEVICE_PCI_HOT_RESET, request.data()),
            -EINVAL);
  request[2] = 2;
  request[4] = other;
  const uint64_t before = host_.vfio().Snapshot(pci::Bdf(0, 2, 0, 1))->resets;
  EXPECT_EQ(Ioctl(user.device(), VFIO_DEVICE_PCI_HOT_RESET, request.data()), 0);
  EXPECT_EQ(host_.vfio().Snapshot(pci::Bdf(0, 2, 0, 1))->resets, before + 1);
}

// Two functions below one port. Neither can be reset by the bus alone
// (pci_parent_bus_reset()), and each is listed with the other.
TEST_F(FakeMachineTest, FunctionsOfOneBusAreResetTogether) {
  fixture::PciDevice xhci = LoadDevice("xhci");
  xhci.mutable_reset()->set_hot_reset_errno(0);
  ASSERT_THAT(
      host_.vfio().AddDevice(xhci, {.bdf = pci::Bdf(0, 2, 0, 0), .group = 7}),
      IsOk());
  ASSERT_THAT(Add("pvscsi", {.bdf = pci::Bdf(0, 2, 0, 1), .group = 8}), IsOk());
  VfioUser user(&host_, pci::Bdf(0, 2, 0, 0), 7);

  vfio_device_info info = {};
  info.argsz = sizeof(info);
  ASSERT_EQ(Ioctl(user.device(), VFIO_DEVICE_GET_INFO, &info), 0);
  EXPECT_EQ(info.flags & VFIO_DEVICE_FLAGS_RESET, 0u);
  EXPECT_EQ(Ioctl(user.device(), VFIO_DEVICE_RESET, nullptr), -EINVAL);

  std::vector<uint32_t> list(3 + 2 * 2);
  list[0] = 4 * 7;  // argsz
  ASSERT_EQ(
      Ioctl(user.device(), VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, list.data()), 0);
  EXPECT_EQ(list[2], 2u);  // count
  EXPECT_EQ(list[3], 7u);  // group_id
  EXPECT_EQ(list[5], 8u);

  const int other = Open("/dev/vfio/8");
  std::vector<int32_t> request = {20, 0, 2, user.group(), other};
  ASSERT_THAT(host_.vfio().SetDriver(pci::Bdf(0, 2, 0, 1), ""), IsOk());
  EXPECT_EQ(Ioctl(user.device(), VFIO_DEVICE_PCI_HOT_RESET, request.data()),
            -EINVAL);
  ASSERT_THAT(host_.vfio().SetDriver(pci::Bdf(0, 2, 0, 1), "vfio-pci"), IsOk());
  EXPECT_EQ(Ioctl(user.device(), VFIO_DEVICE_PCI_HOT_RESET, request.data()), 0);
}

// A function that was reset alone until another one appeared on its bus.
TEST_F(FakeMachineTest, TheBusResetOfAFunctionEndsWhenItIsNoLongerAlone) {
  ASSERT_THAT(Add("pvscsi", {.bdf = pci::Bdf(0, 2, 0, 0), .group = 7}), IsOk());
  VfioUser user(&host_, pci::Bdf(0, 2, 0, 0), 7);
  EXPECT_EQ(Ioctl(user.device(), VFIO_DEVICE_RESET, nullptr), 0);
  ASSERT_THAT(Add("xhci", {.bdf = pci::Bdf(0, 2, 0, 1), .group = 8}), IsOk());
  EXPECT_EQ(Ioctl(user.device(), VFIO_DEVICE_RESET, nullptr), -ENOTTY);
}

TEST_F(FakeMachineTest, ADeviceThatDiesAtItsResetReadsAllOnes) {
  ASSERT_THAT(Add("pvscsi", {.bdf = pci::Bdf(0, 2, 0, 0), .group = 7}), IsOk());
  VfioUser user(&host_, pci::Bdf(0, 2, 0, 0), 7);
  ASSERT_THAT(host_.vfio().DieAtNextReset(pci::Bdf(0, 2, 0, 0)), IsOk());
  EXPECT_NE(user.ReadConfig(0x08, 4), 0xffffffffu);
  EXPECT_EQ(Ioctl(user.device(), VFIO_DEVICE_RESET, nullptr), 0);
  EXPECT_EQ(user.ReadConfig(0x08, 4), 0xffffffffu);
  // These are the kernel's copies.
  EXPECT_EQ(user.ReadConfig(0x00, 2), 0x15adu);
}

}  // namespace
}  // namespace passthru::fake
