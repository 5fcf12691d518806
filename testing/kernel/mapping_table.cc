// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/kernel/mapping_table.h"

#include <cstdint>
#include <iterator>
#include <utility>
#include <vector>

#include "passthru/testing/kernel/fake_file.h"

namespace passthru::fake {

void MappingTable::Add(Mapping mapping) {
  Remove(mapping.address, mapping.length);
  const uint64_t address = mapping.address;
  mappings_.emplace(address, std::move(mapping));
}

void MappingTable::Remove(uint64_t address, uint64_t length) {
  const uint64_t end = address + length;
  auto next = mappings_.upper_bound(address);
  if (next != mappings_.begin()) next = std::prev(next);
  while (next != mappings_.end() && next->second.address < end) {
    const Mapping old = next->second;
    if (old.end() <= address) {
      ++next;
      continue;
    }
    next = mappings_.erase(next);
    if (old.address < address) {
      Mapping head = old;
      head.length = address - old.address;
      mappings_.emplace(head.address, std::move(head));
    }
    if (old.end() > end) {
      Mapping tail = old;
      tail.address = end;
      tail.length = old.end() - end;
      tail.offset = old.offset + (end - old.address);
      mappings_.emplace(tail.address, std::move(tail));
    }
  }
}

const Mapping* MappingTable::Find(uint64_t address) const {
  const auto next = mappings_.upper_bound(address);
  if (next == mappings_.begin()) return nullptr;
  const Mapping& candidate = std::prev(next)->second;
  return address < candidate.end() ? &candidate : nullptr;
}

std::vector<Mapping> MappingTable::Of(const FakeFile* file) const {
  std::vector<Mapping> found;
  for (const auto& [address, mapping] : mappings_) {
    if (mapping.file.get() == file) found.push_back(mapping);
  }
  return found;
}

std::vector<Mapping> MappingTable::All() const {
  std::vector<Mapping> all;
  all.reserve(mappings_.size());
  for (const auto& [address, mapping] : mappings_) all.push_back(mapping);
  return all;
}

}  // namespace passthru::fake
