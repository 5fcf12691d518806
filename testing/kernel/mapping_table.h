// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_KERNEL_MAPPING_TABLE_H_
#define PASSTHRU_TESTING_KERNEL_MAPPING_TABLE_H_

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "passthru/testing/kernel/fake_file.h"

namespace passthru::fake {

// One range that was mapped through the seam.
struct Mapping {
  uint64_t address = 0;
  uint64_t length = 0;  // In whole pages.
  FileRef file;         // Null for anonymous memory and real files.
  uint64_t offset = 0;  // Of `address` in the file.
  int protection = 0;
  int flags = 0;
  pid_t process = 0;  // Whose memory it is, or 0 for this process.

  uint64_t end() const { return address + length; }
};

// The host address ranges that the code under test mapped, and the fake file
// behind each, like the VMAs of a kernel. As on Linux, partial unmapping splits
// a mapping, and MAP_FIXED replaces what it covers. An address without a
// process is one of the current task (testing/journal/task.h).
//
// Guarded by the fake kernel's mutex (Thread-compatible).
class MappingTable {
 public:
  MappingTable() = default;
  MappingTable(const MappingTable&) = delete;
  MappingTable& operator=(const MappingTable&) = delete;

  // Adds a mapping, which replaces others where it overlaps them.
  void Add(Mapping mapping);
  void Remove(uint64_t address, uint64_t length);

  // Does what fork(2) does for a child, and exec(2) or exit(2) for a process.
  void CopyProcess(pid_t parent, pid_t child);
  void RemoveProcess(pid_t process);

  void Clear() { mappings_.clear(); }

  // Returns the mapping that holds this byte, of the current task or of a
  // process, or null.
  const Mapping* Find(uint64_t address) const;
  const Mapping* FindOf(pid_t process, uint64_t address) const;

  // Returns all mappings of this file, and of all files, by process and
  // address.
  std::vector<Mapping> Of(const FakeFile* file) const;
  std::vector<Mapping> All() const;
  // Visits the mappings that overlap a range of a process's memory, by address.
  void ForEachIn(pid_t process, uint64_t address, uint64_t length,
                 absl::FunctionRef<void(const Mapping&)> visit) const;

 private:
  // By process and address.
  using Key = std::pair<pid_t, uint64_t>;

  static Key KeyOf(const Mapping& mapping) {
    return {mapping.process, mapping.address};
  }

  std::map<Key, Mapping> mappings_;  // Those of a process are disjoint.
};

}  // namespace passthru::fake

#endif  // PASSTHRU_TESTING_KERNEL_MAPPING_TABLE_H_
