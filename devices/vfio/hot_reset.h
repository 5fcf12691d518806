// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_DEVICES_VFIO_HOT_RESET_H_
#define PASSTHRU_DEVICES_VFIO_HOT_RESET_H_

#include <cstdint>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_format.h"
#include "absl/types/span.h"
#include "passthru/devices/kernel/syscalls.h"
#include "passthru/pci/bdf.h"

namespace passthru::vfio {

// A device that a hot reset of another device resets too (struct
// vfio_pci_dependent_device).
struct HotResetDevice {
  pci::Bdf address;
  uint32_t group = 0;

  friend bool operator==(const HotResetDevice&,
                         const HotResetDevice&) = default;

  // Writes "0000:01:00.1 (group 12)".
  template <typename Sink>
  friend void AbslStringify(Sink& sink, const HotResetDevice& device) {
    absl::Format(&sink, "%v (group %u)", device.address, device.group);
  }
};

// Implement VfioDevice::GetHotResetDevices() and VfioDevice::HotReset().
absl::StatusOr<std::vector<HotResetDevice>> QueryHotResetDevices(
    kernel::Syscalls* syscalls, int device_fd, std::string_view device);
absl::Status HotReset(kernel::Syscalls* syscalls, int device_fd,
                      std::string_view device, absl::Span<const int> group_fds);

}  // namespace passthru::vfio

#endif  // PASSTHRU_DEVICES_VFIO_HOT_RESET_H_
