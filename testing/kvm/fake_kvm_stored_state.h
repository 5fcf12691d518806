// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_KVM_FAKE_KVM_STORED_STATE_H_
#define PASSTHRU_TESTING_KVM_FAKE_KVM_STORED_STATE_H_

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "passthru/devices/kernel/syscalls.h"

namespace passthru::fake {

// The state of a vCPU or of a VM that a VMM gets and sets as a struct, and that
// means nothing to a guest program: it is what was set last, or zeroes.
//
// Thread-compatible.
class FakeKvmStoredState {
 public:
  // Which calls to answer. Those of a VM are on its clock and its PIT.
  enum class Of { kVcpu, kVm };
  explicit FakeKvmStoredState(Of of) : of_(of) {}

  // Carries out a call that gets or sets such a struct. Returns nothing for
  // another call.
  std::optional<kernel::SyscallResult<int>> Ioctl(unsigned long request,
                                                  void* arg);

  // Answer KVM_SET_MSRS and KVM_GET_MSRS like msr_io(), for any register.
  kernel::SyscallResult<int> SetMsrs(const void* arg);
  kernel::SyscallResult<int> GetMsrs(void* arg) const;

 private:
  const Of of_;
  std::map<unsigned long, std::vector<uint8_t>>
      structs_;  // By the getting call.
  std::map<uint32_t, uint64_t> msrs_;
};

}  // namespace passthru::fake

#endif  // PASSTHRU_TESTING_KVM_FAKE_KVM_STORED_STATE_H_
