// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/kernel/eventfd_table.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "passthru/devices/kernel/syscalls.h"

namespace passthru::fake {
namespace {

using kernel::SyscallResult;

// Returns /proc/self/fdinfo/<fd>. The error is ENOENT if `fd` is not open, and
// EMFILE if there is no descriptor left for the file.
SyscallResult<std::string> FdInfo(int fd) {
  const std::string path = absl::StrCat("/proc/self/fdinfo/", fd);
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) return {.error = errno};
  char text[512];
  const ssize_t length = ::read(file, text, sizeof(text));
  ::close(file);
  return {.value = length <= 0 ? std::string() : std::string(text, length)};
}

// Returns EventfdTable::IdentityOf(fd), given its fdinfo.
std::string IdentityIn(std::string_view info, int fd) {
  // The id in eventfd_show_fdinfo() (fs/eventfd.c) is unique among those alive.
  if (!absl::StrContains(info, "eventfd-count:")) return {};
  for (std::string_view line : absl::StrSplit(info, '\n')) {
    if (absl::ConsumePrefix(&line, "eventfd-id:")) {
      return absl::StrCat("eventfd ", absl::StripAsciiWhitespace(line));
    }
  }
  return absl::StrCat("eventfd at fd ", fd);  // Kernels before 5.2.
}

// Returns whether a descriptor other than `own_fd` refers to the eventfd.
bool IsOpenElsewhere(const std::string& identity, int own_fd) {
  DIR* const directory = ::opendir("/proc/self/fd");
  if (directory == nullptr) return true;
  std::vector<int> numbers;
  while (const dirent* const entry = ::readdir(directory)) {
    if (entry->d_name[0] != '.') numbers.push_back(std::atoi(entry->d_name));
  }
  ::closedir(directory);
  return std::any_of(numbers.begin(), numbers.end(), [&](int fd) {
    return fd != own_fd && EventfdTable::IdentityOf(fd) == identity;
  });
}

}  // namespace

FakeEventfd::~FakeEventfd() { ::close(own_fd_); }

std::string EventfdTable::IdentityOf(int fd) {
  return IdentityIn(FdInfo(fd).value, fd);
}

SyscallResult<std::shared_ptr<FakeEventfd>> EventfdTable::Lookup(int fd) {
  if (::fcntl(fd, F_GETFD) < 0) return {.error = EBADF};
  // A want of the simulation must not look like a mistake of its user.
  const SyscallResult<std::string> info = FdInfo(fd);
  if (info.error == EMFILE || info.error == ENFILE) {
    return {.error = info.error};
  }
  const std::string identity = IdentityIn(info.value, fd);
  if (identity.empty()) return {.error = EINVAL};
  if (auto known = Find(identity)) return {.value = std::move(known)};

  const int own_fd = ::fcntl(fd, F_DUPFD_CLOEXEC, 0);
  if (own_fd < 0) return {.error = errno};
  auto eventfd = std::make_shared<FakeEventfd>(own_fd, identity);
  eventfds_[identity] = eventfd;
  return {.value = std::move(eventfd)};
}

void EventfdTable::Signal(FakeEventfd& eventfd, uint64_t count) {
  if (eventfd.waiters_.empty()) {
    // Even a blocking eventfd blocks here only at a count of 2^64 - 2.
    [[maybe_unused]] const ssize_t written =
        ::write(eventfd.own_fd_, &count, sizeof(count));
    return;
  }
  // An irqfd is an exclusive waiter with priority. It drains the eventfd, and
  // so neither later waiters nor user space wake.
  Drain(eventfd);
  eventfd.waiters_.front()->OnSignal();
}

void EventfdTable::Attach(FakeEventfd& eventfd, EventfdWaiter* waiter) {
  // The newest waiter comes first, as with __add_wait_queue().
  eventfd.waiters_.insert(eventfd.waiters_.begin(), waiter);
  ++waiters_;
}

void EventfdTable::Detach(FakeEventfd& eventfd, EventfdWaiter* waiter) {
  const auto found =
      std::find(eventfd.waiters_.begin(), eventfd.waiters_.end(), waiter);
  if (found == eventfd.waiters_.end()) return;
  eventfd.waiters_.erase(found);
  --waiters_;
  Drain(eventfd);
}

bool EventfdTable::Pending(const FakeEventfd& eventfd) {
  pollfd poll{.fd = eventfd.own_fd_, .events = POLLIN};
  return ::poll(&poll, 1, 0) == 1 && (poll.revents & POLLIN) != 0;
}

uint64_t EventfdTable::Drain(FakeEventfd& eventfd) {
  uint64_t count = 0;
  const iovec buffer{.iov_base = &count, .iov_len = sizeof(count)};
  // RWF_NOWAIT never waits, even if the owner made the eventfd blocking. User
  // space may take the count between a check for it and the read.
  const ssize_t length = ::preadv2(eventfd.own_fd_, &buffer, 1, -1, RWF_NOWAIT);
  return length == sizeof(count) ? count : 0;
}

bool EventfdTable::SignalFromUser(int fd, uint64_t count) {
  if (!has_waiters()) return false;
  const std::string identity = IdentityOf(fd);
  const std::shared_ptr<FakeEventfd> eventfd = Find(identity);
  if (eventfd == nullptr || eventfd->waiters_.empty()) return false;
  Signal(*eventfd, count);
  return true;
}

void EventfdTable::OnClosed(const std::string& identity) {
  const std::shared_ptr<FakeEventfd> eventfd = Find(identity);
  if (eventfd == nullptr || eventfd->waiters_.empty()) return;
  if (IsOpenElsewhere(identity, eventfd->own_fd_)) return;
  const std::vector<EventfdWaiter*> waiters = eventfd->waiters_;
  for (EventfdWaiter* const waiter : waiters) {
    Detach(*eventfd, waiter);
    waiter->OnHangup();
  }
}

size_t EventfdTable::live() const {
  return static_cast<size_t>(
      std::count_if(eventfds_.begin(), eventfds_.end(),
                    [](const auto& entry) { return !entry.second.expired(); }));
}

std::shared_ptr<FakeEventfd> EventfdTable::Find(
    const std::string& identity) const {
  const auto found = eventfds_.find(identity);
  return found == eventfds_.end() ? nullptr : found->second.lock();
}

}  // namespace passthru::fake
