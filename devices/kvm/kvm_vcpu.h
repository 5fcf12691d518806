// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_DEVICES_KVM_KVM_VCPU_H_
#define PASSTHRU_DEVICES_KVM_KVM_VCPU_H_

#include <linux/kvm.h>

#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "passthru/devices/kernel/file_descriptor.h"
#include "passthru/devices/kernel/mapped_region.h"
#include "passthru/devices/kernel/syscalls.h"
#include "passthru/devices/kvm/kvm_vm.h"
#include "passthru/devices/kvm/vcpu_exit.h"

namespace passthru::kvm {

// One virtual CPU. It owns the vCPU's descriptor and the `struct kvm_run` that
// it shares with the kernel.
//
// Thread-compatible, because KVM wants a vCPU's ioctls from one thread at a
// time. Only RequestImmediateExit() may be called from any thread or from a
// signal handler.
class KvmVcpu {
 public:
  // Creates vCPU `id` of `vm`, which must outlive it. Returns
  // FailedPrecondition if KVM lacks KVM_CAP_IMMEDIATE_EXIT.
  static absl::StatusOr<std::unique_ptr<KvmVcpu>> Create(KvmVm* vm,
                                                         unsigned id);

  // Runs the guest with KVM_RUN until it needs the VMM. A failure has the
  // kernel's errno (kernel::ErrnoOf()). EFAULT means that the guest accessed a
  // memory slot without host memory. Returns DataLoss if lengths or offsets in
  // `struct kvm_run` are invalid.
  absl::StatusOr<VcpuExit> Run();

  // Makes the next Run() complete the access of the last exit and then return
  // InterruptedExit without entering the guest. A Run() that is already in the
  // guest notices the request only if a signal also interrupts its thread.
  void RequestImmediateExit();

  absl::StatusOr<kvm_regs> GetRegs() const;
  absl::Status SetRegs(const kvm_regs& regs);
  absl::StatusOr<kvm_sregs> GetSregs() const;
  absl::Status SetSregs(const kvm_sregs& sregs);
  // Sets the registers of `msrs` in order (KVM_SET_MSRS). Names the one that
  // KVM refuses.
  absl::Status SetMsrs(absl::Span<const kvm_msr_entry> msrs);

  unsigned id() const { return id_; }
  int fd() const { return vcpu_.get(); }

 private:
  KvmVcpu(kernel::Syscalls* syscalls, unsigned id, kernel::FileDescriptor vcpu,
          kernel::MappedRegion run)
      : syscalls_(syscalls),
        id_(id),
        vcpu_(std::move(vcpu)),
        run_(std::move(run)) {}

  kvm_run& run() const { return *static_cast<kvm_run*>(run_.data()); }

  absl::StatusOr<VcpuExit> DecodeIo() const;
  absl::StatusOr<VcpuExit> DecodeMmio() const;
  absl::Status Call(unsigned long request, void* arg, const char* what) const;

  kernel::Syscalls* const syscalls_;
  const unsigned id_;
  const kernel::FileDescriptor vcpu_;
  const kernel::MappedRegion run_;
};

}  // namespace passthru::kvm

#endif  // PASSTHRU_DEVICES_KVM_KVM_VCPU_H_
