// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/kvm/fake_kvm_stored_state.h"

#include <linux/kvm.h>
#include <sys/ioctl.h>

#include <cerrno>
#include <cstddef>

#include "passthru/testing/journal/user_memory.h"

namespace passthru::fake {
namespace {

using kernel::SyscallResult;

constexpr uint32_t kMostMsrs = 256;  // MAX_IO_MSRS

struct Pair {
  unsigned long get;
  unsigned long set;
};
constexpr Pair kOfVcpu[] = {
    {KVM_GET_MP_STATE, KVM_SET_MP_STATE},
    {KVM_GET_FPU, KVM_SET_FPU},
    {KVM_GET_LAPIC, KVM_SET_LAPIC},
    {KVM_GET_VCPU_EVENTS, KVM_SET_VCPU_EVENTS},
    {KVM_GET_DEBUGREGS, KVM_SET_DEBUGREGS},
    {KVM_GET_XSAVE, KVM_SET_XSAVE},
    {KVM_GET_XCRS, KVM_SET_XCRS},
};
constexpr Pair kOfVm[] = {
    {KVM_GET_CLOCK, KVM_SET_CLOCK},
    {KVM_GET_PIT2, KVM_SET_PIT2},
};

const Pair* Find(FakeKvmStoredState::Of of, unsigned long request) {
  const auto in = [request](const auto& pairs) -> const Pair* {
    for (const Pair& pair : pairs) {
      if (request == pair.get || request == pair.set) return &pair;
    }
    return nullptr;
  };
  return of == FakeKvmStoredState::Of::kVcpu ? in(kOfVcpu) : in(kOfVm);
}

// Returns the registers that a call names, or an errno.
SyscallResult<std::vector<kvm_msr_entry>> ReadMsrs(const void* arg) {
  const auto header = journal::CopyFromUser<kvm_msrs>(arg);
  if (!header.has_value()) return {.error = EFAULT};
  if (header->nmsrs >= kMostMsrs) return {.error = E2BIG};
  std::vector<kvm_msr_entry> entries(header->nmsrs);
  const bool readable = journal::CopyFromUser(
      entries.data(), static_cast<const char*>(arg) + sizeof(kvm_msrs),
      entries.size() * sizeof(kvm_msr_entry));
  if (!readable) return {.error = EFAULT};
  return {.value = std::move(entries)};
}

}  // namespace

std::optional<SyscallResult<int>> FakeKvmStoredState::Ioctl(
    unsigned long request, void* arg) {
  const Pair* const pair = Find(of_, request);
  if (pair == nullptr) return std::nullopt;
  std::vector<uint8_t>& bytes = structs_[pair->get];
  bytes.resize(_IOC_SIZE(request));
  const bool copied =
      request == pair->get
          ? journal::CopyToUser(arg, bytes.data(), bytes.size())
          : journal::CopyFromUser(bytes.data(), arg, bytes.size());
  return SyscallResult<int>{.error = copied ? 0 : EFAULT};
}

SyscallResult<int> FakeKvmStoredState::SetMsrs(const void* arg) {
  const auto entries = ReadMsrs(arg);
  if (!entries.ok()) return {.error = entries.error};
  for (const kvm_msr_entry& entry : entries.value) {
    msrs_[entry.index] = entry.data;
  }
  return {.value = static_cast<int>(entries.value.size())};
}

SyscallResult<int> FakeKvmStoredState::GetMsrs(void* arg) const {
  auto entries = ReadMsrs(arg);
  if (!entries.ok()) return {.error = entries.error};
  for (kvm_msr_entry& entry : entries.value) {
    const auto found = msrs_.find(entry.index);
    entry.data = found == msrs_.end() ? 0 : found->second;
  }
  if (!journal::CopyToUser(static_cast<char*>(arg) + sizeof(kvm_msrs),
                           entries.value.data(),
                           entries.value.size() * sizeof(kvm_msr_entry))) {
    return {.error = EFAULT};
  }
  return {.value = static_cast<int>(entries.value.size())};
}

}  // namespace passthru::fake
