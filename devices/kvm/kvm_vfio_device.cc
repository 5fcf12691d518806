// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/kvm/kvm_vfio_device.h"

#include <linux/kvm.h>

#include <cstdint>
#include <memory>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_format.h"
#include "passthru/devices/kernel/errors.h"
#include "passthru/devices/kernel/file_descriptor.h"
#include "passthru/devices/kernel/syscalls.h"
#include "passthru/devices/kvm/kvm_vm.h"

namespace passthru::kvm {
namespace {

// Since Linux 6.5 KVM_DEV_VFIO_GROUP is also called KVM_DEV_VFIO_FILE, with the
// same numbers.
absl::Status SetGroup(kernel::Syscalls* syscalls, int device, int group_fd,
                      uint64_t attribute, const char* name) {
  int32_t fd = group_fd;
  kvm_device_attr attr = {};
  attr.group = KVM_DEV_VFIO_GROUP;
  attr.attr = attribute;
  attr.addr = reinterpret_cast<uintptr_t>(&fd);
  const kernel::SyscallResult<int> result =
      syscalls->Ioctl(device, KVM_SET_DEVICE_ATTR, &attr);
  if (!result.ok()) {
    return kernel::ErrnoError(
        result.error,
        absl::StrFormat("KVM_SET_DEVICE_ATTR(%s, group descriptor %d)", name,
                        group_fd));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<KvmVfioDevice>> KvmVfioDevice::Create(
    KvmVm* vm) {
  kvm_create_device create = {};
  create.type = KVM_DEV_TYPE_VFIO;
  const kernel::SyscallResult<int> created =
      vm->syscalls()->Ioctl(vm->fd(), KVM_CREATE_DEVICE, &create);
  if (!created.ok()) {
    return kernel::ErrnoError(created.error,
                              "KVM_CREATE_DEVICE(KVM_DEV_TYPE_VFIO)");
  }
  return absl::WrapUnique(new KvmVfioDevice(
      vm->syscalls(),
      kernel::FileDescriptor(vm->syscalls(), static_cast<int>(create.fd))));
}

absl::Status KvmVfioDevice::AddGroup(int group_fd) {
  return SetGroup(syscalls_, device_.get(), group_fd, KVM_DEV_VFIO_GROUP_ADD,
                  "KVM_DEV_VFIO_GROUP_ADD");
}

absl::Status KvmVfioDevice::RemoveGroup(int group_fd) {
  return SetGroup(syscalls_, device_.get(), group_fd, KVM_DEV_VFIO_GROUP_DEL,
                  "KVM_DEV_VFIO_GROUP_DEL");
}

}  // namespace passthru::kvm
