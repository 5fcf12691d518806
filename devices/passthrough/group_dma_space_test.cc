// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/passthrough/group_dma_space.h"

#include <fcntl.h>
#include <linux/vfio.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "absl/log/scoped_mock_log.h"
#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/devices/kernel/file_descriptor.h"
#include "passthru/devices/kernel/mapped_region.h"
#include "passthru/devices/kvm/kvm_vm.h"
#include "passthru/devices/memory/guest_address.h"
#include "passthru/devices/memory/guest_memory_map.h"
#include "passthru/devices/memory/memory_area.h"
#include "passthru/devices/vfio/vfio_device.h"
#include "passthru/pci/bdf.h"
#include "passthru/testing/host/fake_kernel.h"
#include "passthru/testing/journal/journal.h"
#include "passthru/testing/rig/vfio_host_test.h"

namespace passthru::passthrough {
namespace {

using absl_testing::IsOk;
using absl_testing::StatusIs;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

constexpr uint64_t kRamSize = 0x10000;

// A VM with some RAM, and three devices on the host. The NVMe controller and
// the edu share group 7.
class GroupDmaSpaceTest : public fake::VfioTest {
 protected:
  void SetUp() override {
    nvme_ = Plug("nvme", {.group = 7});
    edu_ = Plug("edu", {.group = 7});
    nic_ = Plug("e1000e", {.group = 8});
    auto vm = kvm::KvmVm::Create(&kernel());
    ASSERT_THAT(vm, IsOk());
    vm_ = *std::move(vm);
    auto ram = kernel::MappedRegion::Allocate(&kernel(), kRamSize, "RAM");
    ASSERT_THAT(ram, IsOk());
    ram_ = *std::move(ram);
    ASSERT_THAT(memory_.Add({.guest = memory::GuestAddress(0),
                             .size = kRamSize,
                             .host = ram_.data(),
                             .kind = memory::MemoryArea::Kind::kRam,
                             .name = "ram"}),
                IsOk());
    space_ = std::make_unique<GroupDmaSpace>(GroupDmaSpace::Options{
        .syscalls = &kernel(), .memory = &memory_, .vm = vm_.get()});
  }

  void TearDown() override {
    space_.reset();
    vm_.reset();
  }

  // Puts `device` into the address space and takes it out again.
  void OpenAndRelease(pci::Bdf device) {
    auto opened = space_->Open(device);
    ASSERT_THAT(opened, IsOk());
    EXPECT_EQ((*opened)->address(), device);
    opened->reset();
    EXPECT_THAT(space_->Release(device), IsOk());
  }

  size_t Count(const std::string& call) {
    return kernel().journal().Count(call);
  }

  // Opens a file as another process would, and hands the descriptor over.
  kernel::FileDescriptor OpenElsewhere(const char* path) {
    const auto opened = kernel().Open(path, O_RDWR | O_CLOEXEC);
    EXPECT_EQ(opened.error, 0) << path;
    return kernel::FileDescriptor(&kernel(), opened.value);
  }

  pci::Bdf nvme_;
  pci::Bdf edu_;
  pci::Bdf nic_;
  memory::GuestMemoryMap memory_;
  std::unique_ptr<kvm::KvmVm> vm_;
  kernel::MappedRegion ram_;
  std::unique_ptr<GroupDmaSpace> space_;
};

TEST_F(GroupDmaSpaceTest, RamIsMappedWhileADeviceIsOpen) {
  auto device = space_->Open(nvme_);
  ASSERT_THAT(device, IsOk());
  EXPECT_EQ(Count("VFIO_IOMMU_MAP_DMA"), 1u);
  EXPECT_EQ(Count("VFIO_IOMMU_UNMAP_DMA"), 0u);
  device->reset();
  EXPECT_THAT(space_->Release(nvme_), IsOk());
  EXPECT_EQ(Count("VFIO_IOMMU_UNMAP_DMA"), 1u);
}

TEST_F(GroupDmaSpaceTest, DevicesOfAGroupShareIt) {
  auto nvme = space_->Open(nvme_);
  auto edu = space_->Open(edu_);
  ASSERT_THAT(nvme, IsOk());
  ASSERT_THAT(edu, IsOk());
  EXPECT_EQ((*nvme)->group(), (*edu)->group());
  EXPECT_EQ(Count("VFIO_GROUP_SET_CONTAINER"), 1u);
  nvme->reset();
  EXPECT_THAT(space_->Release(nvme_), IsOk());
  EXPECT_EQ(Count("VFIO_GROUP_UNSET_CONTAINER"), 0u);
  edu->reset();
  EXPECT_THAT(space_->Release(edu_), IsOk());
  EXPECT_EQ(Count("VFIO_GROUP_UNSET_CONTAINER"), 1u);
}

TEST_F(GroupDmaSpaceTest, GroupsShareTheContainerAndItsMappings) {
  auto nvme = space_->Open(nvme_);
  auto nic = space_->Open(nic_);
  ASSERT_THAT(nvme, IsOk());
  ASSERT_THAT(nic, IsOk());
  EXPECT_EQ(Count("VFIO_SET_IOMMU"), 1u);
  EXPECT_EQ(Count("VFIO_IOMMU_MAP_DMA"), 1u);
  nvme->reset();
  nic->reset();
  EXPECT_THAT(space_->Release(nic_), IsOk());
  EXPECT_THAT(space_->Release(nvme_), IsOk());
}

// The host's administrator unbinds an open device. The kernel waits until it is
// closed, and then takes the group and the mappings from the container.
TEST_F(GroupDmaSpaceTest, ADeviceThatTheHostUnboundIsReleased) {
  absl::ScopedMockLog log(absl::MockLogDefault::kDisallowUnexpected);
  log.StartCapturingLogs();
  auto nic = space_->Open(nic_);
  ASSERT_THAT(nic, IsOk());
  ASSERT_THAT(host().vfio().SetDriver(nic_, ""), IsOk());
  EXPECT_THAT(host().vfio().DmaMappings(nic_), SizeIs(1));
  nic->reset();
  EXPECT_THAT(host().vfio().DmaMappings(nic_), IsEmpty());
  EXPECT_THAT(space_->Release(nic_), IsOk());
  ASSERT_THAT(host().vfio().SetDriver(nic_, "vfio-pci"), IsOk());
  OpenAndRelease(nic_);
}

TEST_F(GroupDmaSpaceTest, ADeviceIsOpenedOnceAndReleasedOnce) {
  auto device = space_->Open(nvme_);
  ASSERT_THAT(device, IsOk());
  EXPECT_THAT(space_->Open(nvme_),
              StatusIs(absl::StatusCode::kAlreadyExists,
                       HasSubstr("is open in this VM already")));
  device->reset();
  EXPECT_THAT(space_->Release(nvme_), IsOk());
  EXPECT_THAT(space_->Release(nvme_), StatusIs(absl::StatusCode::kNotFound));
  OpenAndRelease(nvme_);
}

// A virtual function whose physical function is another user's of vfio-pci.
TEST_F(GroupDmaSpaceTest, AVirtualFunctionTakesTheTokenOfItsPhysicalOne) {
  constexpr char kToken[] = "83d8f4f2-509f-382f-3c1e-e6bfe0fa1003";
  const pci::Bdf vf = Plug("igb_vf", {.group = 30, .vf_token = kToken});
  EXPECT_THAT(space_->Open(vf),
              StatusIs(absl::StatusCode::kPermissionDenied,
                       HasSubstr("opening it takes the vf_token")));
  EXPECT_THAT(space_->Open(vf, "83d8f4f2-509f-382f-3c1e-e6bfe0fa1004"),
              StatusIs(absl::StatusCode::kPermissionDenied,
                       HasSubstr("is not the one")));
  EXPECT_THAT(space_->Open(vf, "83d8f4f2"),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("is not a vf_token")));
  auto opened = space_->Open(vf, "83D8F4F2-509f-382f-3c1e-e6bfe0fa1003");
  EXPECT_THAT(opened, IsOk());
  opened->reset();
  EXPECT_THAT(space_->Release(vf), IsOk());
  EXPECT_THAT(space_->Open(nvme_, kToken),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("takes no vf_token")));
}

TEST_F(GroupDmaSpaceTest, WithoutAVmKvmIsNotTold) {
  space_ = std::make_unique<GroupDmaSpace>(
      GroupDmaSpace::Options{.syscalls = &kernel(), .memory = &memory_});
  OpenAndRelease(nvme_);
  EXPECT_EQ(Count("KVM_CREATE_DEVICE"), 0u);
}

TEST_F(GroupDmaSpaceTest, AFailedOpenLeavesNothing) {
  kernel().SetOpenError("/dev/vfio/8", EACCES);
  EXPECT_THAT(space_->Open(nic_),
              StatusIs(absl::StatusCode::kPermissionDenied));
  kernel().SetOpenError("/dev/vfio/8", 0);
  OpenAndRelease(nic_);
}

// A launcher with more rights opens the files and passes the descriptors on.
TEST_F(GroupDmaSpaceTest, AdoptsFreshDescriptors) {
  kernel::FileDescriptor container = OpenElsewhere("/dev/vfio/vfio");
  kernel::FileDescriptor group = OpenElsewhere("/dev/vfio/7");
  kernel().SetOpenError("/dev/vfio/vfio", EACCES);
  kernel().SetOpenError("/dev/vfio/7", EACCES);
  ASSERT_THAT(space_->AdoptContainer(std::move(container)), IsOk());
  ASSERT_THAT(space_->AdoptGroup(7, std::move(group)), IsOk());
  OpenAndRelease(nvme_);
  EXPECT_EQ(Count("VFIO_SET_IOMMU"), 1u);
  // They were given back with the last device.
  EXPECT_THAT(space_->Open(nvme_),
              StatusIs(absl::StatusCode::kPermissionDenied));
}

// The other party went further: the group is attached, the IOMMU is set, and
// the device is open.
TEST_F(GroupDmaSpaceTest, AdoptsAnAttachedGroupWithItsDevice) {
  kernel::FileDescriptor container = OpenElsewhere("/dev/vfio/vfio");
  kernel::FileDescriptor group = OpenElsewhere("/dev/vfio/7");
  int fd = container.get();
  ASSERT_EQ(kernel().Ioctl(group.get(), VFIO_GROUP_SET_CONTAINER, &fd).error,
            0);
  ASSERT_EQ(kernel()
                .IoctlInt(container.get(), VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU)
                .error,
            0);
  std::string name = nvme_.ToString();
  const auto device =
      kernel().Ioctl(group.get(), VFIO_GROUP_GET_DEVICE_FD, name.data());
  ASSERT_EQ(device.error, 0);
  ASSERT_THAT(space_->AdoptContainer(std::move(container)), IsOk());
  ASSERT_THAT(space_->AdoptGroup(7, std::move(group)), IsOk());
  ASSERT_THAT(space_->AdoptDevice(
                  nvme_, kernel::FileDescriptor(&kernel(), device.value)),
              IsOk());
  OpenAndRelease(nvme_);
  EXPECT_EQ(Count("VFIO_GROUP_SET_CONTAINER"), 1u);
  EXPECT_EQ(Count("VFIO_SET_IOMMU"), 1u);
  EXPECT_EQ(Count("VFIO_GROUP_GET_DEVICE_FD"), 1u);
}

// A second group joins a container whose IOMMU is set already.
TEST_F(GroupDmaSpaceTest, AnAdoptedIommuIsNotSetAgain) {
  kernel::FileDescriptor container = OpenElsewhere("/dev/vfio/vfio");
  kernel::FileDescriptor others = OpenElsewhere("/dev/vfio/8");
  int fd = container.get();
  ASSERT_EQ(kernel().Ioctl(others.get(), VFIO_GROUP_SET_CONTAINER, &fd).error,
            0);
  ASSERT_EQ(kernel()
                .IoctlInt(container.get(), VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU)
                .error,
            0);
  ASSERT_THAT(space_->AdoptContainer(std::move(container)), IsOk());
  OpenAndRelease(nvme_);
  EXPECT_EQ(Count("VFIO_SET_IOMMU"), 1u);
  others.reset();
}

TEST_F(GroupDmaSpaceTest, WhatIsOpenCannotBeAdopted) {
  auto device = space_->Open(nvme_);
  ASSERT_THAT(device, IsOk());
  EXPECT_THAT(space_->AdoptContainer(OpenElsewhere("/dev/vfio/vfio")),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("one is open already")));
  EXPECT_THAT(space_->AdoptGroup(7, kernel::FileDescriptor()),
              StatusIs(absl::StatusCode::kFailedPrecondition));
  EXPECT_THAT(space_->AdoptDevice(nvme_, kernel::FileDescriptor()),
              StatusIs(absl::StatusCode::kFailedPrecondition));
  device->reset();
  EXPECT_THAT(space_->Release(nvme_), IsOk());
}

TEST_F(GroupDmaSpaceTest, AFileThatIsNoContainerIsNotAdopted) {
  EXPECT_FALSE(space_->AdoptContainer(OpenElsewhere("/dev/kvm")).ok());
  OpenAndRelease(nvme_);
}

}  // namespace
}  // namespace passthru::passthrough
