// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_KERNEL_KERNEL_OBSERVER_H_
#define PASSTHRU_TESTING_KERNEL_KERNEL_OBSERVER_H_

#include <cstdint>

#include "passthru/testing/journal/call.h"

namespace passthru::fake {

// Watches the fake kernel. It is called after everything that may have changed
// the kernel, which is each call that the fake carried out or refused and each
// step of a device. Calls that go to the real kernel without the fake's mutex
// (epoll_wait, reads of an eventfd) change nothing in the fake, so the observer
// does not see them.
//
// Called with the fake kernel's mutex held.
class KernelObserver {
 public:
  virtual ~KernelObserver() = default;

  // `result` is the result of a successful call as the journal shows it.
  // `error` is an errno, or 0 on success.
  virtual void OnCall(const journal::Call& call, int64_t result, int error) = 0;
  virtual void OnHardwareStep() = 0;
};

}  // namespace passthru::fake

#endif  // PASSTHRU_TESTING_KERNEL_KERNEL_OBSERVER_H_
