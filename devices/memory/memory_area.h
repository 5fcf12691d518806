// SPDX-License-Identifier: Apache-2.0

#ifndef PASSTHRU_DEVICES_MEMORY_MEMORY_AREA_H_
#define PASSTHRU_DEVICES_MEMORY_MEMORY_AREA_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/strings/str_format.h"
#include "passthru/devices/memory/guest_address.h"

namespace passthru::memory {

// Guest addresses [guest, guest + size) that host memory at `host` backs, so
// that the guest reaches them without an exit. The owner of the memory, or
// `backing`, must keep it mapped until the area has been removed from the
// GuestMemory to which it was added.
struct MemoryArea {
  enum class Kind : uint8_t {
    // Ordinary memory. Devices may do DMA to it, and the VMM may follow guest
    // pointers into it.
    kRam,
    // The mapped part of a passed-through device's BAR. Only the guest accesses
    // it, because an access has side effects and raises SIGBUS while the device
    // does not decode memory.
    kDeviceBar,
  };

  // Guest address, size and host address must be multiples of the page size.
  GuestAddress guest;
  uint64_t size = 0;
  void* host = nullptr;
  // Keeps `host` mapped, for an owner that may be destroyed before the kernel
  // gives up the area (GuestMemory::Abandon()).
  std::shared_ptr<const void> backing;
  // The guest may not write the area, and a write exits (KVM_MEM_READONLY).
  bool read_only = false;
  Kind kind = Kind::kRam;
  // For messages, for example "ram-low" or "0000:01:00.0 BAR 0 +0x0".
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
