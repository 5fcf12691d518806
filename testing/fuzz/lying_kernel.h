// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_FUZZ_LYING_KERNEL_H_
#define PASSTHRU_TESTING_FUZZ_LYING_KERNEL_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "passthru/devices/kernel/forwarding_syscalls.h"
#include "passthru/devices/kernel/syscalls.h"
#include "passthru/testing/fuzz/fuzz_input.h"

namespace passthru::fuzz {

// A kernel, with a device behind it, that does what it is asked and says
// anything about it. Its lies are made up once and then told each time.
//
// It keeps to what holds of any kernel: it writes where it was told to and no
// further, and its descriptors and mappings are what they are. A lie that
// something failed would be one too, about what is held; that is for
// fake::FaultInjector.
//
// As thread-safe as what it forwards to.
class LyingKernel final : public kernel::ForwardingSyscalls {
 public:
  // What there are lies about.
  enum class Subject : uint8_t {
    kDeviceInfo,   // VFIO_DEVICE_GET_INFO
    kRegionInfo,   // VFIO_DEVICE_GET_REGION_INFO of region `index`
    kIrqInfo,      // VFIO_DEVICE_GET_IRQ_INFO of interrupt type `index`
    kIommuInfo,    // VFIO_IOMMU_GET_INFO
    kGroupStatus,  // VFIO_GROUP_GET_STATUS
    kUnmapDma,     // VFIO_IOMMU_UNMAP_DMA: how much that was
    kRegion,       // What region `index` reads from `offset` on.
    kFile,         // What other files read.
    kSetIrqs,      // VFIO_DEVICE_SET_IRQS: how many vectors there are
    kExtension,    // VFIO_CHECK_EXTENSION, KVM_CHECK_EXTENSION of `index`
    kVcpuSize,     // KVM_GET_VCPU_MMAP_SIZE
    kShortRead,    // At most `offset` bytes are read at once.
    kLink,         // readlink(2)
    kDirectory,    // readdir(3)
    kCount
  };

  LyingKernel(kernel::Syscalls* target, FuzzInput& input);

  kernel::SyscallResult<int> Ioctl(int fd, unsigned long request,
                                   void* arg) override;
  kernel::SyscallResult<size_t> Read(int fd, void* buffer,
                                     size_t count) override;
  kernel::SyscallResult<size_t> Pread(int fd, void* buffer, size_t count,
                                      uint64_t offset) override;
  kernel::SyscallResult<std::string> Readlink(const char* path) override;
  kernel::SyscallResult<std::vector<std::string>> ReadDirectory(
      const char* path) override;

 private:
  struct Lie {
    Subject subject = Subject::kDeviceInfo;
    uint8_t index = 0;
    uint16_t offset = 0;  // Of `bytes`, in what the truth would be.
    std::vector<uint8_t> bytes;
  };

  // Puts lies into `size` bytes, which begin at `begin` of the answer.
  void Tell(Subject subject, uint64_t index, uint64_t begin, void* answer,
            size_t size) const;
  // The lie instead of a number.
  std::optional<int> Number(Subject subject, uint64_t index) const;
  std::string Text(Subject subject, std::string truth) const;
  size_t Shorten(size_t count) const;

  std::vector<Lie> lies_;
};

}  // namespace passthru::fuzz

#endif  // PASSTHRU_TESTING_FUZZ_LYING_KERNEL_H_
