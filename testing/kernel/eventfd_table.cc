// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/kernel/eventfd_table.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "passthru/devices/kernel/syscalls.h"
#include "passthru/testing/journal/task.h"

namespace passthru::fake {
namespace {

using kernel::SyscallResult;

// Returns the fdinfo of a descriptor of a process, or of this one if it is 0.
// The error is ENOENT if `fd` is not open, and EMFILE if there is no descriptor
// left for the file.
SyscallResult<std::string> FdInfo(pid_t process, int fd) {
  const std::string path =
      process == 0 ? absl::StrCat("/proc/self/fdinfo/", fd)
                   : absl::StrCat("/proc/", process, "/fdinfo/", fd);
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

// Returns the numbers of a process's descriptors, or nullopt if they cannot be
// read. 0 stands for this process.
std::optional<std::vector<int>> DescriptorsOf(pid_t process) {
  const std::string path =
      process == 0 ? "/proc/self/fd" : absl::StrCat("/proc/", process, "/fd");
  DIR* const directory = ::opendir(path.c_str());
  if (directory == nullptr) return std::nullopt;
  std::vector<int> numbers;
  while (const dirent* const entry = ::readdir(directory)) {
    if (entry->d_name[0] != '.') numbers.push_back(std::atoi(entry->d_name));
  }
  ::closedir(directory);
  return numbers;
}

// Returns whether a descriptor other than `own_fd` of this process refers to
// the eventfd, or one of a task.
bool IsOpenElsewhere(const std::string& identity, int own_fd) {
  const auto has = [&](pid_t process, const std::vector<int>& numbers) {
    return std::any_of(numbers.begin(), numbers.end(), [&](int fd) {
      return (process != 0 || fd != own_fd) &&
             IdentityIn(FdInfo(process, fd).value, fd) == identity;
    });
  };
  const auto own = DescriptorsOf(0);
  if (!own.has_value() || has(0, *own)) return true;
  const std::vector<pid_t> tasks = journal::TaskProcesses();
  return std::any_of(tasks.begin(), tasks.end(), [&](pid_t process) {
    // A process that has died has none.
    const auto numbers = DescriptorsOf(process);
    return numbers.has_value() && has(process, *numbers);
  });
}

}  // namespace

FakeEventfd::~FakeEventfd() { ::close(own_fd_); }

std::string EventfdTable::IdentityOf(int fd) {
  const journal::LocalFd local(fd);
  return IdentityIn(FdInfo(0, local.get()).value, fd);
}

SyscallResult<std::shared_ptr<FakeEventfd>> EventfdTable::Lookup(int fd) {
  const journal::LocalFd local(fd);
  if (local.get() < 0) return {.error = local.error()};
  // A want of the simulation must not look like a mistake of its user.
  const SyscallResult<std::string> info = FdInfo(0, local.get());
  if (info.error == EMFILE || info.error == ENFILE) {
    return {.error = info.error};
  }
  const std::string identity = IdentityIn(info.value, fd);
  if (identity.empty()) return {.error = EINVAL};
  if (auto known = Find(identity)) return {.value = std::move(known)};

  const int own_fd = ::fcntl(local.get(), F_DUPFD_CLOEXEC, 0);
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
  if (epoll_fd_ >= 0 && eventfd.waiters_.size() == 1) {
    epoll_event event{.events = EPOLLIN | EPOLLET, .data = {.u64 = 0}};
    ::epoll_ctl(epoll_fd_, EPOLL_CTL_ADD, eventfd.own_fd_, &event);
  }
  ++waiters_;
}

void EventfdTable::Detach(FakeEventfd& eventfd, EventfdWaiter* waiter) {
  const auto found =
      std::find(eventfd.waiters_.begin(), eventfd.waiters_.end(), waiter);
  if (found == eventfd.waiters_.end()) return;
  eventfd.waiters_.erase(found);
  // The program may keep the eventfd open, so the close of the duplicate does
  // not do this.
  if (epoll_fd_ >= 0 && eventfd.waiters_.empty()) {
    ::epoll_ctl(epoll_fd_, EPOLL_CTL_DEL, eventfd.own_fd_, nullptr);
  }
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
  if (eventfd != nullptr) HangUpIfClosed(*eventfd);
}

void EventfdTable::HangUpIfClosed(FakeEventfd& eventfd) {
  if (eventfd.waiters_.empty()) return;
  if (IsOpenElsewhere(eventfd.identity(), eventfd.own_fd_)) return;
  const std::vector<EventfdWaiter*> waiters = eventfd.waiters_;
  for (EventfdWaiter* const waiter : waiters) {
    Detach(eventfd, waiter);
    waiter->OnHangup();
  }
}

std::vector<std::shared_ptr<FakeEventfd>> EventfdTable::WithWaiters() const {
  std::vector<std::shared_ptr<FakeEventfd>> found;
  if (!has_waiters()) return found;
  for (const auto& [identity, weak] : eventfds_) {
    const std::shared_ptr<FakeEventfd> eventfd = weak.lock();
    if (eventfd != nullptr && HasWaiter(*eventfd)) found.push_back(eventfd);
  }
  return found;
}

void EventfdTable::Sweep() {
  for (const auto& eventfd : WithWaiters()) HangUpIfClosed(*eventfd);
}

void EventfdTable::Service() {
  for (const auto& eventfd : WithWaiters()) {
    // An earlier waiter may have detached this one.
    if (!HasWaiter(*eventfd) || Drain(*eventfd) == 0) continue;
    eventfd->waiters_.front()->OnSignal();
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
