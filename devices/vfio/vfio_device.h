// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_DEVICES_VFIO_VFIO_DEVICE_H_
#define PASSTHRU_DEVICES_VFIO_VFIO_DEVICE_H_

#include <linux/vfio.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
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

// One host PCI device that is bound to VFIO, with its regions, interrupts and
// resets. Each method makes one system call or a few. A failure names device,
// call and values, and carries the kernel's errno (kernel::ErrnoOf()).
//
// Sizes and counts that the device and the kernel return are checked before
// use. A region or capability that makes no sense is marked as such
// (VfioRegionInfo::status).
//
// When the last descriptor of a device is closed, the kernel disables its
// interrupts and resets it.
//
// Thread-safe, because it is immutable after Open(). Two accesses to the same
// register race as they would on hardware.
class VfioDevice {
 public:
  // Opens the device and queries all its regions and interrupts. Fails if a
  // query fails with an errno other than EINVAL, which means that the device
  // has no such region or interrupt.
  //
  // `vf_token` is needed for a virtual function whose physical function is
  // bound to vfio-pci, and refused for other functions. It is the UUID that the
  // user of the physical function set, as
  // "83d8f4f2-509f-382f-3c1e-e6bfe0fa1003".
  static absl::StatusOr<std::unique_ptr<VfioDevice>> Open(
      std::shared_ptr<VfioGroup> group, pci::Bdf address,
      std::string_view vf_token = "");

  // Takes over a descriptor of the device at `address` of `group` that another
  // party opened (VFIO_GROUP_GET_DEVICE_FD). Queries it like Open().
  static absl::StatusOr<std::unique_ptr<VfioDevice>> Adopt(
      std::shared_ptr<VfioGroup> group, pci::Bdf address,
      kernel::FileDescriptor descriptor);

  pci::Bdf address() const { return address_; }
  // Returns the address as text, such as "0000:01:00.0".
  const std::string& name() const { return name_; }

  // Return the flags of struct vfio_device_info (VFIO_DEVICE_FLAGS_*) and
  // whether they say that the device supports Reset().
  uint32_t flags() const { return flags_; }
  bool can_reset() const { return (flags_ & VFIO_DEVICE_FLAGS_RESET) != 0; }

  // Return a region by its VFIO_PCI_*_REGION_INDEX or driver-specific index,
  // and an interrupt type by its VFIO_PCI_*_IRQ_INDEX. Every index below
  // region_count() or irq_count() has an entry, also if its query failed. For
  // other indices they return an entry whose exists() is false.
  uint32_t region_count() const {
    return static_cast<uint32_t>(regions_.size());
  }
  const VfioRegionInfo& region(uint32_t index) const {
    return index < regions_.size() ? regions_[index] : NoRegion();
  }
  uint32_t irq_count() const { return static_cast<uint32_t>(irqs_.size()); }
  const VfioIrqInfo& irq(uint32_t index) const;

  // --- Regions. ---

  // Read or write all of `data` at `offset` of a region. They return OutOfRange
  // outside the region, PermissionDenied if the region cannot be read or
  // written, Unavailable (EIO) while the device does not decode memory or is in
  // D3hot, and DataLoss if the kernel transfers too few bytes.
  //
  // An aligned access of 1, 2 or 4 bytes reaches the device as one access. One
  // of 8 bytes to a memory BAR does so only since Linux 6.11, and on x86. Older
  // kernels split it into two accesses of 4 bytes (vfio_pci_core_do_io_rw()).
  absl::Status ReadRegion(uint32_t index, uint64_t offset,
                          absl::Span<uint8_t> data) const;
  absl::Status WriteRegion(uint32_t index, uint64_t offset,
                           absl::Span<const uint8_t> data) const;

  // Maps [offset, offset + size) of a region, shared, with the protection that
  // the region's flags allow. The range must lie in one of the region's
  // MapAreas(), and `offset` must be a multiple of the page size. The mapping
  // is whole pages, so it is larger than a region that is smaller than a page.
  // A region that cannot be read is PermissionDenied, because a load from the
  // mapping would end the process.
  absl::StatusOr<kernel::MappedRegion> MapRegion(uint32_t index,
                                                 uint64_t offset,
                                                 uint64_t size) const;

  // Access the configuration space. T is uint8_t, uint16_t or uint32_t.
  uint64_t config_size() const;
  template <typename T>
  absl::StatusOr<T> ReadConfig(uint16_t offset) const;
  template <typename T>
  absl::Status WriteConfig(uint16_t offset, T value) const;

  // --- Interrupts. ---
  //
  // These call VFIO_DEVICE_SET_IRQS. `index` is VFIO_PCI_*_IRQ_INDEX.

  // Makes vector `start` + i signal event_fds[i], or nothing if that is -1.
  // Enables the interrupt type if it is off. Returns 0 on success. If the host
  // has too few vectors, this enables nothing and returns how many it has.
  absl::StatusOr<uint32_t> SetIrqEventFds(
      uint32_t index, uint32_t start, absl::Span<const int> event_fds) const;
  // Disables the interrupt type. Fails with EINVAL if it is off already.
  absl::Status DisableIrq(uint32_t index) const;
  // Mask and unmask INTx. Other types are not supported.
  absl::Status MaskIrq(uint32_t index) const;
  absl::Status UnmaskIrq(uint32_t index) const;
  // Makes the kernel unmask INTx whenever `event_fd` is signalled, without
  // involving this process. -1 ends that.
  absl::Status SetUnmaskEventFd(uint32_t index, int event_fd) const;
  // Signals the eventfds of these vectors as the device would (loopback).
  // Returns InvalidArgument if `count` is 0.
  absl::Status TriggerIrq(uint32_t index, uint32_t start, uint32_t count) const;
  // Set the eventfds of VFIO_PCI_ERR_IRQ_INDEX and VFIO_PCI_REQ_IRQ_INDEX. The
  // kernel signals the first when the device reports an uncorrectable error,
  // and the second when the host wants the device back. It repeats the request
  // until the host has the device. -1 removes an eventfd.
  absl::Status SetErrorEventFd(int event_fd) const;
  absl::Status SetRequestEventFd(int event_fd) const;

  // --- Resets. ---

  // Resets this PCI function alone (VFIO_DEVICE_RESET). The kernel preserves
  // the configuration space that it shows and the connections to eventfds.
  // Returns Unimplemented unless can_reset().
  absl::Status Reset() const;

  // Returns the devices that a reset of the device's slot or bus resets
  // (VFIO_DEVICE_GET_PCI_HOT_RESET_INFO). Returns NotFound (ENODEV) if there is
  // no such reset.
  absl::StatusOr<std::vector<HotResetDevice>> GetHotResetDevices() const;
  // Resets the slot or bus (VFIO_DEVICE_PCI_HOT_RESET). `group_fds` proves that
  // the caller owns the groups of all devices on it.
  absl::Status HotReset(absl::Span<const int> group_fds) const;

  const std::shared_ptr<VfioGroup>& group() const { return group_; }
  kernel::Syscalls* syscalls() const { return syscalls_; }
  int fd() const { return device_.get(); }

 private:
  VfioDevice(std::shared_ptr<VfioGroup> group, pci::Bdf address,
             kernel::FileDescriptor device);

  // Queries the device and all its regions and interrupts, as the last step of
  // Open().
  absl::Status Query();
  // Returns the name of a call for messages, such as "VFIO_DEVICE_RESET on
  // 0000:01:00.0".
  std::string What(const char* call) const;
  static const VfioRegionInfo& NoRegion();
  // Calls VFIO_DEVICE_SET_IRQS. `data` holds the eventfds that follow struct
  // vfio_irq_set, and is empty if `flags` do not say that any follow. Returns
  // the ioctl's value.
  absl::StatusOr<int> SetIrqs(uint32_t index, uint32_t flags, uint32_t start,
                              uint32_t count,
                              absl::Span<const int32_t> data) const;
  absl::Status SetIrqsNone(uint32_t index, uint32_t action, uint32_t start,
                           uint32_t count) const;
  absl::Status SetOneEventFd(uint32_t index, uint32_t action,
                             int event_fd) const;

  // Declared before device_, and so destroyed after it. The kernel requires the
  // group to stay open as long as the device is open.
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
