// SPDX-License-Identifier: Apache-2.0
#include "vmm/call_counter.h"

#include <linux/kvm.h>
#include <linux/vfio.h>

#include <utility>

#include "absl/strings/str_cat.h"

namespace passthru::vmm {
namespace {

// In the order of the headers, what this code base uses.
constexpr std::pair<unsigned long, const char*> kIoctlNames[] = {
    {KVM_GET_API_VERSION, "KVM_GET_API_VERSION"},
    {KVM_CREATE_VM, "KVM_CREATE_VM"},
    {KVM_CHECK_EXTENSION, "KVM_CHECK_EXTENSION"},
    {KVM_GET_VCPU_MMAP_SIZE, "KVM_GET_VCPU_MMAP_SIZE"},
    {KVM_GET_SUPPORTED_CPUID, "KVM_GET_SUPPORTED_CPUID"},
    {KVM_CREATE_VCPU, "KVM_CREATE_VCPU"},
    {KVM_SET_USER_MEMORY_REGION, "KVM_SET_USER_MEMORY_REGION"},
    {KVM_SET_TSS_ADDR, "KVM_SET_TSS_ADDR"},
    {KVM_SET_IDENTITY_MAP_ADDR, "KVM_SET_IDENTITY_MAP_ADDR"},
    {KVM_CREATE_IRQCHIP, "KVM_CREATE_IRQCHIP"},
    {KVM_CREATE_PIT2, "KVM_CREATE_PIT2"},
    {KVM_SET_GSI_ROUTING, "KVM_SET_GSI_ROUTING"},
    {KVM_IRQFD, "KVM_IRQFD"},
    {KVM_SIGNAL_MSI, "KVM_SIGNAL_MSI"},
    {KVM_CREATE_DEVICE, "KVM_CREATE_DEVICE"},
    {KVM_SET_DEVICE_ATTR, "KVM_SET_DEVICE_ATTR"},
    {KVM_RUN, "KVM_RUN"},
    {KVM_GET_REGS, "KVM_GET_REGS"},
    {KVM_SET_REGS, "KVM_SET_REGS"},
    {KVM_GET_SREGS, "KVM_GET_SREGS"},
    {KVM_SET_SREGS, "KVM_SET_SREGS"},
    {KVM_SET_CPUID2, "KVM_SET_CPUID2"},
    {VFIO_GET_API_VERSION, "VFIO_GET_API_VERSION"},
    {VFIO_CHECK_EXTENSION, "VFIO_CHECK_EXTENSION"},
    {VFIO_SET_IOMMU, "VFIO_SET_IOMMU"},
    {VFIO_GROUP_GET_STATUS, "VFIO_GROUP_GET_STATUS"},
    {VFIO_GROUP_SET_CONTAINER, "VFIO_GROUP_SET_CONTAINER"},
    {VFIO_GROUP_UNSET_CONTAINER, "VFIO_GROUP_UNSET_CONTAINER"},
    {VFIO_GROUP_GET_DEVICE_FD, "VFIO_GROUP_GET_DEVICE_FD"},
    {VFIO_DEVICE_GET_INFO, "VFIO_DEVICE_GET_INFO"},
    {VFIO_DEVICE_GET_REGION_INFO, "VFIO_DEVICE_GET_REGION_INFO"},
    {VFIO_DEVICE_GET_IRQ_INFO, "VFIO_DEVICE_GET_IRQ_INFO"},
    {VFIO_DEVICE_SET_IRQS, "VFIO_DEVICE_SET_IRQS"},
    {VFIO_DEVICE_RESET, "VFIO_DEVICE_RESET"},
    {VFIO_IOMMU_MAP_DMA, "VFIO_IOMMU_MAP_DMA"},
    {VFIO_IOMMU_UNMAP_DMA, "VFIO_IOMMU_UNMAP_DMA"},
};

}  // namespace

std::string IoctlName(unsigned long request) {
  // VFIO numbers its requests per descriptor type, from the same base; this one
  // is VFIO_IOMMU_GET_INFO of a container and of a device
  // VFIO_DEVICE_GET_PCI_HOT_RESET_INFO.
  if (request == VFIO_IOMMU_GET_INFO) return "VFIO_IOMMU_GET_INFO";
  for (const auto& [number, name] : kIoctlNames) {
    if (number == request) return name;
  }
  return absl::StrCat("ioctl(0x", absl::Hex(request), ")");
}

CallCounter::Counts CallCounter::Take() {
  absl::MutexLock lock(&mutex_);
  return std::exchange(counts_, {});
}

void CallCounter::Count(std::string name) {
  absl::MutexLock lock(&mutex_);
  ++counts_[std::move(name)];
}

kernel::SyscallResult<int> CallCounter::Open(const char* path, int flags) {
  Count("open");
  return ForwardingSyscalls::Open(path, flags);
}

kernel::SyscallResult<int> CallCounter::Close(int fd) {
  Count("close");
  return ForwardingSyscalls::Close(fd);
}

kernel::SyscallResult<int> CallCounter::Ioctl(int fd, unsigned long request,
                                              void* arg) {
  Count(IoctlName(request));
  return ForwardingSyscalls::Ioctl(fd, request, arg);
}

kernel::SyscallResult<size_t> CallCounter::Read(int fd, void* buffer,
                                                size_t count) {
  Count("read");
  return ForwardingSyscalls::Read(fd, buffer, count);
}

kernel::SyscallResult<size_t> CallCounter::Write(int fd, const void* buffer,
                                                 size_t count) {
  Count("write");
  return ForwardingSyscalls::Write(fd, buffer, count);
}

kernel::SyscallResult<size_t> CallCounter::Pread(int fd, void* buffer,
                                                 size_t count,
                                                 uint64_t offset) {
  Count("pread");
  return ForwardingSyscalls::Pread(fd, buffer, count, offset);
}

kernel::SyscallResult<size_t> CallCounter::Pwrite(int fd, const void* buffer,
                                                  size_t count,
                                                  uint64_t offset) {
  Count("pwrite");
  return ForwardingSyscalls::Pwrite(fd, buffer, count, offset);
}

kernel::SyscallResult<void*> CallCounter::Mmap(void* address, size_t length,
                                               int protection, int flags,
                                               int fd, uint64_t offset) {
  Count("mmap");
  return ForwardingSyscalls::Mmap(address, length, protection, flags, fd,
                                  offset);
}

kernel::SyscallResult<int> CallCounter::Munmap(void* address, size_t length) {
  Count("munmap");
  return ForwardingSyscalls::Munmap(address, length);
}

kernel::SyscallResult<int> CallCounter::Eventfd(unsigned initial, int flags) {
  Count("eventfd");
  return ForwardingSyscalls::Eventfd(initial, flags);
}

kernel::SyscallResult<int> CallCounter::EpollCreate(int flags) {
  Count("epoll_create");
  return ForwardingSyscalls::EpollCreate(flags);
}

kernel::SyscallResult<int> CallCounter::EpollCtl(int epoll_fd, int operation,
                                                 int fd, epoll_event* event) {
  Count("epoll_ctl");
  return ForwardingSyscalls::EpollCtl(epoll_fd, operation, fd, event);
}

kernel::SyscallResult<int> CallCounter::EpollWait(int epoll_fd,
                                                  epoll_event* events,
                                                  int max_events,
                                                  int timeout_ms) {
  Count("epoll_wait");
  return ForwardingSyscalls::EpollWait(epoll_fd, events, max_events,
                                       timeout_ms);
}

kernel::SyscallResult<std::string> CallCounter::Readlink(const char* path) {
  Count("readlink");
  return ForwardingSyscalls::Readlink(path);
}

kernel::SyscallResult<std::vector<std::string>> CallCounter::ReadDirectory(
    const char* path) {
  Count("readdir");
  return ForwardingSyscalls::ReadDirectory(path);
}

}  // namespace passthru::vmm
