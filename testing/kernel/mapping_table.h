// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_KERNEL_MAPPING_TABLE_H_
#define PASSTHRU_TESTING_KERNEL_MAPPING_TABLE_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <vector>

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

  uint64_t end() const { return address + length; }
};

// The host address ranges that the code under test mapped, and the fake file
// behind each, like the VMAs of a kernel. As on Linux, partial unmapping splits
// a mapping, and MAP_FIXED replaces what it covers.
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

  void Clear() { mappings_.clear(); }

  // Returns the mapping that holds this byte, or null.
  const Mapping* Find(uint64_t address) const;

  // Returns all mappings of this file by address.
  std::vector<Mapping> Of(const FakeFile* file) const;
  std::vector<Mapping> All() const;

 private:
  std::map<uint64_t, Mapping> mappings_;  // By address. They are disjoint.
};

}  // namespace passthru::fake

#endif  // PASSTHRU_TESTING_KERNEL_MAPPING_TABLE_H_
