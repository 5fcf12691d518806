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
  FileRef file;         // Null: anonymous memory or a file of the real kernel.
  uint64_t offset = 0;  // Of `address` in the file.
  int protection = 0;
  int flags = 0;

  uint64_t end() const { return address + length; }
};

// The host address ranges that code under test mapped, and the fake file that
// each shows: the kernel's VMAs. Partial unmapping splits, MAP_FIXED over a
// mapping replaces, as Linux does.
//
// Guarded by the fake kernel's mutex (Thread-compatible).
class MappingTable {
 public:
  MappingTable() = default;
  MappingTable(const MappingTable&) = delete;
  MappingTable& operator=(const MappingTable&) = delete;

  // Replaces whatever the range overlaps.
  void Add(Mapping mapping);
  void Remove(uint64_t address, uint64_t length);

  void Clear() { mappings_.clear(); }

  // The mapping that holds this byte.
  const Mapping* Find(uint64_t address) const;

  // All mappings of this file, by address.
  std::vector<Mapping> Of(const FakeFile* file) const;
  std::vector<Mapping> All() const;

 private:
  std::map<uint64_t, Mapping> mappings_;  // By address; disjoint.
};

}  // namespace passthru::fake

#endif  // PASSTHRU_TESTING_KERNEL_MAPPING_TABLE_H_
