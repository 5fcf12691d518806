// SPDX-License-Identifier: Apache-2.0

#ifndef PASSTHRU_DEVICES_MEMORY_MEMORY_LISTENER_H_
#define PASSTHRU_DEVICES_MEMORY_MEMORY_LISTENER_H_

#include "absl/status/status.h"
#include "passthru/devices/memory/memory_area.h"

namespace passthru::memory {

// A party that follows the guest's memory map, such as KVM's slots, a VFIO
// container's DMA mappings or a vhost table.
//
// Calls to one listener never overlap, and come in the order in which the map
// changes. During a call the map is locked against changes, so a listener may
// look up areas (Translate(), Areas()), but must not add or remove areas or
// listeners. While the map adds or removes an area, lookups do not find it.
// When the listener itself is added or removed, they find the areas that it is
// told of.
class MemoryListener {
 public:
  virtual ~MemoryListener() = default;

  // Takes up `area`. If this fails, the listener must be as if it had not been
  // called, since it will not be told of this area again.
  virtual absl::Status OnAdd(const MemoryArea& area) = 0;

  // Gives up an area that an earlier OnAdd() accepted. `area` is the same field
  // for field. If this fails, the map assumes that the listener still holds the
  // area, and calls it again when the removal is retried.
  virtual absl::Status OnRemove(const MemoryArea& area) = 0;
};

}  // namespace passthru::memory

#endif  // PASSTHRU_DEVICES_MEMORY_MEMORY_LISTENER_H_
