// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_KVM_FAKE_KVM_FILES_H_
#define PASSTHRU_TESTING_KVM_FAKE_KVM_FILES_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "passthru/devices/kernel/syscalls.h"
#include "passthru/testing/journal/call.h"
#include "passthru/testing/kernel/fake_file.h"
#include "passthru/testing/kernel/kernel_core.h"

namespace passthru::fake {

class FakeKvmVm;
class FakeVcpu;

// The descriptor of a VM (kvm_vm_fops).
class FakeKvmVmFile final : public FakeFile {
 public:
  explicit FakeKvmVmFile(std::shared_ptr<FakeKvmVm> vm);
  ~FakeKvmVmFile() override;

  std::string Describe() const override { return "vm"; }
  journal::Call DescribeIoctl(unsigned long request,
                              const void* arg) const override;
  std::string_view IoctlName(unsigned long request) const override;
  kernel::SyscallResult<int> Ioctl(unsigned long request, void* arg) override;
  void OnRelease() override;

 private:
  std::shared_ptr<FakeKvmVm> vm_;
};

// The descriptor of a vCPU (kvm_vcpu_fops). It serves KVM_RUN, the registers
// and the mapping of struct kvm_run.
class FakeKvmVcpuFile final : public FakeFile {
 public:
  FakeKvmVcpuFile(std::shared_ptr<FakeKvmVm> vm,
                  std::shared_ptr<FakeVcpu> vcpu);
  ~FakeKvmVcpuFile() override;

  std::string Describe() const override;
  journal::Call DescribeIoctl(unsigned long request,
                              const void* arg) const override;
  std::string_view IoctlName(unsigned long request) const override;
  bool RunsUnlocked(unsigned long request) const override;
  kernel::SyscallResult<int> Ioctl(unsigned long request, void* arg) override;
  kernel::SyscallResult<void*> Mmap(void* address, size_t length,
                                    int protection, int flags,
                                    uint64_t offset) override;
  void OnRelease() override;

 private:
  int SetCpuid(const void* arg) const;
  static int SetupMce(const void* arg);
  static int DeviceAttribute(unsigned long request, const void* arg);

  std::shared_ptr<FakeKvmVm> vm_;
  const std::shared_ptr<FakeVcpu> vcpu_;
};

}  // namespace passthru::fake

#endif  // PASSTHRU_TESTING_KVM_FAKE_KVM_FILES_H_
