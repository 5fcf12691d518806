// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/rig/vfio_user.h"

#include <fcntl.h>
#include <linux/vfio.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "passthru/testing/fixture/fixture.h"
#include "passthru/testing/fixture/fixture_bytes.h"
#include "passthru/testing/journal/vfio_offset.h"

namespace passthru::fake {
namespace {

template <typename T>
int64_t ResultOf(const kernel::SyscallResult<T>& result) {
  return result.ok() ? static_cast<int64_t>(result.value)
                     : -int64_t{result.error};
}

}  // namespace

fixture::PciDevice LoadDevice(const std::string& name) {
  auto device = fixture::LoadFixture("testing/fixtures/" + name + ".textproto");
  EXPECT_TRUE(device.ok()) << device.status();
  return device.value_or(fixture::PciDevice());
}

void SetConfigBytes(fixture::PciDevice& device, uint32_t offset,
                    const std::vector<uint8_t>& bytes) {
  std::vector<uint8_t> config =
      fixture::ExpandRows(device.config(), device.config_space_size());
  ASSERT_LE(offset + bytes.size(), config.size());
  std::memcpy(config.data() + offset, bytes.data(), bytes.size());
  device.clear_config();
  for (size_t row = 0; row < config.size(); row += 16) {
    fixture::ByteRow* added = device.add_config();
    added->set_offset(static_cast<uint32_t>(row));
    added->set_bytes(
        absl::StrJoin(config.begin() + static_cast<ptrdiff_t>(row),
                      config.begin() + static_cast<ptrdiff_t>(row + 16), " ",
                      [](std::string* out, uint8_t byte) {
                        absl::StrAppendFormat(out, "%02x", byte);
                      }));
  }
}

VfioUser::VfioUser(SimulatedHost* host, const pci::Bdf& bdf, uint32_t group)
    : host_(host) {
  FakeKernel& kernel = host_->kernel();
  container_ = kernel.Open("/dev/vfio/vfio", O_RDWR).value;
  group_ = kernel.Open(absl::StrCat("/dev/vfio/", group).c_str(), O_RDWR).value;
  EXPECT_EQ(Ioctl(group_, VFIO_GROUP_SET_CONTAINER, &container_), 0);
  EXPECT_EQ(
      kernel.IoctlInt(container_, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU).error, 0);
  std::string name = bdf.ToString();
  device_ = Ioctl(group_, VFIO_GROUP_GET_DEVICE_FD, name.data());
  EXPECT_GE(device_, 0);
}

VfioUser::~VfioUser() {
  CloseDevice();
  for (const int fd : eventfds_) host_->kernel().Close(fd);
  host_->kernel().Close(group_);
  host_->kernel().Close(container_);
  // The IOMMU has unpinned the memory.
  for (const auto& [address, size] : memory_) {
    host_->kernel().Munmap(address, size);
  }
}

void VfioUser::CloseDevice() {
  if (device_ >= 0) host_->kernel().Close(std::exchange(device_, -1));
}

int VfioUser::Ioctl(int fd, unsigned long request, void* arg) {
  return static_cast<int>(ResultOf(host_->kernel().Ioctl(fd, request, arg)));
}

uint32_t VfioUser::ReadConfig(uint64_t offset, unsigned width) {
  uint32_t value = 0;
  const auto result = host_->kernel().Pread(
      device_, &value, width,
      journal::FileOffset(VFIO_PCI_CONFIG_REGION_INDEX, offset));
  EXPECT_EQ(ResultOf(result), width) << "at offset " << offset;
  return value;
}

void VfioUser::WriteConfig(uint64_t offset, unsigned width, uint32_t value) {
  const auto result = host_->kernel().Pwrite(
      device_, &value, width,
      journal::FileOffset(VFIO_PCI_CONFIG_REGION_INDEX, offset));
  EXPECT_EQ(ResultOf(result), width) << "at offset " << offset;
}

int64_t VfioUser::ReadBar(unsigned bar, uint64_t offset, unsigned width,
                          uint64_t* value) {
  *value = 0;
  return ResultOf(host_->kernel().Pread(device_, value, width,
                                        journal::FileOffset(bar, offset)));
}

int64_t VfioUser::WriteBar(unsigned bar, uint64_t offset, unsigned width,
                           uint64_t value) {
  return ResultOf(host_->kernel().Pwrite(device_, &value, width,
                                         journal::FileOffset(bar, offset)));
}

void* VfioUser::MapBar(unsigned bar, uint64_t offset, size_t length) {
  const auto mapped =
      host_->kernel().Mmap(nullptr, length, PROT_READ | PROT_WRITE, MAP_SHARED,
                           device_, journal::FileOffset(bar, offset));
  EXPECT_EQ(mapped.error, 0);
  return mapped.value;
}

void VfioUser::UnmapBar(void* address, size_t length) {
  EXPECT_EQ(host_->kernel().Munmap(address, length).error, 0);
}

int VfioUser::SetEventfds(uint32_t index, uint32_t action, uint32_t start,
                          const std::vector<int>& fds) {
  vfio_irq_set header = {};
  std::vector<uint8_t> request(sizeof(header) + fds.size() * sizeof(int32_t));
  header.argsz = static_cast<uint32_t>(request.size());
  header.flags = VFIO_IRQ_SET_DATA_EVENTFD | action;
  header.index = index;
  header.start = start;
  header.count = static_cast<uint32_t>(fds.size());
  std::memcpy(request.data(), &header, sizeof(header));
  if (!fds.empty()) {
    std::memcpy(request.data() + sizeof(header), fds.data(),
                fds.size() * sizeof(int32_t));
  }
  return Ioctl(device_, VFIO_DEVICE_SET_IRQS, request.data());
}

int VfioUser::SetNone(uint32_t index, uint32_t action, uint32_t start,
                      uint32_t count) {
  vfio_irq_set header = {};
  header.argsz = sizeof(header);
  header.flags = VFIO_IRQ_SET_DATA_NONE | action;
  header.index = index;
  header.start = start;
  header.count = count;
  return Ioctl(device_, VFIO_DEVICE_SET_IRQS, &header);
}

int VfioUser::MapDma(uint64_t iova, void* address, uint64_t size,
                     uint32_t flags) {
  vfio_iommu_type1_dma_map map = {};
  map.argsz = sizeof(map);
  map.flags = flags;
  map.vaddr = reinterpret_cast<uintptr_t>(address);
  map.iova = iova;
  map.size = size;
  return Ioctl(container_, VFIO_IOMMU_MAP_DMA, &map);
}

int VfioUser::UnmapDma(uint64_t iova, uint64_t size) {
  vfio_iommu_type1_dma_unmap unmap = {};
  unmap.argsz = sizeof(unmap);
  unmap.iova = iova;
  unmap.size = size;
  return Ioctl(container_, VFIO_IOMMU_UNMAP_DMA, &unmap);
}

int VfioUser::NewEventfd() {
  eventfds_.push_back(
      host_->kernel().Eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC).value);
  return eventfds_.back();
}

uint64_t VfioUser::Count(int eventfd) {
  uint64_t count = 0;
  return host_->kernel().Read(eventfd, &count, sizeof(count)).ok() ? count : 0;
}

void VfioUser::Signal(int eventfd) {
  const uint64_t one = 1;
  EXPECT_EQ(host_->kernel().Write(eventfd, &one, sizeof(one)).error, 0);
}

uint8_t* VfioUser::NewMemory(size_t size) {
  const auto mapped =
      host_->kernel().Mmap(nullptr, size, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  EXPECT_EQ(mapped.error, 0);
  memory_.emplace_back(mapped.value, size);
  return static_cast<uint8_t*>(mapped.value);
}

void VfioDeviceTest::Start(const fixture::PciDevice& device,
                           DeviceOptions options, SimulatedHost::Options host) {
  host_ = std::make_unique<SimulatedHost>(std::move(host));
  bdf_ = options.bdf.value_or(*pci::Bdf::Parse(device.bdf()));
  group_ = options.group.value_or(device.iommu_group().number());
  const absl::Status added =
      host_->vfio().AddDevice(device, std::move(options));
  ASSERT_TRUE(added.ok()) << added;
  OpenUser();
}

void VfioDeviceTest::StartWithModel(const fixture::PciDevice& device,
                                    SimulatedHost::Options host) {
  auto model = MakeModel(device);
  ASSERT_TRUE(model.ok()) << model.status();
  DeviceOptions options;
  options.model = *std::move(model);
  Start(device, std::move(options), std::move(host));
}

void VfioDeviceTest::OpenUser() {
  user_ = std::make_unique<VfioUser>(host_.get(), bdf_, group_);
}

VfioDeviceTest::~VfioDeviceTest() {
  user_.reset();
  if (host_ == nullptr) return;
  EXPECT_TRUE(host_->kernel().CheckLeaks().empty())
      << host_->kernel().CheckLeaks();
}

FakeVfioDevice::Snapshot VfioDeviceTest::Snapshot() {
  return host_->vfio().Snapshot(bdf_).value();
}

uint32_t VfioDeviceTest::Physical(uint16_t offset, unsigned width) {
  uint32_t value = 0;
  EXPECT_TRUE(host_->vfio()
                  .WithHardware(bdf_,
                                [&](models::DevicePlatform& hardware) {
                                  value = hardware.ReadConfig(offset, width);
                                })
                  .ok());
  return value;
}

void VfioDeviceTest::RaiseMsix(uint16_t vector) {
  EXPECT_TRUE(host_->vfio()
                  .WithHardware(bdf_,
                                [&](models::DevicePlatform& hardware) {
                                  hardware.RaiseMsix(vector);
                                })
                  .ok());
}

void VfioDeviceTest::RaiseMsi(uint16_t vector) {
  EXPECT_TRUE(host_->vfio()
                  .WithHardware(bdf_,
                                [&](models::DevicePlatform& hardware) {
                                  hardware.RaiseMsi(vector);
                                })
                  .ok());
}

void VfioDeviceTest::SetIntx(bool asserted) {
  EXPECT_TRUE(host_->vfio()
                  .WithHardware(bdf_,
                                [&](models::DevicePlatform& hardware) {
                                  hardware.SetIntx(asserted);
                                })
                  .ok());
}

}  // namespace passthru::fake
