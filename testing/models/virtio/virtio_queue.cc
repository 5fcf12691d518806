// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/models/virtio/virtio_queue.h"

#include <algorithm>
#include <array>
#include <cstddef>

#include "passthru/devices/kernel/status_macros.h"
#include "passthru/pci/little_endian.h"

namespace passthru::models::virtio {
namespace {

constexpr uint64_t kDescriptorBytes = 16;
constexpr uint16_t kNext = 1;         // VIRTQ_DESC_F_NEXT.
constexpr uint16_t kWrite = 2;        // VIRTQ_DESC_F_WRITE.
constexpr uint16_t kNoInterrupt = 1;  // VIRTQ_AVAIL_F_NO_INTERRUPT.
// Both rings have flags and an index before their elements.
constexpr uint64_t kIndex = 2;
constexpr uint64_t kElements = 4;

template <typename T>
absl::StatusOr<T> Load(DevicePlatform& host, uint64_t address) {
  std::array<uint8_t, sizeof(T)> bytes{};
  PASSTHRU_RETURN_IF_ERROR(host.DmaRead(address, absl::MakeSpan(bytes)));
  return pci::LoadLittleEndian<T>(bytes, 0);
}

template <typename T>
absl::Status Store(DevicePlatform& host, uint64_t address, T value) {
  std::array<uint8_t, sizeof(T)> bytes{};
  pci::StoreLittleEndian<T>(absl::MakeSpan(bytes), 0, value);
  return host.DmaWrite(address, bytes);
}

}  // namespace

void VirtQueue::Reset() {
  setup_ = {.size = max_size_};
  next_available_ = 0;
  next_used_ = 0;
}

absl::StatusOr<std::optional<VirtQueue::Buffer>> VirtQueue::Take(
    DevicePlatform& host) {
  if (!setup_.enabled || setup_.size == 0) return std::nullopt;
  PASSTHRU_ASSIGN_OR_RETURN(const uint16_t available,
                            Load<uint16_t>(host, setup_.driver + kIndex));
  if (available == next_available_) return std::nullopt;
  if (static_cast<uint16_t>(available - next_available_) > setup_.size) {
    return absl::InvalidArgumentError("more buffers than the ring has room");
  }
  PASSTHRU_ASSIGN_OR_RETURN(
      const uint16_t head,
      Load<uint16_t>(host, setup_.driver + kElements +
                               uint64_t{2} * (next_available_ % setup_.size)));
  Buffer buffer{.head = head};
  uint16_t index = head;
  for (unsigned walked = 0;; ++walked) {
    if (index >= setup_.size || walked >= setup_.size) {
      return absl::InvalidArgumentError("a chain of descriptors has no end");
    }
    std::array<uint8_t, kDescriptorBytes> bytes{};
    PASSTHRU_RETURN_IF_ERROR(host.DmaRead(
        setup_.descriptors + kDescriptorBytes * index, absl::MakeSpan(bytes)));
    const Buffer::Part part{
        .address = pci::LoadLittleEndian<uint64_t>(bytes, 0),
        .length = pci::LoadLittleEndian<uint32_t>(bytes, 8)};
    const uint16_t flags = pci::LoadLittleEndian<uint16_t>(bytes, 12);
    ((flags & kWrite) != 0 ? buffer.writable : buffer.readable).push_back(part);
    if ((flags & kNext) == 0) break;
    index = pci::LoadLittleEndian<uint16_t>(bytes, 14);
  }
  ++next_available_;
  return buffer;
}

absl::Status VirtQueue::Return(DevicePlatform& host, const Buffer& buffer,
                               uint32_t written) {
  const uint64_t element =
      setup_.device + kElements + uint64_t{8} * (next_used_ % setup_.size);
  PASSTHRU_RETURN_IF_ERROR(Store<uint32_t>(host, element, buffer.head));
  PASSTHRU_RETURN_IF_ERROR(Store<uint32_t>(host, element + 4, written));
  ++next_used_;
  return Store<uint16_t>(host, setup_.device + kIndex, next_used_);
}

absl::StatusOr<bool> VirtQueue::WantsInterrupt(DevicePlatform& host) const {
  PASSTHRU_ASSIGN_OR_RETURN(const uint16_t flags,
                            Load<uint16_t>(host, setup_.driver));
  return (flags & kNoInterrupt) == 0;
}

absl::StatusOr<std::vector<uint8_t>> Gather(
    DevicePlatform& host, const std::vector<VirtQueue::Buffer::Part>& parts,
    uint64_t limit) {
  std::vector<uint8_t> data;
  for (const VirtQueue::Buffer::Part& part : parts) {
    if (part.length > limit - data.size()) {
      return absl::InvalidArgumentError("a buffer is too long");
    }
    const size_t at = data.size();
    data.resize(at + part.length);
    PASSTHRU_RETURN_IF_ERROR(
        host.DmaRead(part.address, absl::MakeSpan(data).subspan(at)));
  }
  return data;
}

absl::StatusOr<bool> Scatter(DevicePlatform& host,
                             const std::vector<VirtQueue::Buffer::Part>& parts,
                             absl::Span<const uint8_t> data) {
  uint64_t room = 0;
  for (const VirtQueue::Buffer::Part& part : parts) room += part.length;
  if (room < data.size()) return false;
  for (const VirtQueue::Buffer::Part& part : parts) {
    const size_t length = std::min<size_t>(part.length, data.size());
    if (length == 0) continue;
    PASSTHRU_RETURN_IF_ERROR(host.DmaWrite(part.address, data.first(length)));
    data.remove_prefix(length);
  }
  return true;
}

}  // namespace passthru::models::virtio
