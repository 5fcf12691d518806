// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_PRELOAD_LOCK_H_
#define PASSTHRU_TESTING_PRELOAD_LOCK_H_

#include <signal.h>
#include <stdint.h>

#include "testing/preload/raw.h"

namespace passthru::preload {

// Holds a lock, which is an int that is 0 while nobody does. No signal handler
// runs meanwhile that would want it, too, and the holder must not touch a
// mapped BAR, which is a signal. The child of a fork(2) sets the locks to 0.
class Locked {
 public:
  explicit Locked(int* lock) : lock_(lock) {
    const uint64_t all = ~uint64_t{0};
    Raw(SYS_rt_sigprocmask, SIG_BLOCK, AsLong(&all), AsLong(&mask_),
        sizeof(mask_));
    while (__atomic_exchange_n(lock_, 1, __ATOMIC_ACQUIRE) != 0) {
      Raw(SYS_sched_yield);
    }
  }
  ~Locked() {
    __atomic_store_n(lock_, 0, __ATOMIC_RELEASE);
    Raw(SYS_rt_sigprocmask, SIG_SETMASK, AsLong(&mask_), 0, sizeof(mask_));
  }
  Locked(const Locked&) = delete;
  Locked& operator=(const Locked&) = delete;

 private:
  int* const lock_;
  uint64_t mask_ = 0;
};

}  // namespace passthru::preload

#endif  // PASSTHRU_TESTING_PRELOAD_LOCK_H_
