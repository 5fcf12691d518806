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

// A kernel with a device that executes calls truthfully but lies about the
// results. The constructor makes the lies up, and the kernel then repeats them
// each time.
//
// It keeps to what holds for any kernel. It writes only into the caller's
// buffers, and its descriptors and mappings are real. It never pretends that a
// call failed, because the caller would then be wrong about what it holds.
// journal::FaultInjector makes calls fail.
//
// As thread-safe as the kernel to which it forwards.
class LyingKernel final : public kernel::ForwardingSyscalls {
 public:
  // The answers about which it may lie.
  enum class Subject : uint8_t {
    kDeviceInfo,   // VFIO_DEVICE_GET_INFO
    kRegionInfo,   // VFIO_DEVICE_GET_REGION_INFO of region `index`
    kIrqInfo,      // VFIO_DEVICE_GET_IRQ_INFO of interrupt type `index`
    kIommuInfo,    // VFIO_IOMMU_GET_INFO
    kGroupStatus,  // VFIO_GROUP_GET_STATUS
    kUnmapDma,     // VFIO_IOMMU_UNMAP_DMA (the size)
    kRegion,       // Reads of region `index` from `offset`.
    kFile,         // Reads of other files.
    kSetIrqs,      // VFIO_DEVICE_SET_IRQS (the vectors)
    kExtension,    // VFIO_CHECK_EXTENSION, KVM_CHECK_EXTENSION of `index`
    kVcpuSize,     // KVM_GET_VCPU_MMAP_SIZE
    kShortRead,    // Reads stop after `offset` bytes.
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
    uint16_t offset = 0;  // The place of `bytes` in the answer.
    std::vector<uint8_t> bytes;
  };

  // Puts lies into an answer's `size` bytes, which begin at its byte `begin`.
  void Tell(Subject subject, uint64_t index, uint64_t begin, void* answer,
            size_t size) const;
  // Returns the lie that replaces a number, if there is one.
  std::optional<int> Number(Subject subject, uint64_t index) const;
  std::string Text(Subject subject, std::string truth) const;
  size_t Shorten(size_t count) const;

  std::vector<Lie> lies_;
};

}  // namespace passthru::fuzz

#endif  // PASSTHRU_TESTING_FUZZ_LYING_KERNEL_H_
