// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/fuzz/lying_kernel.h"

#include <linux/kvm.h>
#include <linux/vfio.h>

#include <algorithm>
#include <cstring>

#include "absl/types/span.h"
#include "passthru/testing/journal/vfio_offset.h"

namespace passthru::fuzz {
namespace {

using kernel::SyscallResult;

constexpr int kMaxLies = 24;

// Returns argsz, with which every info structure begins and which tells the
// size of the caller's buffer.
uint32_t Argsz(const void* arg) {
  uint32_t argsz = 0;
  std::memcpy(&argsz, arg, sizeof(argsz));
  return argsz;
}

// Returns vfio_region_info.index or vfio_irq_info.index.
uint32_t Index(const void* arg) {
  static_assert(offsetof(vfio_region_info, index) ==
                offsetof(vfio_irq_info, index));
  uint32_t index = 0;
  std::memcpy(&index,
              static_cast<const uint8_t*>(arg) + offsetof(vfio_irq_info, index),
              sizeof(index));
  return index;
}

}  // namespace

LyingKernel::LyingKernel(kernel::Syscalls* target, FuzzInput& input)
    : ForwardingSyscalls(target) {
  for (int left = input.Take<uint8_t>() % kMaxLies; left > 0; --left) {
    Lie& lie = lies_.emplace_back();
    lie.subject = static_cast<Subject>(input.Take<uint8_t>() %
                                       static_cast<uint8_t>(Subject::kCount));
    lie.index = input.Take<uint8_t>();
    lie.offset = input.Take<uint16_t>();
    const absl::Span<const uint8_t> bytes =
        input.TakeBytes(input.Take<uint8_t>());
    lie.bytes.assign(bytes.begin(), bytes.end());
  }
}

void LyingKernel::Tell(Subject subject, uint64_t index, uint64_t begin,
                       void* answer, size_t size) const {
  for (const Lie& lie : lies_) {
    if (lie.subject != subject || lie.index != index) continue;
    for (size_t i = 0; i < lie.bytes.size(); ++i) {
      const uint64_t position = uint64_t{lie.offset} + i;
      if (position >= begin && position - begin < size) {
        static_cast<uint8_t*>(answer)[position - begin] = lie.bytes[i];
      }
    }
  }
}

std::optional<int> LyingKernel::Number(Subject subject, uint64_t index) const {
  for (const Lie& lie : lies_) {
    if (lie.subject != subject || lie.index != index) continue;
    int number = 0;
    Tell(subject, index, lie.offset, &number, sizeof(number));
    return number;
  }
  return std::nullopt;
}

std::string LyingKernel::Text(Subject subject, std::string truth) const {
  for (const Lie& lie : lies_) {
    if (lie.subject != subject) continue;
    truth.resize(std::min<size_t>(lie.offset, truth.size()));
    truth.append(lie.bytes.begin(), lie.bytes.end());
  }
  return truth;
}

size_t LyingKernel::Shorten(size_t count) const {
  for (const Lie& lie : lies_) {
    if (lie.subject == Subject::kShortRead) {
      return std::min<size_t>(count, lie.offset);
    }
  }
  return count;
}

SyscallResult<int> LyingKernel::Ioctl(int fd, unsigned long request,
                                      void* arg) {
  // The answer overwrites the request, so this reads the request first.
  const bool has_index = request == VFIO_DEVICE_GET_REGION_INFO ||
                         request == VFIO_DEVICE_GET_IRQ_INFO;
  const uint32_t index = has_index ? Index(arg) : 0;
  const bool has_argsz = has_index || request == VFIO_DEVICE_GET_INFO ||
                         request == VFIO_IOMMU_GET_INFO;
  const uint32_t room = has_argsz ? Argsz(arg) : 0;
  SyscallResult<int> result = ForwardingSyscalls::Ioctl(fd, request, arg);
  if (!result.ok()) return result;
  std::optional<int> number;
  switch (request) {
    case VFIO_DEVICE_GET_INFO:
      Tell(Subject::kDeviceInfo, 0, 0, arg, room);
      break;
    case VFIO_DEVICE_GET_REGION_INFO:
      Tell(Subject::kRegionInfo, index, 0, arg, room);
      break;
    case VFIO_DEVICE_GET_IRQ_INFO:
      Tell(Subject::kIrqInfo, index, 0, arg, room);
      break;
    case VFIO_IOMMU_GET_INFO:
      Tell(Subject::kIommuInfo, 0, 0, arg, room);
      break;
    case VFIO_GROUP_GET_STATUS:
      Tell(Subject::kGroupStatus, 0, 0, arg, sizeof(vfio_group_status));
      break;
    case VFIO_IOMMU_UNMAP_DMA:
      Tell(Subject::kUnmapDma, 0, 0, arg, sizeof(vfio_iommu_type1_dma_unmap));
      break;
    case VFIO_DEVICE_SET_IRQS:
      number = Number(Subject::kSetIrqs, 0);
      break;
    case VFIO_CHECK_EXTENSION:
    case KVM_CHECK_EXTENSION:
      number =
          Number(Subject::kExtension, reinterpret_cast<uintptr_t>(arg) & 0xff);
      break;
    case KVM_GET_VCPU_MMAP_SIZE:
      number = Number(Subject::kVcpuSize, 0);
      break;
    default:
      break;
  }
  // A negative result is an errno, and never returned as a value.
  if (number.has_value()) result.value = std::max(0, *number);
  return result;
}

SyscallResult<size_t> LyingKernel::Read(int fd, void* buffer, size_t count) {
  const auto result = ForwardingSyscalls::Read(fd, buffer, count);
  // The 8 bytes of an eventfd come from no device, so this does not lie about
  // them.
  if (result.ok() && count != sizeof(uint64_t)) {
    Tell(Subject::kFile, 0, 0, buffer, result.value);
  }
  return result;
}

SyscallResult<size_t> LyingKernel::Pread(int fd, void* buffer, size_t count,
                                         uint64_t offset) {
  const auto result =
      ForwardingSyscalls::Pread(fd, buffer, Shorten(count), offset);
  if (result.ok()) {
    Tell(Subject::kRegion, journal::RegionOf(offset), journal::OffsetOf(offset),
         buffer, result.value);
  }
  return result;
}

SyscallResult<std::string> LyingKernel::Readlink(const char* path) {
  auto result = ForwardingSyscalls::Readlink(path);
  if (result.ok()) result.value = Text(Subject::kLink, std::move(result.value));
  return result;
}

SyscallResult<std::vector<std::string>> LyingKernel::ReadDirectory(
    const char* path) {
  auto result = ForwardingSyscalls::ReadDirectory(path);
  if (result.ok()) {
    for (std::string& name : result.value) {
      name = Text(Subject::kDirectory, std::move(name));
    }
  }
  return result;
}

}  // namespace passthru::fuzz
