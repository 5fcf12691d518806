// SPDX-License-Identifier: Apache-2.0
//
// The calls that wait for descriptors. A VFIO file has no poll operation, so
// Linux answers that it is readable and writable at once (DEFAULT_POLLMASK),
// and epoll refuses it (file_can_poll()).
#include <limits.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <time.h>

#include "testing/preload/client.h"
#include "testing/preload/raw.h"

namespace passthru::preload {
namespace {

constexpr short kAlways = POLLIN | POLLOUT | POLLRDNORM | POLLWRNORM;

bool HasOurs(const pollfd* fds, nfds_t count) {
  if (Folder() == nullptr) return false;
  for (nfds_t i = 0; i < count; ++i) {
    if (fds[i].fd >= 0 && IsOurs(fds[i].fd)) return true;
  }
  return false;
}

// Marks the descriptor of an entry, which poll(2) then leaves out. A program
// turns its own entries off by other negative numbers.
constexpr int kMarked = INT_MIN;
constexpr int kMostFiles = 1 << 24;

// Polls with `poll`, which is called with the launcher's files marked and with
// whether one of them is ready.
template <typename Poll>
int PollWithOurs(pollfd* fds, nfds_t count, Poll poll) {
  bool ready = false;
  for (nfds_t i = 0; i < count; ++i) {
    if (fds[i].fd < 0 || !IsOurs(fds[i].fd)) continue;
    ready = ready || (fds[i].events & kAlways) != 0;
    fds[i].fd |= kMarked;
  }
  int result = poll(ready);
  for (nfds_t i = 0; i < count; ++i) {
    if (fds[i].fd >= kMarked + kMostFiles) continue;
    fds[i].fd &= INT_MAX;
    if (result < 0) continue;
    fds[i].revents = static_cast<short>(fds[i].events & kAlways);
    if (fds[i].revents != 0) ++result;
  }
  return result;
}

// Returns whether one of the launcher's files is in a set.
bool SetHasOurs(int count, const fd_set* set) {
  if (set == nullptr || Folder() == nullptr) return false;
  for (int fd = 0; fd < count && fd < FD_SETSIZE; ++fd) {
    if (FD_ISSET(fd, set) && IsOurs(fd)) return true;
  }
  return false;
}

// Moves the launcher's files from one set to another.
void TakeOurs(int count, fd_set* from, fd_set* to) {
  FD_ZERO(to);
  if (from == nullptr) return;
  for (int fd = 0; fd < count && fd < FD_SETSIZE; ++fd) {
    if (!FD_ISSET(fd, from) || !IsOurs(fd)) continue;
    FD_CLR(fd, from);
    FD_SET(fd, to);
  }
}

int PutBack(int count, const fd_set& from, fd_set* to) {
  int put = 0;
  if (to == nullptr) return 0;
  for (int fd = 0; fd < count && fd < FD_SETSIZE; ++fd) {
    if (!FD_ISSET(fd, &from)) continue;
    FD_SET(fd, to);
    ++put;
  }
  return put;
}

template <typename Select>
int SelectWithOurs(int count, fd_set* read, fd_set* write, fd_set* except,
                   Select select) {
  fd_set ours_read, ours_write, ours_except;
  TakeOurs(count, read, &ours_read);
  TakeOurs(count, write, &ours_write);
  TakeOurs(count, except, &ours_except);
  const int result = select();
  if (result < 0) return result;
  return result + PutBack(count, ours_read, read) +
         PutBack(count, ours_write, write);
}

}  // namespace

INTERPOSE(int, poll, pollfd* fds, nfds_t count, int timeout) {
  if (!HasOurs(fds, count)) return NEXT(poll)(fds, count, timeout);
  return PollWithOurs(fds, count, [&](bool ready) {
    return NEXT(poll)(fds, count, ready ? 0 : timeout);
  });
}

INTERPOSE(int, __poll_chk, pollfd* fds, nfds_t count, int timeout,
          size_t room) {
  if (room / sizeof(*fds) < count) __builtin_trap();
  return passthru_poll(fds, count, timeout);
}

INTERPOSE(int, ppoll, pollfd* fds, nfds_t count, const timespec* timeout,
          const sigset_t* mask) {
  if (!HasOurs(fds, count)) return NEXT(ppoll)(fds, count, timeout, mask);
  return PollWithOurs(fds, count, [&](bool ready) {
    const timespec now = {};
    return NEXT(ppoll)(fds, count, ready ? &now : timeout, mask);
  });
}

INTERPOSE(int, __ppoll_chk, pollfd* fds, nfds_t count, const timespec* timeout,
          const sigset_t* mask, size_t room) {
  if (room / sizeof(*fds) < count) __builtin_trap();
  return passthru_ppoll(fds, count, timeout, mask);
}

INTERPOSE(int, select, int count, fd_set* read, fd_set* write, fd_set* except,
          timeval* timeout) {
  if (!SetHasOurs(count, read) && !SetHasOurs(count, write)) {
    return NEXT(select)(count, read, write, except, timeout);
  }
  return SelectWithOurs(count, read, write, except, [&] {
    timeval now = {};
    return NEXT(select)(count, read, write, except, &now);
  });
}

INTERPOSE(int, pselect, int count, fd_set* read, fd_set* write, fd_set* except,
          const timespec* timeout, const sigset_t* mask) {
  if (!SetHasOurs(count, read) && !SetHasOurs(count, write)) {
    return NEXT(pselect)(count, read, write, except, timeout, mask);
  }
  return SelectWithOurs(count, read, write, except, [&] {
    const timespec now = {};
    return NEXT(pselect)(count, read, write, except, &now, mask);
  });
}

INTERPOSE(int, epoll_ctl, int epoll, int operation, int fd,
          epoll_event* event) {
  if (IsOurs(fd)) return static_cast<int>(Return(-EPERM));
  return static_cast<int>(
      Return(Raw(SYS_epoll_ctl, epoll, operation, fd, AsLong(event))));
}

}  // namespace passthru::preload
