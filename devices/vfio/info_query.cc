// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/vfio/info_query.h"

#include <linux/vfio.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_format.h"
#include "absl/types/span.h"
#include "passthru/devices/kernel/errors.h"
#include "passthru/devices/kernel/syscalls.h"

namespace passthru::vfio {
namespace {

// Two attempts suffice unless the answer grows between the calls.
constexpr int kMaxInfoAttempts = 8;

}  // namespace

absl::StatusOr<std::vector<uint8_t>> QueryInfoBytes(
    kernel::Syscalls* syscalls, int fd, unsigned long request,
    absl::Span<const uint8_t> request_bytes, std::string_view what) {
  size_t room = request_bytes.size();
  for (int attempt = 0; attempt < kMaxInfoAttempts; ++attempt) {
    std::vector<uint8_t> bytes(room);
    std::copy(request_bytes.begin(), request_bytes.end(), bytes.begin());
    uint32_t argsz = static_cast<uint32_t>(room);
    std::memcpy(bytes.data(), &argsz, sizeof(argsz));

    const kernel::SyscallResult<int> result =
        syscalls->Ioctl(fd, request, bytes.data());
    if (!result.ok()) return kernel::ErrnoError(result.error, what);

    std::memcpy(&argsz, bytes.data(), sizeof(argsz));
    if (argsz <= room) {
      bytes.resize(std::max<size_t>(argsz, request_bytes.size()));
      return bytes;
    }
    if (argsz > kMaxInfoBytes) {
      return absl::DataLossError(absl::StrFormat(
          "%s: the kernel wants room for %d bytes; at most %d are accepted",
          what, argsz, kMaxInfoBytes));
    }
    room = argsz;
  }
  return absl::DataLossError(absl::StrFormat(
      "%s: the kernel wanted more room each of %d times, at last %d bytes",
      what, kMaxInfoAttempts, room));
}

InfoCapabilities WalkInfoCapabilities(absl::Span<const uint8_t> answer,
                                      uint32_t offset, size_t fixed_size) {
  InfoCapabilities result;
  absl::flat_hash_set<uint32_t> visited;
  while (offset != 0) {
    if (!visited.insert(offset).second) {
      result.malformed = absl::StrFormat(
          "the capability chain returns to offset 0x%x", offset);
      break;
    }
    vfio_info_cap_header header = {};
    if (offset < fixed_size || !ReadPayload(answer, offset, &header)) {
      result.malformed = absl::StrFormat(
          "a capability at offset 0x%x lies outside the %d bytes of the answer",
          offset, answer.size());
      break;
    }
    result.entries.push_back({
        .id = header.id,
        .version = header.version,
        .payload = answer.subspan(offset + sizeof(header)),
    });
    offset = header.next;
  }
  return result;
}

}  // namespace passthru::vfio
