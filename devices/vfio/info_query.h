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
#include "passthru/devices/kernel/syscalls.h"

namespace passthru::vfio {

// VFIO's info ioctls (VFIO_DEVICE_GET_REGION_INFO, VFIO_IOMMU_GET_INFO, ...)
// answer with a structure that begins with `u32 argsz`, followed by a chain of
// capabilities (struct vfio_info_cap_header). The caller says in argsz how much
// room there is; a kernel with more to say answers with how much it needs, and
// is asked again.
//
// `request_bytes` is the structure with its inputs filled in. Returns all the
// bytes of the answer, at least as many as `request_bytes`. Ends also with a
// kernel that wants more each time, or wants an absurd amount: DataLoss.
// `what` names the call for messages.
absl::StatusOr<std::vector<uint8_t>> QueryInfoBytes(
    kernel::Syscalls* syscalls, int fd, unsigned long request,
    absl::Span<const uint8_t> request_bytes, std::string_view what);

// The largest answer that is accepted.
inline constexpr uint32_t kMaxInfoBytes = 1 << 20;

template <typename Info>
struct InfoAnswer {
  Info info{};
  // The structure and what follows it: where capability offsets count from.
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
  absl::StatusOr<std::vector<uint8_t>> bytes = QueryInfoBytes(
      syscalls, fd, request,
      {reinterpret_cast<const uint8_t*>(&inputs), sizeof(inputs)}, what);
  if (!bytes.ok()) return bytes.status();
  InfoAnswer<Info> answer;
  std::memcpy(&answer.info, bytes->data(), sizeof(Info));
  answer.bytes = *std::move(bytes);
  return answer;
}

// One entry of a capability chain.
struct InfoCapability {
  uint16_t id = 0;
  uint16_t version = 0;
  // What follows the header. Its own length is not on the wire: it reaches to
  // the end of the answer.
  absl::Span<const uint8_t> payload;
};

struct InfoCapabilities {
  std::vector<InfoCapability> entries;
  // Why the walk ended early; empty if the chain is sound.
  std::string malformed;
};

// Follows the chain whose first entry is at `offset` of `answer`; 0 is an
// empty chain. `fixed_size` is that of the structure before the capabilities.
// A chain that leaves the answer or returns to where it was ends there, with
// the entries up to that point. The result refers to `answer`.
InfoCapabilities WalkInfoCapabilities(absl::Span<const uint8_t> answer,
                                      uint32_t offset, size_t fixed_size);

// Copies a T at `offset` of `payload` out; false if it does not lie inside.
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
