// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/kvm/fake_kvm_vfio_device.h"

#include <linux/kvm.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <utility>

#include "passthru/devices/kernel/syscalls.h"
#include "passthru/testing/journal/call.h"
#include "passthru/testing/journal/decode_kvm.h"
#include "passthru/testing/journal/user_memory.h"
#include "passthru/testing/kernel/fake_file.h"
#include "passthru/testing/kernel/file_table.h"
#include "passthru/testing/kernel/kernel_core.h"
#include "passthru/testing/kvm/fake_kvm_vm.h"

namespace passthru::fake {

using kernel::SyscallResult;

FakeKvmVfioDevice::FakeKvmVfioDevice(KernelCore* core,
                                     std::shared_ptr<FakeKvmVm> vm)
    : core_(core), vm_(std::move(vm)) {}

FakeKvmVfioDevice::~FakeKvmVfioDevice() = default;

journal::Call FakeKvmVfioDevice::DescribeIoctl(unsigned long request,
                                               const void* arg) const {
  return journal::DescribeKvmIoctl(request, arg);
}

std::string_view FakeKvmVfioDevice::IoctlName(unsigned long request) const {
  return journal::NameOfKvmIoctl(request);
}

// Answers like kvm_device_ioctl().
SyscallResult<int> FakeKvmVfioDevice::Ioctl(unsigned long request, void* arg) {
  if (vm_->IsForeignProcess()) return {.error = EIO};
  switch (request) {
    case KVM_SET_DEVICE_ATTR: {
      const auto attribute = journal::CopyFromUser<kvm_device_attr>(arg);
      if (!attribute.has_value()) return {.error = EFAULT};
      return {.error = SetAttribute(*attribute)};
    }
    case KVM_GET_DEVICE_ATTR:
      return {.error = EPERM};  // kvm_vfio_ops has no get_attr.
    case KVM_HAS_DEVICE_ATTR: {
      const auto attribute = journal::CopyFromUser<kvm_device_attr>(arg);
      if (!attribute.has_value()) return {.error = EFAULT};
      const bool known = attribute->group == KVM_DEV_VFIO_FILE &&
                         (attribute->attr == KVM_DEV_VFIO_FILE_ADD ||
                          attribute->attr == KVM_DEV_VFIO_FILE_DEL);
      return {.error = known ? 0 : ENXIO};
    }
    default:
      return {.error = ENOTTY};
  }
}

int FakeKvmVfioDevice::SetAttribute(const kvm_device_attr& attribute) {
  if (attribute.group != KVM_DEV_VFIO_FILE) return ENXIO;
  if (attribute.attr != KVM_DEV_VFIO_FILE_ADD &&
      attribute.attr != KVM_DEV_VFIO_FILE_DEL) {
    return ENXIO;
  }
  const auto fd =
      journal::CopyFromUser<int32_t>(journal::UserPointer(attribute.addr));
  if (!fd.has_value()) return EFAULT;
  return attribute.attr == KVM_DEV_VFIO_FILE_ADD ? AddFile(*fd)
                                                 : RemoveFile(*fd);
}

int FakeKvmVfioDevice::AddFile(int fd) {
  core_->mutex.AssertHeld();
  if (!FileTable::IsOpen(fd)) return EBADF;
  FileRef file = core_->files.Lookup(fd);
  if (file == nullptr || !file->IsVfioFile(core_->version)) return EINVAL;
  if (std::find(files_.begin(), files_.end(), file) != files_.end()) {
    return EEXIST;
  }
  files_.push_back(std::move(file));
  return 0;
}

int FakeKvmVfioDevice::RemoveFile(int fd) {
  core_->mutex.AssertHeld();
  if (!FileTable::IsOpen(fd)) return EBADF;
  const auto found =
      std::find(files_.begin(), files_.end(), core_->files.Lookup(fd));
  if (found == files_.end()) return ENOENT;
  files_.erase(found);
  return 0;
}

void FakeKvmVfioDevice::OnRelease() {
  files_.clear();
  vm_->OnVfioDeviceReleased();
  vm_.reset();
}

}  // namespace passthru::fake
