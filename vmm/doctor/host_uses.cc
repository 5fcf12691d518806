// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/doctor/host_uses.h"

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "passthru/vmm/doctor/host_files.h"

namespace passthru::doctor {
namespace {

// Unescapes a word of /proc/self/mountinfo or /proc/swaps (show_mountinfo(),
// mangle_path()).
std::string Unescaped(std::string_view word) {
  return absl::StrReplaceAll(word, {{"\\040", " "},
                                    {"\\011", "\t"},
                                    {"\\012", "\n"},
                                    {"\\043", "#"},
                                    {"\\134", "\\"}});
}

std::vector<Mount> ParseMounts(std::string_view text) {
  std::vector<Mount> mounts;
  for (const std::string_view line :
       absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    const std::vector<std::string_view> words = absl::StrSplit(line, ' ');
    // Any number of optional fields ends with a dash.
    size_t dash = 6;
    while (dash < words.size() && words[dash] != "-") ++dash;
    if (dash + 2 >= words.size()) continue;
    mounts.push_back({std::string(words[2]), Unescaped(words[4]),
                      std::string(words[dash + 1]),
                      Unescaped(words[dash + 2])});
  }
  return mounts;
}

Answer<std::vector<Link>> ReadLinks(const HostFiles& host,
                                    const std::string& folder) {
  auto names = host.Folder(folder);
  Answer<std::vector<Link>> links = {.error = names.error,
                                     .known_by = std::move(names.known_by)};
  for (const std::string& name : names.value) {
    const auto target = host.Target(absl::StrCat(folder, "/", name));
    if (target.ok()) links.value.push_back({name, target.value});
  }
  return links;
}

}  // namespace

HostUses ReadHostUses(const HostFiles& host) {
  HostUses uses;
  uses.interfaces = ReadLinks(host, "/sys/class/net").value;
  // The lines of /proc/net/route begin with the interface and the destination.
  for (const std::string_view line :
       absl::StrSplit(host.Text("/proc/net/route").value, '\n')) {
    const std::vector<std::string_view> words =
        absl::StrSplit(line, absl::ByAnyChar(" \t"), absl::SkipEmpty());
    if (words.size() > 1 && words[1] == "00000000") {
      uses.default_routes.emplace(words[0]);
    }
  }
  uses.disks = ReadLinks(host, "/sys/block");
  const auto mounts = host.Text("/proc/self/mountinfo");
  uses.mounts = {.value = ParseMounts(mounts.value),
                 .error = mounts.error,
                 .known_by = mounts.known_by};
  // The first line names the columns. A kernel without swap has no such file.
  const auto swaps = host.Text("/proc/swaps");
  for (const std::string_view line :
       absl::StrSplit(swaps.value, '\n', absl::SkipEmpty())) {
    const std::vector<std::string_view> words =
        absl::StrSplit(line, absl::ByAnyChar(" \t"), absl::SkipEmpty());
    if (!words.empty()) uses.swaps.push_back(Unescaped(words[0]));
  }
  // Each folder here is a btrfs, with links to all its devices, of which
  // /proc/self/mountinfo names one.
  for (const std::string& one : host.Folder("/sys/fs/btrfs").value) {
    const auto devices =
        host.Folder(absl::StrCat("/sys/fs/btrfs/", one, "/devices"));
    for (const std::string& device : devices.value) {
      uses.btrfs[device] = devices.value;
    }
  }
  return uses;
}

}  // namespace passthru::doctor
