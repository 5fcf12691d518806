// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/kvm/kvm_vcpu.h"

#include <linux/kvm.h>
#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/types/span.h"
#include "passthru/devices/kernel/errors.h"
#include "passthru/devices/kernel/file_descriptor.h"
#include "passthru/devices/kernel/flex_array.h"
#include "passthru/devices/kernel/mapped_region.h"
#include "passthru/devices/kernel/status_macros.h"
#include "passthru/devices/kernel/syscalls.h"
#include "passthru/devices/kvm/kvm_vm.h"
#include "passthru/devices/kvm/vcpu_exit.h"
#include "passthru/devices/memory/guest_address.h"

namespace passthru::kvm {

using kernel::ErrnoError;
using kernel::SyscallResult;

absl::StatusOr<std::unique_ptr<KvmVcpu>> KvmVcpu::Create(KvmVm* vm,
                                                         unsigned id) {
  kernel::Syscalls* const syscalls = vm->syscalls();
  PASSTHRU_ASSIGN_OR_RETURN(const int immediate_exit,
                            vm->CheckExtension(KVM_CAP_IMMEDIATE_EXIT));
  if (immediate_exit == 0) {
    return absl::FailedPreconditionError(
        "this host's KVM lacks KVM_CAP_IMMEDIATE_EXIT, without which a virtual "
        "CPU cannot be stopped: use Linux 4.12 or newer");
  }
  PASSTHRU_ASSIGN_OR_RETURN(const size_t size, vm->VcpuMmapSize());
  const SyscallResult<int> created =
      syscalls->IoctlInt(vm->fd(), KVM_CREATE_VCPU, id);
  if (!created.ok()) {
    return ErrnoError(created.error, absl::StrCat("KVM_CREATE_VCPU(", id, ")"));
  }
  kernel::FileDescriptor vcpu(syscalls, created.value);
  PASSTHRU_ASSIGN_OR_RETURN(
      kernel::MappedRegion run,
      kernel::MappedRegion::Map(
          syscalls, {.length = size,
                     .protection = PROT_READ | PROT_WRITE,
                     .flags = MAP_SHARED,
                     .fd = vcpu.get(),
                     .offset = 0,
                     .name = absl::StrCat("struct kvm_run of vCPU ", id)}));
  return absl::WrapUnique(
      new KvmVcpu(syscalls, id, std::move(vcpu), std::move(run)));
}

void KvmVcpu::RequestImmediateExit() {
  std::atomic_ref<uint8_t>(run().immediate_exit).store(1);
}

absl::StatusOr<VcpuExit> KvmVcpu::Run() {
  const SyscallResult<int> result = syscalls_->IoctlInt(fd(), KVM_RUN, 0);
  if (result.error == EINTR || result.error == EAGAIN) {
    // This InterruptedExit answers the request. It also answers a request that
    // arrives just now, because the caller looks for pending work only after
    // Run() returns.
    std::atomic_ref<uint8_t>(run().immediate_exit).store(0);
    return InterruptedExit{};
  }
  if (!result.ok()) {
    return ErrnoError(result.error, absl::StrCat("KVM_RUN of vCPU ", id_));
  }
  switch (run().exit_reason) {
    case KVM_EXIT_IO:
      return DecodeIo();
    case KVM_EXIT_MMIO:
      return DecodeMmio();
    case KVM_EXIT_HLT:
      return HaltExit{};
    case KVM_EXIT_SHUTDOWN:
      return ShutdownExit{};
    case KVM_EXIT_INTR:
      return InterruptedExit{};
    case KVM_EXIT_SYSTEM_EVENT:
      return SystemEventExit{.type = run().system_event.type};
    case KVM_EXIT_FAIL_ENTRY:
      return FailEntryExit{.hardware_reason =
                               run().fail_entry.hardware_entry_failure_reason};
    case KVM_EXIT_INTERNAL_ERROR:
      return InternalErrorExit{.suberror = run().internal.suberror};
    default:
      return UnknownExit{.reason = run().exit_reason};
  }
}

absl::StatusOr<VcpuExit> KvmVcpu::DecodeIo() const {
  // Copies the shared structure, so that the checked values are those used.
  const auto io = run().io;
  const uint64_t bytes = uint64_t{io.size} * io.count;
  if ((io.size != 1 && io.size != 2 && io.size != 4) || io.count == 0 ||
      io.data_offset > run_.size() || bytes > run_.size() - io.data_offset) {
    return absl::DataLossError(absl::StrFormat(
        "KVM_EXIT_IO of vCPU %d makes no sense: %d accesses of %d bytes, with "
        "data at offset 0x%x of a mapping of 0x%x bytes",
        id_, io.count, io.size, uint64_t{io.data_offset}, run_.size()));
  }
  return IoExit{
      .port = io.port,
      .width = io.size,
      .count = io.count,
      .is_write = io.direction == KVM_EXIT_IO_OUT,
      .data = absl::MakeSpan(
          static_cast<uint8_t*>(run_.data()) + io.data_offset, bytes)};
}

absl::StatusOr<VcpuExit> KvmVcpu::DecodeMmio() const {
  auto& mmio = run().mmio;
  const uint32_t length = mmio.len;
  if (length == 0 || length > sizeof(mmio.data)) {
    return absl::DataLossError(absl::StrFormat(
        "KVM_EXIT_MMIO of vCPU %d at 0x%x has %d bytes, and not "
        "1 to %d",
        id_, uint64_t{mmio.phys_addr}, length, sizeof(mmio.data)));
  }
  return MmioExit{.address = memory::GuestAddress(mmio.phys_addr),
                  .is_write = mmio.is_write != 0,
                  .data = absl::MakeSpan(mmio.data, length)};
}

absl::Status KvmVcpu::Call(unsigned long request, void* arg,
                           const char* what) const {
  const SyscallResult<int> result = syscalls_->Ioctl(fd(), request, arg);
  if (!result.ok()) {
    return ErrnoError(result.error, absl::StrCat(what, " of vCPU ", id_));
  }
  return absl::OkStatus();
}

absl::StatusOr<kvm_regs> KvmVcpu::GetRegs() const {
  kvm_regs regs = {};
  PASSTHRU_RETURN_IF_ERROR(Call(KVM_GET_REGS, &regs, "KVM_GET_REGS"));
  return regs;
}

absl::Status KvmVcpu::SetRegs(const kvm_regs& regs) {
  kvm_regs copy = regs;
  return Call(KVM_SET_REGS, &copy, "KVM_SET_REGS");
}

absl::StatusOr<kvm_sregs> KvmVcpu::GetSregs() const {
  kvm_sregs sregs = {};
  PASSTHRU_RETURN_IF_ERROR(Call(KVM_GET_SREGS, &sregs, "KVM_GET_SREGS"));
  return sregs;
}

absl::Status KvmVcpu::SetSregs(const kvm_sregs& sregs) {
  kvm_sregs copy = sregs;
  return Call(KVM_SET_SREGS, &copy, "KVM_SET_SREGS");
}

absl::Status KvmVcpu::SetMsrs(absl::Span<const kvm_msr_entry> msrs) {
  kernel::FlexArray<kvm_msrs, kvm_msr_entry> list(msrs.size());
  list.header().nmsrs = static_cast<uint32_t>(msrs.size());
  std::copy(msrs.begin(), msrs.end(), list.elements().begin());
  const SyscallResult<int> result =
      syscalls_->Ioctl(fd(), KVM_SET_MSRS, list.data());
  if (!result.ok()) {
    return ErrnoError(result.error, absl::StrCat("KVM_SET_MSRS of vCPU ", id_));
  }
  // The kernel stops at the first one that it refuses (__msr_io()).
  const auto done = static_cast<size_t>(result.value);
  if (done >= msrs.size()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrFormat(
      "KVM_SET_MSRS of vCPU %d: KVM refuses the value 0x%x of MSR 0x%x", id_,
      uint64_t{msrs[done].data}, msrs[done].index));
}

}  // namespace passthru::kvm
