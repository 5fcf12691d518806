// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/demo/process_resources.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace passthru::vmm {

absl::StatusOr<std::vector<std::string>> ProcessResources() {
  std::vector<std::string> resources;
  std::error_code error;
  for (const auto& entry :
       std::filesystem::directory_iterator("/proc/self/fd", error)) {
    const auto target = std::filesystem::read_symlink(entry.path(), error);
    // The loop's own descriptor of the directory does not count, and a link
    // that cannot be read belongs to a closed descriptor.
    if (error || absl::EndsWith(target.string(), "/fd")) continue;
    resources.push_back(absl::StrCat("descriptor of ", target.string()));
  }
  if (resources.empty()) {
    return absl::UnavailableError(
        "/proc/self/fd is empty, and the demo needs a mounted /proc to find "
        "what it leaves behind");
  }
  // The format of a line is "address perms offset dev inode pathname", as in
  // proc(5).
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    const size_t path = line.find_first_of("/[", line.find(' '));
    const size_t anonymous = line.find("anon_inode:");
    const size_t name = std::min(path, anonymous);
    if (name == std::string::npos) continue;
    std::string_view what = line;
    what.remove_prefix(name);
    if (absl::StartsWith(what, "/dev/") ||
        absl::StartsWith(what, "anon_inode:")) {
      resources.push_back(absl::StrCat("mapping of ", what));
    }
  }
  std::sort(resources.begin(), resources.end());
  return resources;
}

std::vector<std::string> NewResources(const std::vector<std::string>& before,
                                      const std::vector<std::string>& after) {
  std::vector<std::string> added;
  std::set_difference(after.begin(), after.end(), before.begin(), before.end(),
                      std::back_inserter(added));
  return added;
}

}  // namespace passthru::vmm
