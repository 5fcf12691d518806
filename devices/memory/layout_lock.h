// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_DEVICES_MEMORY_LAYOUT_LOCK_H_
#define PASSTHRU_DEVICES_MEMORY_LAYOUT_LOCK_H_

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace passthru::memory {

// The lock of one VM that serializes changes of what is where in the guest: in
// its memory, its I/O ports and its memory slots. A change takes several steps
// (a trap is removed, a slot is deleted, a register is written), and two
// changes must not interleave.
//
// Devices lock it when the guest moves or enables a BAR, on the thread of the
// vCPU whose access exited, and call AddressSpace and GuestMemory while they
// hold it. It is therefore the outermost lock of a device: a VMM must not hold
// it when it calls a method of a device, and must not hold a lock that its
// AddressSpace or GuestMemory takes. The lock is not recursive.
//
// The interface exists for a VMM that has such a lock already. LayoutMutex is
// this library's implementation.
class ABSL_LOCKABLE LayoutLock {
 public:
  virtual ~LayoutLock() = default;

  virtual void Lock() ABSL_EXCLUSIVE_LOCK_FUNCTION() = 0;
  virtual void Unlock() ABSL_UNLOCK_FUNCTION() = 0;
};

// Holds a LayoutLock for the length of a scope.
class ABSL_SCOPED_LOCKABLE LayoutLockHolder {
 public:
  explicit LayoutLockHolder(LayoutLock* lock) ABSL_EXCLUSIVE_LOCK_FUNCTION(lock)
      : lock_(lock) {
    lock_->Lock();
  }
  ~LayoutLockHolder() ABSL_UNLOCK_FUNCTION() { lock_->Unlock(); }

  LayoutLockHolder(const LayoutLockHolder&) = delete;
  LayoutLockHolder& operator=(const LayoutLockHolder&) = delete;

 private:
  LayoutLock* const lock_;
};

// A LayoutLock that is a mutex of its own.
class ABSL_LOCKABLE LayoutMutex final : public LayoutLock {
 public:
  void Lock() override
      ABSL_EXCLUSIVE_LOCK_FUNCTION() ABSL_NO_THREAD_SAFETY_ANALYSIS {
    mutex_.Lock();
  }
  void Unlock() override ABSL_UNLOCK_FUNCTION() ABSL_NO_THREAD_SAFETY_ANALYSIS {
    mutex_.Unlock();
  }

 private:
  absl::Mutex mutex_;
};

}  // namespace passthru::memory

#endif  // PASSTHRU_DEVICES_MEMORY_LAYOUT_LOCK_H_
