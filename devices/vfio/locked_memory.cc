// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/vfio/locked_memory.h"

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "passthru/devices/kernel/read_file.h"
#include "passthru/devices/kernel/syscalls.h"

namespace passthru::vfio {
namespace {

// Returns the first word after `label` in the line that begins with `label`.
std::string FieldAfter(std::string_view text, std::string_view label) {
  for (std::string_view line : absl::StrSplit(text, '\n')) {
    if (!absl::ConsumePrefix(&line, label)) continue;
    const std::vector<std::string> words =
        absl::StrSplit(line, absl::ByAnyChar(" \t"), absl::SkipEmpty());
    return words.empty() ? "" : words.front();
  }
  return "";
}

std::string KiB(uint64_t bytes) { return absl::StrCat(bytes / 1024, " KiB"); }

}  // namespace

LockedMemory ReadLockedMemory(kernel::Syscalls* syscalls) {
  LockedMemory memory;
  const absl::StatusOr<std::string> limits =
      kernel::ReadFile(syscalls, "/proc/self/limits");
  if (limits.ok()) {
    const std::string soft = FieldAfter(*limits, "Max locked memory");
    uint64_t bytes = 0;
    if (soft == "unlimited") {
      memory.limit = std::numeric_limits<uint64_t>::max();
    } else if (absl::SimpleAtoi(soft, &bytes)) {
      memory.limit = bytes;
    }
  }
  const absl::StatusOr<std::string> status =
      kernel::ReadFile(syscalls, "/proc/self/status");
  uint64_t kib = 0;
  if (status.ok() && absl::SimpleAtoi(FieldAfter(*status, "VmLck:"), &kib)) {
    memory.locked = kib * 1024;
  }
  return memory;
}

std::string DescribeLockedMemory(const LockedMemory& memory, uint64_t size) {
  if (memory.limit == std::numeric_limits<uint64_t>::max()) {
    return absl::StrCat(
        "the host has no memory left to pin ", KiB(size),
        " in (the limit on locked memory is not the cause: there is none)");
  }
  const uint64_t locked = memory.locked.value_or(0);
  return absl::StrCat(
      "pinning ", KiB(size), " exceeds this process' limit on locked memory",
      memory.limit.has_value()
          ? absl::StrCat(" of ", KiB(*memory.limit), ", of which ", KiB(locked),
                         " are used")
          : "",
      ": raise RLIMIT_MEMLOCK to at least ", KiB(locked + size),
      " (`ulimit -l`, or LimitMEMLOCK= of its systemd unit), or give it "
      "CAP_IPC_LOCK");
}

}  // namespace passthru::vfio
