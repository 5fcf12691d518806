// SPDX-License-Identifier: Apache-2.0
#include "testing/simulate/clients/client.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

namespace client {

Device Open(const char* address, int group) {
  const int container = open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC);
  EXPECT(container >= 0);
  return OpenIn(container, address, group);
}

Device OpenIn(int container, const char* address, int group) {
  Device device;
  device.container = container;
  char path[32];
  snprintf(path, sizeof(path), "/dev/vfio/%d", group);
  device.group = open(path, O_RDWR | O_CLOEXEC);
  EXPECT(device.group >= 0);
  EXPECT(ioctl(device.group, VFIO_GROUP_SET_CONTAINER, &device.container) == 0);
  // A container that has another group has its IOMMU, too.
  EXPECT(ioctl(device.container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU) == 0 ||
         errno == EINVAL);
  device.fd = ioctl(device.group, VFIO_GROUP_GET_DEVICE_FD, address);
  EXPECT(device.fd >= 0);
  return device;
}

void Close(const Device& device) {
  EXPECT(close(device.fd) == 0);
  EXPECT(close(device.group) == 0);
  EXPECT(close(device.container) == 0);
}

vfio_region_info Region(const Device& device, uint32_t index) {
  vfio_region_info info = {};
  info.argsz = sizeof(info);
  info.index = index;
  EXPECT(ioctl(device.fd, VFIO_DEVICE_GET_REGION_INFO, &info) == 0);
  return info;
}

uint8_t* MapBar(const Device& device, uint32_t index) {
  const vfio_region_info info = Region(device, index);
  void* const bar = mmap(nullptr, info.size, PROT_READ | PROT_WRITE, MAP_SHARED,
                         device.fd, static_cast<off_t>(info.offset));
  EXPECT(bar != MAP_FAILED);
  return static_cast<uint8_t*>(bar);
}

void SetCommand(const Device& device, uint16_t command) {
  const vfio_region_info config = Region(device, VFIO_PCI_CONFIG_REGION_INDEX);
  EXPECT(pwrite(device.fd, &command, 2,
                static_cast<off_t>(config.offset + 4)) == 2);
}

int MapDma(const Device& device, void* memory, uint64_t iova, uint64_t size) {
  vfio_iommu_type1_dma_map map = {};
  map.argsz = sizeof(map);
  map.flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE;
  map.vaddr = reinterpret_cast<uint64_t>(memory);
  map.iova = iova;
  map.size = size;
  return ioctl(device.container, VFIO_IOMMU_MAP_DMA, &map) == 0 ? 0 : errno;
}

int SetTriggers(const Device& device, uint32_t index, uint32_t start,
                const int* fds, uint32_t count) {
  alignas(vfio_irq_set) char bytes[sizeof(vfio_irq_set) + 16 * sizeof(int)];
  auto* const set = reinterpret_cast<vfio_irq_set*>(bytes);
  EXPECT(count <= 16);
  const uint32_t data =
      fds == nullptr ? VFIO_IRQ_SET_DATA_NONE : VFIO_IRQ_SET_DATA_EVENTFD;
  set->argsz = static_cast<uint32_t>(
      sizeof(*set) + (fds == nullptr ? 0 : count * sizeof(int)));
  set->flags = data | VFIO_IRQ_SET_ACTION_TRIGGER;
  set->index = index;
  set->start = start;
  set->count = count;
  if (fds != nullptr) memcpy(set->data, fds, count * sizeof(int));
  return ioctl(device.fd, VFIO_DEVICE_SET_IRQS, set) == 0 ? 0 : errno;
}

}  // namespace client
