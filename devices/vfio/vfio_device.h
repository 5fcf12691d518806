// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_DEVICES_VFIO_VFIO_DEVICE_H_
#define PASSTHRU_DEVICES_VFIO_VFIO_DEVICE_H_

#include <linux/vfio.h>

#include <cstdint>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "passthru/devices/kernel/file_descriptor.h"
#include "passthru/devices/kernel/mapped_region.h"
#include "passthru/devices/kernel/syscalls.h"
#include "passthru/devices/vfio/hot_reset.h"
#include "passthru/devices/vfio/irq_info.h"
#include "passthru/devices/vfio/region_info.h"
#include "passthru/devices/vfio/vfio_group.h"
#include "passthru/pci/bdf.h"

namespace passthru::vfio {

// One host PCI device in VFIO's hands: its regions, its interrupts, its
// resets. Every method is a system call or few, and a failure names device,
// call and value, with the kernel's errno (kernel::ErrnoOf()).
//
// What the device and the kernel answer is checked where it bounds something
// here: a region or capability that makes no sense is marked, not believed.
//
// Closing the last descriptor of a device makes the kernel disable its
// interrupts and reset it. Immutable after Open(), and so thread-safe; two
// accesses to the same register race as they would on hardware.
class VfioDevice {
 public:
  static absl::StatusOr<std::unique_ptr<VfioDevice>> Open(
      std::shared_ptr<VfioGroup> group, pci::Bdf address);

  pci::Bdf address() const { return address_; }
  // "0000:01:00.0".
  const std::string& name() const { return name_; }

  // struct vfio_device_info: VFIO_DEVICE_FLAGS_*. can_reset() is whether
  // Reset() is worth trying.
  uint32_t flags() const { return flags_; }
  bool can_reset() const { return (flags_ & VFIO_DEVICE_FLAGS_RESET) != 0; }

  // By index, VFIO_PCI_*_REGION_INDEX and on: those of index 0 to
  // region_count() - 1 whether or not their query succeeded. Beyond, and for
  // irq() likewise, an absent one.
  uint32_t region_count() const {
    return static_cast<uint32_t>(regions_.size());
  }
  const VfioRegionInfo& region(uint32_t index) const;
  uint32_t irq_count() const { return static_cast<uint32_t>(irqs_.size()); }
  const VfioIrqInfo& irq(uint32_t index) const;

  // --- Regions. ---

  // All of `data` at `offset` of a region, or an error: OutOfRange outside the
  // region; Unavailable (EIO) while the device does not decode memory or is in
  // D3hot; DataLoss when the kernel returns fewer bytes. An access of 1, 2, 4
  // or 8 aligned bytes reaches the device as one.
  absl::Status ReadRegion(uint32_t index, uint64_t offset,
                          absl::Span<uint8_t> data) const;
  absl::Status WriteRegion(uint32_t index, uint64_t offset,
                           absl::Span<const uint8_t> data) const;

  // Maps [offset, offset + size) of a region, shared, with the protection that
  // the region's flags allow. It must lie in one of its MapAreas(), and
  // `offset` at a page.
  absl::StatusOr<kernel::MappedRegion> MapRegion(uint32_t index,
                                                 uint64_t offset,
                                                 uint64_t size) const;

  // The configuration space. T is uint8_t, uint16_t or uint32_t.
  uint64_t config_size() const;
  template <typename T>
  absl::StatusOr<T> ReadConfig(uint16_t offset) const;
  template <typename T>
  absl::Status WriteConfig(uint16_t offset, T value) const;

  // --- Interrupts: VFIO_DEVICE_SET_IRQS on VFIO_PCI_*_IRQ_INDEX `index`. ---

  // Vector start + i signals event_fds[i]; -1: nothing. Enables the type if it
  // is off. Returns 0; or, when the host has too few vectors and nothing was
  // enabled, how many it has.
  absl::StatusOr<uint32_t> SetIrqEventFds(
      uint32_t index, uint32_t start, absl::Span<const int> event_fds) const;
  // Turns the type off. EINVAL when it is off already.
  absl::Status DisableIrq(uint32_t index) const;
  // INTx only.
  absl::Status MaskIrq(uint32_t index) const;
  absl::Status UnmaskIrq(uint32_t index) const;
  // INTx only: a signal of `event_fd` unmasks it, without this process; -1
  // ends that.
  absl::Status SetUnmaskEventFd(uint32_t index, int event_fd) const;
  // Loopback: signals the eventfds of these vectors as the device would.
  absl::Status TriggerIrq(uint32_t index, uint32_t start, uint32_t count) const;
  // VFIO_PCI_ERR_IRQ_INDEX (an uncorrectable error was reported) and
  // VFIO_PCI_REQ_IRQ_INDEX (the host wants the device back; signalled again
  // and again until it has it). -1 ends it.
  absl::Status SetErrorEventFd(int event_fd) const;
  absl::Status SetRequestEventFd(int event_fd) const;

  // --- Resets. ---

  // VFIO_DEVICE_RESET: this function alone. Configuration as the guest sees
  // it and the wiring of eventfds stay. Unimplemented if the device cannot.
  absl::Status Reset() const;

  // VFIO_DEVICE_GET_PCI_HOT_RESET_INFO: the devices that a reset of the slot
  // or bus takes along. Unimplemented (ENODEV) if there is no such reset.
  absl::StatusOr<std::vector<HotResetDevice>> GetHotResetDevices() const;
  // VFIO_DEVICE_PCI_HOT_RESET; `group_fds` proves that the caller owns the
  // groups of all of them.
  absl::Status HotReset(absl::Span<const int> group_fds) const;

  const std::shared_ptr<VfioGroup>& group() const { return group_; }
  kernel::Syscalls* syscalls() const { return syscalls_; }
  int fd() const { return device_.get(); }

 private:
  VfioDevice(std::shared_ptr<VfioGroup> group, pci::Bdf address,
             kernel::FileDescriptor device);

  // GET_INFO, and all regions and interrupts; the last step of Open().
  absl::Status Query();
  // "VFIO_DEVICE_RESET on 0000:01:00.0".
  std::string What(const char* call) const;
  absl::Status CheckAccess(uint32_t index, const char* verb, uint64_t offset,
                           uint64_t size) const;
  // One VFIO_DEVICE_SET_IRQS. `data` follows struct vfio_irq_set when `flags`
  // say that eventfds do. Returns the ioctl's value.
  absl::StatusOr<int> SetIrqs(uint32_t index, uint32_t flags, uint32_t start,
                              uint32_t count,
                              absl::Span<const int32_t> data) const;
  absl::Status SetIrqsNone(uint32_t index, uint32_t action, uint32_t start,
                           uint32_t count) const;
  absl::Status SetOneEventFd(uint32_t index, uint32_t action,
                             int event_fd) const;

  // Before device_: the kernel wants the group open as long as the device is.
  const std::shared_ptr<VfioGroup> group_;
  kernel::Syscalls* const syscalls_;
  const pci::Bdf address_;
  const std::string name_;
  const kernel::FileDescriptor device_;
  uint32_t flags_ = 0;
  std::vector<VfioRegionInfo> regions_;
  std::vector<VfioIrqInfo> irqs_;
};

template <typename T>
absl::StatusOr<T> VfioDevice::ReadConfig(uint16_t offset) const {
  static_assert(sizeof(T) <= 4 && std::is_unsigned_v<T>);
  T value{};
  const absl::Status status =
      ReadRegion(VFIO_PCI_CONFIG_REGION_INDEX, offset,
                 {reinterpret_cast<uint8_t*>(&value), sizeof(value)});
  if (!status.ok()) return status;
  return value;
}

template <typename T>
absl::Status VfioDevice::WriteConfig(uint16_t offset, T value) const {
  static_assert(sizeof(T) <= 4 && std::is_unsigned_v<T>);
  return WriteRegion(VFIO_PCI_CONFIG_REGION_INDEX, offset,
                     {reinterpret_cast<const uint8_t*>(&value), sizeof(value)});
}

}  // namespace passthru::vfio

#endif  // PASSTHRU_DEVICES_VFIO_VFIO_DEVICE_H_
