// SPDX-License-Identifier: Apache-2.0

#ifndef PASSTHRU_DEVICES_MEMORY_MEMORY_LISTENER_H_
#define PASSTHRU_DEVICES_MEMORY_MEMORY_LISTENER_H_

#include "absl/status/status.h"
#include "passthru/devices/memory/memory_area.h"

namespace passthru::memory {

// What follows the guest's memory map: KVM's slots, a VFIO container's DMA
// mappings, a vhost table.
//
// Calls to one listener never overlap, and come in the order in which the map
// changes. The map is locked against changes meanwhile, so a listener may
// look areas up (Translate(), Areas()) but not add, remove or (un)register;
// the area in question is not, or no longer, among them.
class MemoryListener {
 public:
  virtual ~MemoryListener() = default;

  // After a failure the listener must be as if it had not been called: it
  // will not be told of this area again.
  virtual absl::Status OnAdd(const MemoryArea& area) = 0;

  // For an area that an earlier OnAdd() accepted, field for field the same.
  // After a failure the listener is taken to hold the area still, and will be
  // asked again when the removal is tried again.
  virtual absl::Status OnRemove(const MemoryArea& area) = 0;
};

}  // namespace passthru::memory

#endif  // PASSTHRU_DEVICES_MEMORY_MEMORY_LISTENER_H_
