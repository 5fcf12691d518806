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

// KVM's VFIO pseudo-device (Documentation/virt/kvm/devices/vfio.rst): tells
// KVM which VFIO groups belong to the VM, so that it knows of non-coherent DMA
// and hands itself to the drivers that ask for it. At most one a VM: a second
// Create() fails (EBUSY) until the first is gone.
//
// Thread-safe. It does not refer to `vm` after Create().
class KvmVfioDevice {
 public:
  static absl::StatusOr<std::unique_ptr<KvmVfioDevice>> Create(KvmVm* vm);

  // KVM_DEV_VFIO_GROUP_ADD and _DEL with a /dev/vfio/<n> descriptor. A group
  // is removed before its descriptor is closed; KVM forgets the rest when this
  // object goes.
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
