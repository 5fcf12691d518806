// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_VMM_DOCTOR_HOST_FILES_H_
#define PASSTHRU_VMM_DOCTOR_HOST_FILES_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "passthru/devices/kernel/syscalls.h"
#include "passthru/vmm/doctor/doctor_report.pb.h"

namespace passthru::doctor {

// What a file, link or folder of the host said.
template <typename T>
struct Answer {
  T value{};
  int error = 0;
  // The path and what it gave, as "/proc/cmdline = quiet" or "/dev/kvm:
  // ENOENT", for Finding.known_by.
  std::string known_by;

  bool ok() const { return error == 0; }
};

// Reads sysfs and procfs. Thread-safe.
class HostFiles {
 public:
  // `syscalls` must outlive this object.
  explicit HostFiles(kernel::Syscalls* syscalls) : syscalls_(syscalls) {}

  // Returns the text of a file without white space at its ends, or EFBIG if it
  // has 16 MiB or more.
  Answer<std::string> Text(const std::string& path) const;
  // Returns the first bytes of a file as they are. known_by has the path only.
  Answer<std::string> Bytes(const std::string& path, size_t limit) const;
  // Returns the last component of what a link refers to.
  Answer<std::string> Link(const std::string& path) const;
  // Returns what a link refers to, as it is written there.
  Answer<std::string> Target(const std::string& path) const;
  // Returns the sorted names in a folder.
  Answer<std::vector<std::string>> Folder(const std::string& path) const;

  kernel::Syscalls* syscalls() const { return syscalls_; }

 private:
  kernel::Syscalls* const syscalls_;
};

// Returns the name of an errno, as "ENOENT".
std::string ErrnoName(int error);

// Returns the rest of the line of `text` that begins with `label`, without the
// white space and the colon before it. Empty if there is no such line.
std::string LineAfter(std::string_view text, std::string_view label);

// Returns the commands between backquotes in a message of the library, each on
// its own. The library's messages say what to do, so this repeats none of them.
std::vector<std::string> CommandsIn(std::string_view message);

// Returns a message of the library without its errno and, if it has commands,
// only what it says before its first colon.
std::string WithoutCommands(std::string_view message);

// Returns bytes as people write them, as "16 GiB" or "1.5 MiB".
std::string Bytes(uint64_t bytes);

using Verdict = Finding::Verdict;

// Makes a finding. Lines may be added to its known_by and to_do.
Finding MakeFinding(std::string_view check, Verdict verdict,
                    std::string_view what,
                    const std::vector<std::string>& known_by = {},
                    std::vector<std::string> to_do = {});

}  // namespace passthru::doctor

#endif  // PASSTHRU_VMM_DOCTOR_HOST_FILES_H_
