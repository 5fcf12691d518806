// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/kernel/mapping_table.h"

#include <cstdint>
#include <iterator>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "passthru/testing/journal/task.h"
#include "passthru/testing/kernel/fake_file.h"

namespace passthru::fake {

void MappingTable::Add(Mapping mapping) {
  Remove(mapping.address, mapping.length);
  mapping.process = journal::CurrentProcess();
  const Key key = KeyOf(mapping);
  mappings_.emplace(key, std::move(mapping));
}

void MappingTable::Remove(uint64_t address, uint64_t length) {
  const uint64_t end = address + length;
  const pid_t process = journal::CurrentProcess();
  auto next = mappings_.upper_bound({process, address});
  if (next != mappings_.begin()) next = std::prev(next);
  while (next != mappings_.end() && next->first < Key(process, end)) {
    const Mapping old = next->second;
    if (old.process != process || old.end() <= address) {
      ++next;
      continue;
    }
    next = mappings_.erase(next);
    if (old.address < address) {
      Mapping head = old;
      head.length = address - old.address;
      mappings_.emplace(KeyOf(head), head);
    }
    if (old.end() > end) {
      Mapping tail = old;
      tail.address = end;
      tail.length = old.end() - end;
      tail.offset = old.offset + (end - old.address);
      mappings_.emplace(KeyOf(tail), tail);
    }
  }
}

void MappingTable::CopyProcess(pid_t parent, pid_t child) {
  const std::vector<Mapping> all = All();
  for (Mapping mapping : all) {
    if (mapping.process != parent) continue;
    mapping.process = child;
    mappings_.insert_or_assign(KeyOf(mapping), mapping);
  }
}

void MappingTable::RemoveProcess(pid_t process) {
  // Releases the files last, because a release may look here again.
  std::vector<FileRef> files;
  std::erase_if(mappings_, [process, &files](auto& entry) {
    if (entry.second.process != process) return false;
    files.push_back(std::move(entry.second.file));
    return true;
  });
}

const Mapping* MappingTable::Find(uint64_t address) const {
  return FindOf(journal::CurrentProcess(), address);
}

const Mapping* MappingTable::FindOf(pid_t process, uint64_t address) const {
  const auto next = mappings_.upper_bound({process, address});
  if (next == mappings_.begin()) return nullptr;
  const Mapping& candidate = std::prev(next)->second;
  return candidate.process == process && address < candidate.end() ? &candidate
                                                                   : nullptr;
}

void MappingTable::ForEachIn(
    pid_t process, uint64_t address, uint64_t length,
    absl::FunctionRef<void(const Mapping&)> visit) const {
  auto next = mappings_.upper_bound({process, address});
  if (next != mappings_.begin()) {
    const Mapping& before = std::prev(next)->second;
    if (before.process == process && before.end() > address) --next;
  }
  const Key end = {process, address + length};
  for (; next != mappings_.end() && next->first < end; ++next) {
    visit(next->second);
  }
}

std::vector<Mapping> MappingTable::Of(const FakeFile* file) const {
  std::vector<Mapping> found;
  for (const auto& [key, mapping] : mappings_) {
    if (mapping.file.get() == file) found.push_back(mapping);
  }
  return found;
}

std::vector<Mapping> MappingTable::All() const {
  std::vector<Mapping> all;
  all.reserve(mappings_.size());
  for (const auto& [key, mapping] : mappings_) all.push_back(mapping);
  return all;
}

}  // namespace passthru::fake
