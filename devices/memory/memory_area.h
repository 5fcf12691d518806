// SPDX-License-Identifier: Apache-2.0

#ifndef PASSTHRU_DEVICES_MEMORY_MEMORY_AREA_H_
#define PASSTHRU_DEVICES_MEMORY_MEMORY_AREA_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/strings/str_format.h"
#include "passthru/devices/memory/guest_address.h"

namespace passthru::memory {

// Guest addresses [guest, guest + size) that are backed by host memory at
// `host`, so that the guest reaches them without an exit. The memory stays
// mapped until the area has been removed from the GuestMemory that it was added
// to: its owner sees to that, or `backing` does.
struct MemoryArea {
  enum class Kind : uint8_t {
    // Ordinary memory: devices may do DMA to it, the VMM may follow guest
    // pointers into it.
    kRam,
    // The mapped part of a passed-through device's BAR. Only the guest
    // touches it: an access has side effects, and raises SIGBUS while the
    // device does not decode memory.
    kDeviceBar,
  };

  // Guest address, size and host address are multiples of the page size.
  GuestAddress guest;
  uint64_t size = 0;
  void* host = nullptr;
  // What keeps `host` mapped, for an owner that may go before the kernel gives
  // the area up (GuestMemory::Abandon()).
  std::shared_ptr<const void> backing;
  // The guest may not write it: a write exits (KVM_MEM_READONLY).
  bool read_only = false;
  Kind kind = Kind::kRam;
  // For messages, e.g. "ram-low" or "0000:01:00.0 BAR 0 +0x0".
  std::string name;

  friend bool operator==(const MemoryArea&, const MemoryArea&) = default;

  template <typename Sink>
  friend void AbslStringify(Sink& sink, const MemoryArea& area) {
    absl::Format(&sink, "%s [0x%x, +0x%x) %s%s", area.name, area.guest.value(),
                 area.size, area.kind == Kind::kRam ? "RAM" : "device BAR",
                 area.read_only ? " read-only" : "");
  }
};

}  // namespace passthru::memory

#endif  // PASSTHRU_DEVICES_MEMORY_MEMORY_AREA_H_
