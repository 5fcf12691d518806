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

namespace passthru::memory {

// What the VMM is about to do with guest memory.
enum class Access : uint8_t { kRead, kWrite };

// The guest's memory as a set of areas that do not overlap, and the listeners
// that keep the kernel's tables (slots, DMA mappings) the same as this set.
//
// Order: an area is told to the listeners in the order of their registration
// and then becomes visible to Translate() and Areas(); at removal it first
// becomes invisible and is then told in the reverse order.
//
// An addition is all or nothing: when a listener refuses, those before it are
// told to remove the area again, the last one first. A removal only goes
// forward: every listener is told even if one fails; the area then stays
// reserved, invisible, until a later Remove() has persuaded the rest. What its
// owner abandoned, and what could not be taken back of an addition, is tried
// again before every other change.
//
// Thread-safe. Listeners are called under a lock of their own, which excludes
// other changes but not Translate() and Areas(): mapping much memory for DMA
// takes seconds, during which vCPUs and device models go on.
class GuestMemoryMap final : public GuestMemory {
 public:
  // Where no area may be, because the platform answers there (ECAM, interrupt
  // controllers): a memory slot would hide it, and a guest that moves a BAR on
  // top of it locks itself out. Such a BAR is trapped, and on the bus the
  // platform comes first.
  struct Reserved {
    GuestAddress first;
    uint64_t size = 0;
    std::string_view name;  // A literal.
  };

  GuestMemoryMap() : GuestMemoryMap(std::vector<Reserved>()) {}
  explicit GuestMemoryMap(std::vector<Reserved> reserved)
      : reserved_(std::move(reserved)) {}
  // Listeners that are still registered are not told: they may be gone. Who
  // wants them told calls RemoveListener() first.
  ~GuestMemoryMap() override = default;

  GuestMemoryMap(const GuestMemoryMap&) = delete;
  GuestMemoryMap& operator=(const GuestMemoryMap&) = delete;

  absl::StatusOr<AreaId> Add(const MemoryArea& area) override;
  absl::Status Remove(AreaId id) override;
  absl::Status Abandon(AreaId id) override;

  // Tries to remove what was abandoned now, for who needs its memory to be gone
  // (a BAR's mapping keeps the device's group busy). Returns the first failure.
  absl::Status RetryRemovals();

  // Tells `listener` of every area there is, in address order, and of every
  // change from now on, until RemoveListener(). If it refuses one, it is told
  // to remove the others again and is not registered.
  absl::Status AddListener(MemoryListener* listener);

  // Tells `listener` to remove every area that it holds, from the last to the
  // first. Returns the first failure, but the listener is unregistered in any
  // case, and may be destroyed.
  absl::Status RemoveListener(MemoryListener* listener);

  // The host address of [address, address + size), which must lie in one RAM
  // area that the guest may access in this way. It is valid until that area is
  // removed: the caller sees to it that this does not happen meanwhile.
  absl::StatusOr<void*> Translate(GuestAddress address, uint64_t size,
                                  Access access = Access::kWrite) const;

  // Visible areas in address order.
  std::vector<MemoryArea> Areas() const;

 private:
  // An area that was added, and who holds it.
  struct Entry {
    AreaId id;
    MemoryArea area;
    // In the order in which they accepted it.
    std::vector<MemoryListener*> holders;
    // A Remove() has failed: invisible, but the addresses are not free.
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
  // Those that nobody else will try to remove again.
  std::vector<AreaId> abandoned_ ABSL_GUARDED_BY(change_mutex_);

  absl::btree_map<GuestAddress, MemoryArea> visible_
      ABSL_GUARDED_BY(visible_mutex_);
};

}  // namespace passthru::memory

#endif  // PASSTHRU_DEVICES_MEMORY_GUEST_MEMORY_MAP_H_
