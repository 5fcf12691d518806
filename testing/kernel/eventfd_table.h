// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_KERNEL_EVENTFD_TABLE_H_
#define PASSTHRU_TESTING_KERNEL_EVENTFD_TABLE_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "passthru/devices/kernel/syscalls.h"

namespace passthru::fake {

// A waiter inside the kernel, such as an irqfd, which takes an eventfd's count
// before user space can. Called with the fake kernel's mutex held.
class EventfdWaiter {
 public:
  virtual ~EventfdWaiter() = default;
  // Called after a signal, as irqfd_wakeup() is with EPOLLIN. The table has
  // already drained the count.
  virtual void OnSignal() = 0;
  // Called after the last descriptor was closed, as irqfd_wakeup() is with
  // EPOLLHUP. The table has already detached the waiter.
  virtual void OnHangup() = 0;
};

// One eventfd (struct eventfd_ctx). A shared_ptr to it outlives the close(2) of
// every descriptor, as a reference to an eventfd_ctx does.
class FakeEventfd {
 public:
  FakeEventfd(int own_fd, std::string identity)
      : own_fd_(own_fd), identity_(std::move(identity)) {}
  FakeEventfd(const FakeEventfd&) = delete;
  FakeEventfd& operator=(const FakeEventfd&) = delete;
  ~FakeEventfd();

  // Returns a string like "eventfd 12" for messages. It never changes.
  const std::string& identity() const { return identity_; }

 private:
  friend class EventfdTable;

  const int own_fd_;  // A duplicate, which keeps the object and its count.
  const std::string identity_;
  std::vector<EventfdWaiter*> waiters_;  // The first one is the next to wake.
};

// The eventfds that the fake kernel holds references to. The key is the
// identity of the object, not a descriptor's number. The count stays in the
// real eventfd, where the real poll and epoll see it.
//
// The descriptors are those of the current task (testing/journal/task.h).
//
// Guarded by the fake kernel's mutex (Thread-compatible).
class EventfdTable {
 public:
  EventfdTable() = default;
  EventfdTable(const EventfdTable&) = delete;
  EventfdTable& operator=(const EventfdTable&) = delete;

  // Returns the eventfd behind `fd`, like eventfd_ctx_fdget(). EBADF if the
  // descriptor is not open, EINVAL if it is not an eventfd, EMFILE if the table
  // itself finds no descriptor free. All descriptors of one eventfd give the
  // same object.
  kernel::SyscallResult<std::shared_ptr<FakeEventfd>> Lookup(int fd);

  // Signals the eventfd, like eventfd_signal(). If it has waiters, the newest
  // one drains it and is called in the signaller's context. Without waiters the
  // count grows, and user space sees it.
  void Signal(FakeEventfd& eventfd, uint64_t count = 1);

  // Adds a waiter, like add_wait_queue_priority(). Does not touch a pending
  // count. The caller checks Pending() and acts on it, as kvm_irqfd_assign()
  // does.
  void Attach(FakeEventfd& eventfd, EventfdWaiter* waiter);
  // Detaches the waiter and discards the count, like
  // eventfd_ctx_remove_wait_queue().
  void Detach(FakeEventfd& eventfd, EventfdWaiter* waiter);

  // Returns whether a read would return a count now.
  static bool Pending(const FakeEventfd& eventfd);
  // Takes and returns the count, which is 0 if nothing is pending.
  static uint64_t Drain(FakeEventfd& eventfd);

  // Tells an epoll(7) instance when to call Service(), because a program may
  // signal an eventfd past the seam. It must live as long as the table.
  void set_epoll(int epoll_fd) { epoll_fd_ = epoll_fd; }
  // Wakes the waiters of the eventfds that are signalled now.
  void Service();
  // Hangs up the waiters of every eventfd that no process has open any more.
  void Sweep();

  // Wakes the waiter of the eventfd behind `fd`, for a write(2) by user space.
  // Returns false if the eventfd has no waiter. The caller then passes the
  // write to the real kernel.
  bool SignalFromUser(int fd, uint64_t count);

  // Tells the table that a descriptor of the eventfd with this identity was
  // closed (see IdentityOf()). If it was the last one, the waiters hang up.
  void OnClosed(const std::string& identity);

  // Returns a string that differs between all eventfds alive, or an empty one
  // if `fd` is not an eventfd.
  static std::string IdentityOf(int fd);

  static bool HasWaiter(const FakeEventfd& eventfd) {
    return !eventfd.waiters_.empty();
  }
  bool has_waiters() const { return waiters_ > 0; }

  // Returns how many eventfds the kernel references now.
  size_t live() const;

 private:
  std::shared_ptr<FakeEventfd> Find(const std::string& identity) const;
  void HangUpIfClosed(FakeEventfd& eventfd);
  std::vector<std::shared_ptr<FakeEventfd>> WithWaiters() const;

  int epoll_fd_ = -1;

  std::map<std::string, std::weak_ptr<FakeEventfd>> eventfds_;
  size_t waiters_ = 0;
};

}  // namespace passthru::fake

#endif  // PASSTHRU_TESTING_KERNEL_EVENTFD_TABLE_H_
