// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/vfio/hot_reset.h"

#include <linux/vfio.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/types/span.h"
#include "passthru/devices/kernel/errors.h"
#include "passthru/devices/kernel/flex_array.h"
#include "passthru/devices/kernel/syscalls.h"
#include "passthru/pci/bdf.h"

namespace passthru::vfio {
namespace {

// A bus has 256 functions, and a slot with bridges may have a few buses.
constexpr uint32_t kMaxDevices = 65536;
constexpr int kMaxAttempts = 8;

}  // namespace

absl::StatusOr<std::vector<HotResetDevice>> QueryHotResetDevices(
    kernel::Syscalls* syscalls, int device_fd, std::string_view device) {
  const std::string what =
      absl::StrCat("VFIO_DEVICE_GET_PCI_HOT_RESET_INFO on ", device);
  uint32_t room = 0;
  for (int attempt = 0; attempt < kMaxAttempts; ++attempt) {
    kernel::FlexArray<vfio_pci_hot_reset_info, vfio_pci_dependent_device> info(
        room);
    info.header().argsz = static_cast<uint32_t>(info.size_bytes());
    const kernel::SyscallResult<int> result = syscalls->Ioctl(
        device_fd, VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, info.data());
    const uint32_t count = info.header().count;
    if (result.ok() && count <= room) {
      std::vector<HotResetDevice> devices;
      for (const vfio_pci_dependent_device& dependent :
           info.elements().first(count)) {
        devices.push_back(
            {.address = pci::Bdf(dependent.segment, dependent.bus,
                                 dependent.devfn >> 3, dependent.devfn & 7),
             .group = dependent.group_id});
      }
      return devices;
    }
    // With ENOSPC, `count` is the number of devices. It may grow between calls.
    if (!result.ok() && (result.error != ENOSPC || count <= room)) {
      return kernel::ErrnoError(result.error, what);
    }
    if (count > kMaxDevices) {
      return absl::DataLossError(absl::StrFormat(
          "%s: %d devices; at most %d are accepted", what, count, kMaxDevices));
    }
    room = count;
  }
  return absl::DataLossError(
      absl::StrFormat("%s: the kernel wanted more room each of %d times, at "
                      "last for %d devices",
                      what, kMaxAttempts, room));
}

absl::Status HotReset(kernel::Syscalls* syscalls, int device_fd,
                      std::string_view device,
                      absl::Span<const int> group_fds) {
  kernel::FlexArray<vfio_pci_hot_reset, int32_t> reset(group_fds.size());
  reset.header().argsz = static_cast<uint32_t>(reset.size_bytes());
  reset.header().count = static_cast<uint32_t>(group_fds.size());
  std::copy(group_fds.begin(), group_fds.end(), reset.elements().begin());
  const kernel::SyscallResult<int> result =
      syscalls->Ioctl(device_fd, VFIO_DEVICE_PCI_HOT_RESET, reset.data());
  if (!result.ok()) {
    return kernel::ErrnoError(
        result.error, absl::StrFormat("VFIO_DEVICE_PCI_HOT_RESET(count=%d) on "
                                      "%s",
                                      group_fds.size(), device));
  }
  return absl::OkStatus();
}

}  // namespace passthru::vfio
