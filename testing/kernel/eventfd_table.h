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

// What waits on an eventfd inside the kernel with priority over user space: an
// irqfd. Called with the fake kernel's mutex held.
class EventfdWaiter {
 public:
  virtual ~EventfdWaiter() = default;
  // irqfd_wakeup(EPOLLIN): signalled; the count has been drained already.
  virtual void OnSignal() = 0;
  // irqfd_wakeup(EPOLLHUP): the last descriptor was closed. The waiter has been
  // detached already.
  virtual void OnHangup() = 0;
};

// One eventfd (struct eventfd_ctx). Held by a shared_ptr it outlives close(2)
// of every descriptor, as an eventfd_ctx reference does.
class FakeEventfd {
 public:
  FakeEventfd(int own_fd, std::string identity)
      : own_fd_(own_fd), identity_(std::move(identity)) {}
  FakeEventfd(const FakeEventfd&) = delete;
  FakeEventfd& operator=(const FakeEventfd&) = delete;
  ~FakeEventfd();

  // "eventfd 12": stable for its life, for messages.
  const std::string& identity() const { return identity_; }

 private:
  friend class EventfdTable;

  const int own_fd_;  // A duplicate: keeps the object and its count alive.
  const std::string identity_;
  std::vector<EventfdWaiter*> waiters_;  // First: the next to be woken.
};

// The eventfds that the fake kernel holds references to, by the identity of the
// object and not of the number. The count itself is the real eventfd's, so that
// real poll and epoll see it.
//
// Guarded by the fake kernel's mutex (Thread-compatible).
class EventfdTable {
 public:
  EventfdTable() = default;
  EventfdTable(const EventfdTable&) = delete;
  EventfdTable& operator=(const EventfdTable&) = delete;

  // eventfd_ctx_fdget(): EBADF when the descriptor is not open, EINVAL when it
  // is not an eventfd. The same object for every descriptor of one eventfd.
  kernel::SyscallResult<std::shared_ptr<FakeEventfd>> Lookup(int fd);

  // eventfd_signal(): in the signaller's context, the waiter attached last
  // drains the eventfd and is called; with none, the count grows and user space
  // sees it.
  void Signal(FakeEventfd& eventfd, uint64_t count = 1);

  // add_wait_queue_priority(): does not touch a pending count; the caller asks
  // Pending() and acts, as kvm_irqfd_assign() does.
  void Attach(FakeEventfd& eventfd, EventfdWaiter* waiter);
  // eventfd_ctx_remove_wait_queue(): detaches and discards the count.
  void Detach(FakeEventfd& eventfd, EventfdWaiter* waiter);

  // Whether a read would return a count now.
  static bool Pending(const FakeEventfd& eventfd);
  // Takes the count; 0 when there is none.
  static uint64_t Drain(FakeEventfd& eventfd);

  // write(2) by user space of the eventfd behind `fd`, which may wake a waiter.
  // False when no waiter is attached: the caller lets the real kernel do it.
  bool SignalFromUser(int fd, uint64_t count);

  // A descriptor was closed that referred to an eventfd with this identity (see
  // IdentityOf()): waiters hang up if it was the last one.
  void OnClosed(const std::string& identity);

  // What distinguishes the eventfd object behind a descriptor from all others
  // alive; empty when it is not an eventfd.
  static std::string IdentityOf(int fd);

  static bool HasWaiter(const FakeEventfd& eventfd) {
    return !eventfd.waiters_.empty();
  }
  bool has_waiters() const { return waiters_ > 0; }

  // Eventfds referenced from inside the kernel now.
  size_t live() const;

 private:
  std::shared_ptr<FakeEventfd> Find(const std::string& identity) const;

  std::map<std::string, std::weak_ptr<FakeEventfd>> eventfds_;
  size_t waiters_ = 0;
};

}  // namespace passthru::fake

#endif  // PASSTHRU_TESTING_KERNEL_EVENTFD_TABLE_H_
