// SPDX-License-Identifier: Apache-2.0

#ifndef PASSTHRU_DEVICES_MEMORY_GUEST_MEMORY_MAP_H_
#define PASSTHRU_DEVICES_MEMORY_GUEST_MEMORY_MAP_H_

#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/btree_map.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "passthru/devices/memory/guest_address.h"
#include "passthru/devices/memory/guest_memory.h"
#include "passthru/devices/memory/memory_area.h"
#include "passthru/devices/memory/memory_listener.h"
#include "passthru/devices/memory/memory_source.h"

namespace passthru::memory {

// The kind of access that the VMM makes to guest memory.
enum class Access : uint8_t { kRead, kWrite };

// The guest's memory as a set of areas that do not overlap. It tells listeners
// of each change, and they keep the kernel's tables (slots, DMA mappings) in
// step with the set.
//
// An addition calls the listeners in the order of their registration, and then
// makes the area visible to Translate() and Areas(). A removal first makes the
// area invisible, and then calls the listeners in the reverse order.
//
// An addition is all or nothing. If a listener refuses, the map calls the
// listeners before it to remove the area again, the last one first. A removal
// only goes forward. The map calls every listener even if one fails. The area
// then stays reserved and invisible until a later Remove() succeeds with the
// remaining listeners. Every Add(), Remove() and Abandon() first retries to
// remove the areas that their owner abandoned and those whose addition could
// not be undone.
//
// Thread-safe. The map calls listeners under a separate lock, which excludes
// other changes but not Translate() and Areas(). Mapping much memory for DMA
// takes seconds, during which vCPUs and device models keep running.
class GuestMemoryMap final : public GuestMemory, public MemorySource {
 public:
  // A range in which no area may be, because the platform answers there (ECAM,
  // interrupt controllers). A memory slot would hide the platform, and a guest
  // that moves a BAR on top of it would lock itself out. Accesses to such a BAR
  // exit instead, and on the bus the platform has the higher priority.
  struct Reserved {
    GuestAddress first;
    uint64_t size = 0;
    std::string_view name;  // Must be a literal.
  };

  GuestMemoryMap() : GuestMemoryMap(std::vector<Reserved>()) {}
  explicit GuestMemoryMap(std::vector<Reserved> reserved)
      : reserved_(std::move(reserved)) {}
  // Does not call listeners that are still registered, because they may already
  // be destroyed. A caller that wants them called must call RemoveListener()
  // first.
  ~GuestMemoryMap() override = default;

  GuestMemoryMap(const GuestMemoryMap&) = delete;
  GuestMemoryMap& operator=(const GuestMemoryMap&) = delete;

  absl::StatusOr<AreaId> Add(const MemoryArea& area) override;
  absl::Status Remove(AreaId id) override;
  absl::Status Abandon(AreaId id) override;

  absl::Status RetryRemovals() override;
  // Areas whose removal has failed are not told to a new listener.
  absl::Status AddListener(MemoryListener* listener) override;
  absl::Status RemoveListener(MemoryListener* listener) override;

  // Returns the host address of [address, address + size), which must lie in
  // one RAM area that allows this access. The result is valid until that area
  // is removed, and the caller must make sure that this does not happen while
  // it uses the result.
  absl::StatusOr<void*> Translate(GuestAddress address, uint64_t size,
                                  Access access = Access::kWrite) const;

  // Returns the visible areas in address order.
  std::vector<MemoryArea> Areas() const;

 private:
  // An area and the listeners that hold it.
  struct Entry {
    AreaId id;
    MemoryArea area;
    // In the order in which they accepted the area.
    std::vector<MemoryListener*> holders;
    // True after a removal, or the undoing of an addition, has failed. The area
    // is then invisible, but its addresses are not free.
    bool half_removed = false;
  };

  absl::Status CheckRoom(const MemoryArea& area) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(change_mutex_);
  absl::Status RemoveLocked(AreaId id)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(change_mutex_);
  absl::Status RetryLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(change_mutex_);

  const std::vector<Reserved> reserved_;

  mutable absl::Mutex change_mutex_;
  mutable absl::Mutex visible_mutex_ ABSL_ACQUIRED_AFTER(change_mutex_);

  uint64_t next_id_ ABSL_GUARDED_BY(change_mutex_) = 1;
  std::vector<MemoryListener*> listeners_ ABSL_GUARDED_BY(change_mutex_);
  absl::btree_map<GuestAddress, Entry> entries_ ABSL_GUARDED_BY(change_mutex_);
  absl::flat_hash_map<AreaId, GuestAddress> address_of_
      ABSL_GUARDED_BY(change_mutex_);
  // Areas that have no owner left who would retry their removal.
  std::vector<AreaId> abandoned_ ABSL_GUARDED_BY(change_mutex_);

  absl::btree_map<GuestAddress, MemoryArea> visible_
      ABSL_GUARDED_BY(visible_mutex_);
};

}  // namespace passthru::memory

#endif  // PASSTHRU_DEVICES_MEMORY_GUEST_MEMORY_MAP_H_
