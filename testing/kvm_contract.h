// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_KVM_CONTRACT_H_
#define PASSTHRU_TESTING_KVM_CONTRACT_H_

#include <string>
#include <vector>

#include "devices/kernel/syscalls.h"
#include "testing/kernel_version.h"

namespace passthru::fake {

// One question to KVM and its answer: "0", "EINVAL", "fd", "4096".
struct KvmObservation {
  std::string section;
  std::string question;
  std::string answer;

  // "irq: IRQFD bad fd -> EBADF".
  std::string ToString() const;
};

// Asks /dev/kvm everything that the fake must answer as Linux does. The same
// questions go to the fake and to the real kernel: the answers of both are held
// against KvmTranscript(). Leaves nothing behind.
std::vector<KvmObservation> ObserveKvm(kernel::Syscalls* syscalls);

// What kernels of this version were seen to answer, in the same order (6.1 and
// 6.12: Debian's cloud kernels; 6.18: a build without SMM).
std::vector<KvmObservation> KvmTranscript(KernelVersion version);

}  // namespace passthru::fake

#endif  // PASSTHRU_TESTING_KVM_CONTRACT_H_
