// SPDX-License-Identifier: Apache-2.0
//
// Checks how much the user who runs the VMM may have.
#include <sys/resource.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "passthru/devices/kernel/syscalls.h"
#include "passthru/devices/vfio/locked_memory.h"
#include "passthru/vmm/doctor/checks.h"
#include "passthru/vmm/doctor/doctor_report.pb.h"
#include "passthru/vmm/doctor/host_files.h"
#include "passthru/vmm/doctor/shell_word.h"
#include "passthru/vmm/plural.h"

namespace passthru::doctor {
namespace {

// A VMM opens this many descriptors beside those of interrupts.
constexpr uint64_t kOtherDescriptors = 256;
// CAP_IPC_LOCK, as a bit of CapEff (proc_pid_status(5)).
constexpr unsigned kIpcLock = 14;

Finding CheckLockedMemory(const HostFiles& host, const HostFacts& facts) {
  constexpr std::string_view kCheck = "locked memory";
  const vfio::LockedMemory memory = vfio::ReadLockedMemory(host.syscalls());
  const auto status = host.Text("/proc/self/status");
  const std::string capabilities = LineAfter(status.value, "CapEff");
  uint64_t mask = 0;
  const bool privileged =
      absl::SimpleHexAtoi(capabilities, &mask) && (mask >> kIpcLock & 1) != 0;
  const std::string need =
      absl::StrCat("a guest of ", Bytes(facts.guest_memory));
  if (privileged) {
    return MakeFinding(
        kCheck, Finding::OK, "has no limit for this user, who has CAP_IPC_LOCK",
        {absl::StrCat("/proc/self/status: CapEff = ", capabilities)});
  }
  if (!memory.limit.has_value()) {
    return MakeFinding(
        kCheck, Finding::UNKNOWN,
        "its limit cannot be read, so whether it is enough for " + need +
            " is unknown",
        {host.Text("/proc/self/limits").known_by});
  }
  const std::vector<std::string> known_by = {
      "/proc/self/limits: Max locked memory"};
  if (*memory.limit == std::numeric_limits<uint64_t>::max()) {
    return MakeFinding(kCheck, Finding::OK, "has no limit", known_by);
  }
  const uint64_t locked = memory.locked.value_or(0);
  const uint64_t wanted = facts.guest_memory + locked;
  if (*memory.limit >= wanted) {
    return MakeFinding(
        kCheck, Finding::OK,
        absl::StrCat("may be ", Bytes(*memory.limit), ", enough for ", need),
        known_by);
  }
  return MakeFinding(
      kCheck, Finding::PROBLEM,
      absl::StrCat(
          "may be ", Bytes(*memory.limit), ", ",
          locked == 0 ? ""
                      : absl::StrCat("of which ", Bytes(locked), " are used, "),
          "but DMA locks all of ", need),
      known_by,
      {InOwnShell(facts, absl::StrCat("prlimit --pid $$ --memlock=", wanted,
                                      "  # the shell that starts the VMM; "
                                      "LimitMEMLOCK= for a systemd unit"))});
}

// Returns a number of KiB in a line of /proc/meminfo, in bytes.
std::optional<uint64_t> MemoryLine(std::string_view text,
                                   std::string_view label) {
  const std::string line = LineAfter(text, label);
  uint64_t number = 0;
  if (!absl::SimpleAtoi(line.substr(0, line.find(' ')), &number)) {
    return std::nullopt;
  }
  return absl::EndsWith(line, " kB") ? number << 10 : number;
}

struct Limit {
  uint64_t bytes = std::numeric_limits<uint64_t>::max();
  std::string known_by;
};

// Returns the least memory.max of this process's control group and those above
// it (cgroup v2). In a cgroup namespace of its own the process is in the root,
// which has the file, as a host's root has not.
Limit ControlGroupLimit(const HostFiles& host) {
  Limit least;
  std::string group = LineAfter(host.Text("/proc/self/cgroup").value, "0:");
  if (group == "/" || !absl::StartsWith(group, "/")) group.clear();
  while (true) {
    const std::string path =
        absl::StrCat("/sys/fs/cgroup", group, "/memory.max");
    const auto text = host.Text(path);
    uint64_t bytes = 0;
    if (absl::SimpleAtoi(text.value, &bytes) && bytes < least.bytes) {
      least = {bytes, text.known_by};
    }
    if (group.empty()) return least;
    group.resize(group.rfind('/'));
  }
}

// The kernel pins all of a guest's memory when the device is attached, so none
// of it can be promised twice or be swapped out.
Finding CheckMemory(const HostFiles& host, const HostFacts& facts) {
  constexpr std::string_view kCheck = "memory";
  const auto info = host.Text("/proc/meminfo");
  const auto total = MemoryLine(info.value, "MemTotal");
  const auto left = MemoryLine(info.value, "MemAvailable");
  const std::string need =
      absl::StrCat("a guest of ", Bytes(facts.guest_memory));
  if (!total.has_value() || !left.has_value()) {
    return MakeFinding(kCheck, Finding::UNKNOWN,
                       absl::StrCat("whether the host has enough for ", need,
                                    " cannot be read"),
                       {info.known_by});
  }
  const Limit limit = ControlGroupLimit(host);
  const std::string less = "# give the guest less memory (--memory)";
  if (limit.bytes < facts.guest_memory) {
    return MakeFinding(
        kCheck, Finding::PROBLEM,
        absl::StrCat("this process may have ", Bytes(limit.bytes),
                     ", and DMA pins all of ", need),
        {limit.known_by}, {less + ", or its control group more (MemoryMax=)"});
  }
  if (*total < facts.guest_memory) {
    return MakeFinding(kCheck, Finding::PROBLEM,
                       absl::StrCat("the host has ", Bytes(*total),
                                    " in all, and DMA pins all of ", need),
                       {"/proc/meminfo: MemTotal"}, {less});
  }
  const uint64_t huge = MemoryLine(info.value, "HugePages_Free").value_or(0) *
                        MemoryLine(info.value, "Hugepagesize").value_or(0);
  if (*left < facts.guest_memory && huge < facts.guest_memory) {
    return MakeFinding(kCheck, Finding::WARNING,
                       absl::StrCat("the host has ", Bytes(*left),
                                    " left now, and DMA pins all of ", need),
                       {"/proc/meminfo: MemAvailable, HugePages_Free"}, {less});
  }
  return MakeFinding(kCheck, Finding::OK,
                     absl::StrCat("the host has enough for ", need),
                     {"/proc/meminfo: MemAvailable, HugePages_Free"});
}

Finding CheckDescriptors(const HostFiles& host, HostFacts& facts) {
  constexpr std::string_view kCheck = "descriptors";
  rlimit limit = {};
  const auto result = host.syscalls()->Getrlimit(RLIMIT_NOFILE, &limit);
  if (!result.ok()) {
    return MakeFinding(
        kCheck, Finding::UNKNOWN, "their limit cannot be read",
        {absl::StrCat("getrlimit(RLIMIT_NOFILE): ", ErrnoName(result.error))});
  }
  if (limit.rlim_cur == RLIM_INFINITY) {
    return MakeFinding(kCheck, Finding::OK, "have no limit",
                       {"getrlimit(RLIMIT_NOFILE) = RLIM_INFINITY"});
  }
  const auto open = host.Folder("/proc/self/fd");
  const uint64_t taken =
      std::max<uint64_t>(open.value.size(), kOtherDescriptors);
  facts.free_descriptors =
      limit.rlim_cur - std::min<uint64_t>(limit.rlim_cur, taken);
  const std::vector<std::string> known_by = {
      absl::StrCat("getrlimit(RLIMIT_NOFILE) = ", limit.rlim_cur)};
  if (*facts.free_descriptors == 0) {
    return MakeFinding(
        kCheck, Finding::PROBLEM,
        absl::StrCat("may be ", limit.rlim_cur, ", and a VMM needs ",
                     kOtherDescriptors, " beside one for each interrupt"),
        known_by, {InOwnShell(facts, std::string(kMoreDescriptors))});
  }
  return MakeFinding(
      kCheck, Finding::OK,
      absl::StrCat("may be ", limit.rlim_cur, ", enough for ",
                   vmm::Count(*facts.free_descriptors, "interrupt")),
      known_by);
}

}  // namespace

void ReadUser(const HostFiles& host, HostFacts& facts) {
  const std::string line =
      LineAfter(host.Text("/proc/self/status").value, "Uid");
  // The second number is the effective one.
  const std::vector<std::string_view> ids =
      absl::StrSplit(line, absl::ByAnyChar(" \t"), absl::SkipEmpty());
  if (ids.size() < 2) return;
  if (ids[1] == "0") {
    facts.is_root = true;
    return;
  }
  facts.user = std::string(ids[1]);
  for (const std::string_view entry :
       absl::StrSplit(host.Text("/etc/passwd").value, '\n')) {
    const std::vector<std::string_view> words = absl::StrSplit(entry, ':');
    if (words.size() > 2 && words[2] == ids[1]) facts.user = words[0];
  }
}

std::string InOwnShell(const HostFacts& facts, std::string_view command) {
  return absl::StrCat(facts.is_root ? "" : "sudo ", command);
}

std::vector<std::string> ForUser(const HostFacts& facts,
                                 std::vector<std::string> commands) {
  if (facts.user.empty()) return commands;
  for (std::string& command : commands) {
    absl::StrReplaceAll({{"$USER", ShellWord(facts.user)}}, &command);
  }
  return commands;
}

Findings CheckLimits(const HostFiles& host, HostFacts& facts) {
  Findings findings;
  findings.push_back(CheckLockedMemory(host, facts));
  findings.push_back(CheckMemory(host, facts));
  findings.push_back(CheckDescriptors(host, facts));
  return findings;
}

}  // namespace passthru::doctor
