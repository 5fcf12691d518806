// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_DEVICES_VFIO_INFO_QUERY_H_
#define PASSTHRU_DEVICES_VFIO_INFO_QUERY_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "passthru/devices/kernel/status_macros.h"
#include "passthru/devices/kernel/syscalls.h"

namespace passthru::vfio {

// Calls one of VFIO's info ioctls (VFIO_DEVICE_GET_REGION_INFO,
// VFIO_IOMMU_GET_INFO, ...). Their answer is a structure that begins with `u32
// argsz`, followed by a chain of capabilities (struct vfio_info_cap_header). In
// argsz this passes the size of its buffer. If the kernel needs more, it
// returns the size in argsz, and this calls it again with a larger buffer.
//
// `request_bytes` is the structure with its inputs filled in. Returns all bytes
// of the answer, at least as many as `request_bytes` has. Returns DataLoss if
// the kernel wants more at every call or more than kMaxInfoBytes. `what` names
// the call for messages.
absl::StatusOr<std::vector<uint8_t>> QueryInfoBytes(
    kernel::Syscalls* syscalls, int fd, unsigned long request,
    absl::Span<const uint8_t> request_bytes, std::string_view what);

// The largest answer that QueryInfoBytes() accepts, in bytes.
inline constexpr uint32_t kMaxInfoBytes = 1 << 20;

template <typename Info>
struct InfoAnswer {
  Info info{};
  // The structure and the bytes after it. Capability offsets are relative to
  // its beginning.
  std::vector<uint8_t> bytes;
};

template <typename Info>
absl::StatusOr<InfoAnswer<Info>> QueryInfo(kernel::Syscalls* syscalls, int fd,
                                           unsigned long request,
                                           const Info& inputs,
                                           std::string_view what) {
  static_assert(std::is_trivially_copyable_v<Info>);
  static_assert(std::is_same_v<decltype(Info::argsz), uint32_t>);
  static_assert(offsetof(Info, argsz) == 0);
  PASSTHRU_ASSIGN_OR_RETURN(
      std::vector<uint8_t> bytes,
      QueryInfoBytes(
          syscalls, fd, request,
          {reinterpret_cast<const uint8_t*>(&inputs), sizeof(inputs)}, what));
  InfoAnswer<Info> answer;
  std::memcpy(&answer.info, bytes.data(), sizeof(Info));
  answer.bytes = std::move(bytes);
  return answer;
}

// One entry of a capability chain.
struct InfoCapability {
  uint16_t id = 0;
  uint16_t version = 0;
  // The bytes from the end of the header to the end of the answer. The kernel
  // does not state the length of a capability.
  absl::Span<const uint8_t> payload;
};

struct InfoCapabilities {
  std::vector<InfoCapability> entries;
  // Says why the walk ended early, or is empty if the chain is sound.
  std::string malformed;
};

// Follows the chain whose first entry is at `offset` of `answer`. An `offset`
// of 0 is an empty chain. `fixed_size` is the size of the structure before the
// capabilities. If the chain leaves the answer or forms a loop, the walk ends
// and the result has the entries up to that point. The result refers to
// `answer`.
InfoCapabilities WalkInfoCapabilities(absl::Span<const uint8_t> answer,
                                      uint32_t offset, size_t fixed_size);

// Copies the T at `offset` of `payload` to `out`. Returns false if it does not
// lie inside.
template <typename T>
bool ReadPayload(absl::Span<const uint8_t> payload, size_t offset, T* out) {
  static_assert(std::is_trivially_copyable_v<T>);
  if (offset > payload.size() || payload.size() - offset < sizeof(T)) {
    return false;
  }
  std::memcpy(out, payload.data() + offset, sizeof(T));
  return true;
}

}  // namespace passthru::vfio

#endif  // PASSTHRU_DEVICES_VFIO_INFO_QUERY_H_
