// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_KVM_FAKE_KVM_VFIO_DEVICE_H_
#define PASSTHRU_TESTING_KVM_FAKE_KVM_VFIO_DEVICE_H_

#include <linux/kvm.h>

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "passthru/devices/kernel/syscalls.h"
#include "passthru/testing/kernel/fake_file.h"
#include "passthru/testing/kernel/kernel_core.h"

namespace passthru::fake {

class FakeKvmVm;

// KVM's VFIO pseudo device (virt/kvm/vfio.c), a list of the VFIO files that the
// VM knows. It keeps each file in the list open.
class FakeKvmVfioDevice final : public FakeFile {
 public:
  // The device keeps the VM alive, as in the kernel.
  FakeKvmVfioDevice(KernelCore* core, std::shared_ptr<FakeKvmVm> vm);
  ~FakeKvmVfioDevice() override;

  std::string Describe() const override { return "kvm-vfio"; }
  journal::Call DescribeIoctl(unsigned long request,
                              const void* arg) const override;
  std::string_view IoctlName(unsigned long request) const override;
  kernel::SyscallResult<int> Ioctl(unsigned long request, void* arg) override;
  void OnRelease() override;

  size_t file_count() const { return files_.size(); }

 private:
  int SetAttribute(const kvm_device_attr& attribute);
  int AddFile(int fd);
  int RemoveFile(int fd);

  KernelCore* const core_;
  std::shared_ptr<FakeKvmVm> vm_;
  std::vector<FileRef> files_;
};

}  // namespace passthru::fake

#endif  // PASSTHRU_TESTING_KVM_FAKE_KVM_VFIO_DEVICE_H_
