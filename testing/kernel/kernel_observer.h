// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_KERNEL_KERNEL_OBSERVER_H_
#define PASSTHRU_TESTING_KERNEL_KERNEL_OBSERVER_H_

#include <cstdint>

#include "passthru/testing/journal/call.h"

namespace passthru::fake {

// Looks at the fake kernel after everything that may have changed it: each call
// that the fake carried out or refused, each step of a device. Calls that go to
// the real kernel without the fake's mutex (epoll_wait, reads of an eventfd)
// change nothing of it and are not shown.
//
// Called with the fake kernel's mutex held.
class KernelObserver {
 public:
  virtual ~KernelObserver() = default;

  // `result` of a call that succeeded, as the journal shows it; `error` is
  // errno, 0 on success.
  virtual void OnCall(const journal::Call& call, int64_t result, int error) = 0;
  virtual void OnHardwareStep() = 0;
};

}  // namespace passthru::fake

#endif  // PASSTHRU_TESTING_KERNEL_KERNEL_OBSERVER_H_
