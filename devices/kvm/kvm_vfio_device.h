// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_DEVICES_KVM_KVM_VFIO_DEVICE_H_
#define PASSTHRU_DEVICES_KVM_KVM_VFIO_DEVICE_H_

#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "passthru/devices/kernel/file_descriptor.h"
#include "passthru/devices/kernel/syscalls.h"
#include "passthru/devices/kvm/kvm_vm.h"

namespace passthru::kvm {

// KVM's VFIO pseudo-device (Documentation/virt/kvm/devices/vfio.rst). It tells
// KVM which VFIO groups belong to the VM, so that KVM knows of non-coherent DMA
// and passes itself to the drivers that need it. A VM has at most one such
// device, so a second Create() fails with EBUSY until the first object is
// destroyed. A kernel without kvm_vfio_release() (Linux before 6.2) keeps the
// device until it destroys the VM.
//
// Thread-safe.
class KvmVfioDevice {
 public:
  // Creates the device of `vm`. The object does not refer to `vm` afterwards.
  static absl::StatusOr<std::unique_ptr<KvmVfioDevice>> Create(KvmVm* vm);

  // Adds or removes a group (KVM_DEV_VFIO_GROUP_ADD and _DEL), given its
  // /dev/vfio/<n> descriptor. Callers must remove a group before they close its
  // descriptor. When KVM destroys the device, it forgets the remaining groups.
  absl::Status AddGroup(int group_fd);
  absl::Status RemoveGroup(int group_fd);

 private:
  KvmVfioDevice(kernel::Syscalls* syscalls, kernel::FileDescriptor device)
      : syscalls_(syscalls), device_(std::move(device)) {}

  kernel::Syscalls* const syscalls_;
  const kernel::FileDescriptor device_;
};

}  // namespace passthru::kvm

#endif  // PASSTHRU_DEVICES_KVM_KVM_VFIO_DEVICE_H_
