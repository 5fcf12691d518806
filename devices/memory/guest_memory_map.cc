// SPDX-License-Identifier: Apache-2.0

#include "passthru/devices/memory/guest_memory_map.h"

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/log/log.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/synchronization/mutex.h"
#include "passthru/devices/kernel/errors.h"
#include "passthru/devices/kernel/page_size.h"
#include "passthru/devices/kernel/status_macros.h"
#include "passthru/devices/memory/guest_address.h"
#include "passthru/devices/memory/guest_memory.h"
#include "passthru/devices/memory/memory_area.h"
#include "passthru/devices/memory/memory_listener.h"

namespace passthru::memory {
namespace {

// A removal that keeps failing is tried again at every change of the map, and a
// guest can cause changes as often as it likes.
constexpr double kSecondsBetweenMessages = 5;

absl::Status CheckArea(const MemoryArea& area) {
  const auto invalid = [&area](std::string_view what) {
    return absl::InvalidArgumentError(absl::StrCat("area ", area, " ", what));
  };
  if (area.size == 0) return invalid("has size 0");
  if (!kernel::IsPageAligned(area.guest.value()))
    return invalid("does not begin at a page");
  if (!kernel::IsPageAligned(area.size)) return invalid("is not whole pages");
  if (area.size - 1 > std::numeric_limits<uint64_t>::max() - area.guest.value())
    return invalid("ends beyond 2^64");
  if (area.host == nullptr) return invalid("has no host memory");
  if (!kernel::IsPageAligned(reinterpret_cast<uintptr_t>(area.host))) {
    return invalid(absl::StrFormat(
        "has host memory at %p, which is not at a page", area.host));
  }
  return absl::OkStatus();
}

// Tells `holders` to remove `area`, the last one first, and leaves those that
// fail in `holders`. Returns the first failure.
absl::Status TellRemoved(const MemoryArea& area,
                         std::vector<MemoryListener*>& holders) {
  absl::Status first_failure;
  std::vector<MemoryListener*> kept;
  for (; !holders.empty(); holders.pop_back()) {
    absl::Status status = holders.back()->OnRemove(area);
    if (status.ok()) continue;
    LOG_EVERY_N_SEC(ERROR, kSecondsBetweenMessages)
        << "removing " << absl::StrCat(area) << ": " << status;
    kept.push_back(holders.back());
    first_failure.Update(std::move(status));
  }
  holders.assign(kept.rbegin(), kept.rend());
  return first_failure;
}

}  // namespace

absl::Status GuestMemoryMap::CheckRoom(const MemoryArea& area) const {
  for (const Reserved& reserved : reserved_) {
    // Computes the distance from the lower of the two to the higher.
    const bool overlaps = area.guest < reserved.first
                              ? reserved.first - area.guest < area.size
                              : area.guest - reserved.first < reserved.size;
    if (overlaps) {
      return absl::AlreadyExistsError(absl::StrCat(
          "area ", area, " overlaps ", reserved.name, " at ", reserved.first));
    }
  }
  const auto next = entries_.lower_bound(area.guest);
  const MemoryArea* other = nullptr;
  bool half_removed = false;
  if (next != entries_.end() && next->first - area.guest < area.size) {
    other = &next->second.area;
    half_removed = next->second.half_removed;
  } else if (next != entries_.begin()) {
    const auto previous = std::prev(next);
    if (area.guest - previous->first < previous->second.area.size) {
      other = &previous->second.area;
      half_removed = previous->second.half_removed;
    }
  }
  if (other == nullptr) return absl::OkStatus();
  return absl::AlreadyExistsError(
      absl::StrCat("area ", area, " overlaps ", *other,
                   half_removed ? ", whose removal failed" : ""));
}

absl::StatusOr<AreaId> GuestMemoryMap::Add(const MemoryArea& area) {
  PASSTHRU_RETURN_IF_ERROR(CheckArea(area));
  absl::MutexLock lock(&change_mutex_);
  RetryLocked().IgnoreError();  // Logged.
  PASSTHRU_RETURN_IF_ERROR(CheckRoom(area));
  Entry entry = {.id = AreaId(next_id_++), .area = area};
  absl::Status refusal;
  for (MemoryListener* listener : listeners_) {
    refusal = listener->OnAdd(area);
    if (!refusal.ok()) break;
    entry.holders.push_back(listener);
  }
  if (!refusal.ok()) {
    refusal = kernel::Annotate(refusal, absl::StrCat("adding ", area));
    // TellRemoved() logs why a listener cannot give the area back. The caller
    // needs to know why the addition was refused.
    if (TellRemoved(area, entry.holders).ok()) return refusal;
    entry.half_removed = true;
    abandoned_.push_back(entry.id);
  }
  const AreaId id = entry.id;
  address_of_.insert({id, area.guest});
  entries_.insert({area.guest, std::move(entry)});
  if (!refusal.ok()) return refusal;
  absl::MutexLock visible_lock(&visible_mutex_);
  visible_.insert({area.guest, area});
  return id;
}

absl::Status GuestMemoryMap::Remove(AreaId id) {
  absl::MutexLock lock(&change_mutex_);
  RetryLocked().IgnoreError();  // Logged.
  return RemoveLocked(id);
}

absl::Status GuestMemoryMap::Abandon(AreaId id) {
  absl::MutexLock lock(&change_mutex_);
  RetryLocked().IgnoreError();  // Logged.
  absl::Status status = RemoveLocked(id);
  if (!status.ok() && address_of_.contains(id)) abandoned_.push_back(id);
  return status;
}

absl::Status GuestMemoryMap::RetryRemovals() {
  absl::MutexLock lock(&change_mutex_);
  return RetryLocked();
}

absl::Status GuestMemoryMap::RetryLocked() {
  absl::Status first_failure;
  std::erase_if(abandoned_, [&](AreaId id) {
    change_mutex_.AssertHeld();
    absl::Status status = RemoveLocked(id);
    first_failure.Update(status);
    return status.ok();
  });
  return first_failure;
}

absl::Status GuestMemoryMap::RemoveLocked(AreaId id) {
  const auto address = address_of_.find(id);
  if (address == address_of_.end()) {
    return absl::NotFoundError(
        absl::StrCat("there is no memory area with id ", id.value()));
  }
  const auto found = entries_.find(address->second);
  Entry& entry = found->second;
  {
    absl::MutexLock visible_lock(&visible_mutex_);
    visible_.erase(entry.area.guest);
  }
  const absl::Status status = TellRemoved(entry.area, entry.holders);
  if (!status.ok()) {
    entry.half_removed = true;
    return kernel::Annotate(status, absl::StrCat("removing ", entry.area));
  }
  entries_.erase(found);
  address_of_.erase(address);
  return absl::OkStatus();
}

absl::Status GuestMemoryMap::AddListener(MemoryListener* listener) {
  if (listener == nullptr)
    return absl::InvalidArgumentError("there is no memory listener to add");
  absl::MutexLock lock(&change_mutex_);
  if (std::find(listeners_.begin(), listeners_.end(), listener) !=
      listeners_.end()) {
    return absl::AlreadyExistsError("the memory listener was added before");
  }
  std::vector<Entry*> told;
  for (auto& [address, entry] : entries_) {
    if (entry.half_removed) continue;
    absl::Status status = listener->OnAdd(entry.area);
    if (status.ok()) {
      told.push_back(&entry);
      continue;
    }
    // The caller may destroy the listener after this refusal, so the map cannot
    // try again later to take back what the listener keeps.
    std::vector<std::string> kept;
    for (; !told.empty(); told.pop_back()) {
      std::vector<MemoryListener*> holder = {listener};
      if (!TellRemoved(told.back()->area, holder).ok()) {
        kept.push_back(absl::StrCat(told.back()->area));
      }
    }
    status = kernel::Annotate(status, absl::StrCat("adding ", entry.area));
    if (kept.empty()) return status;
    return kernel::Annotate(
        status, absl::StrCat("the listener also failed to give back ",
                             absl::StrJoin(kept, " and "), ", after"));
  }
  for (Entry* entry : told) entry->holders.push_back(listener);
  listeners_.push_back(listener);
  return absl::OkStatus();
}

absl::Status GuestMemoryMap::RemoveListener(MemoryListener* listener) {
  absl::MutexLock lock(&change_mutex_);
  const auto found = std::find(listeners_.begin(), listeners_.end(), listener);
  if (found == listeners_.end())
    return absl::NotFoundError("the memory listener was never added");
  listeners_.erase(found);
  absl::Status first_failure;
  for (auto it = entries_.rbegin(); it != entries_.rend(); ++it) {
    Entry& entry = it->second;
    if (std::erase(entry.holders, listener) == 0) continue;
    std::vector<MemoryListener*> holder = {listener};
    first_failure.Update(
        kernel::Annotate(TellRemoved(entry.area, holder),
                         absl::StrCat("removing ", entry.area)));
  }
  return first_failure;
}

absl::StatusOr<void*> GuestMemoryMap::Translate(GuestAddress address,
                                                uint64_t size,
                                                Access access) const {
  if (size == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("0 bytes at ", address, " have no place in this process"));
  }
  absl::ReaderMutexLock lock(&visible_mutex_);
  const auto next = visible_.upper_bound(address);
  const MemoryArea* area =
      next == visible_.begin() ? nullptr : &std::prev(next)->second;
  if (area == nullptr || address - area->guest >= area->size) {
    return absl::NotFoundError(absl::StrCat("no guest memory at ", address));
  }
  const uint64_t offset = address - area->guest;
  if (size > area->size - offset) {
    return absl::OutOfRangeError(absl::StrFormat(
        "0x%x bytes at %v end beyond %v", size, address, *area));
  }
  if (area->kind != MemoryArea::Kind::kRam) {
    return absl::PermissionDeniedError(absl::StrCat(
        *area, " at ", address, " is not RAM, and so not the VMM's"));
  }
  if (area->read_only && access == Access::kWrite) {
    return absl::PermissionDeniedError(
        absl::StrCat(*area, " at ", address, " may only be read"));
  }
  return static_cast<uint8_t*>(area->host) + offset;
}

std::vector<MemoryArea> GuestMemoryMap::Areas() const {
  absl::ReaderMutexLock lock(&visible_mutex_);
  std::vector<MemoryArea> areas;
  areas.reserve(visible_.size());
  for (const auto& [address, area] : visible_) areas.push_back(area);
  return areas;
}

}  // namespace passthru::memory
