// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_DEVICES_MEMORY_MEMORY_SOURCE_H_
#define PASSTHRU_DEVICES_MEMORY_MEMORY_SOURCE_H_

#include "absl/status/status.h"
#include "passthru/devices/memory/memory_listener.h"

namespace passthru::memory {

// The guest memory that listeners follow. GuestMemoryMap implements it. A VMM
// with its own memory map implements it in order to have its RAM mapped for
// DMA.
//
// Implementations are thread-safe.
class MemorySource {
 public:
  virtual ~MemorySource() = default;

  // Tells `listener` of every area that is there, in address order, and of
  // every change until RemoveListener(). If the listener refuses an area, the
  // source tells it to remove the ones that it accepted, does not register it,
  // and returns the refusal. If the listener fails to remove some of them, the
  // message names these. The source does not try again, because the caller may
  // then destroy the listener.
  virtual absl::Status AddListener(MemoryListener* listener) = 0;

  // Tells `listener` to remove every area that it holds, from the last to the
  // first. Returns the first failure. In any case the listener is then
  // unregistered and may be destroyed. Returns kNotFound if it was never added.
  virtual absl::Status RemoveListener(MemoryListener* listener) = 0;

  // Retries removals that the kernel refused earlier, for a caller that needs
  // their memory released. (The mapping of a BAR keeps the device's group
  // busy.) Returns the first failure. The default has nothing to retry.
  virtual absl::Status RetryRemovals() { return absl::OkStatus(); }
};

}  // namespace passthru::memory

#endif  // PASSTHRU_DEVICES_MEMORY_MEMORY_SOURCE_H_
