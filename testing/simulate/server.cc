// SPDX-License-Identifier: Apache-2.0
//
// The server's sockets, processes and signals. Its requests are in requests.cc.
#include "passthru/testing/simulate/server.h"

#include <signal.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <functional>
#include <iostream>
#include <memory>
#include <string>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "passthru/devices/kernel/errors.h"
#include "passthru/devices/kernel/status_macros.h"

namespace passthru::simulate {
namespace {

constexpr int kBacklog = 4096;
constexpr int kSignalStatus = 128;

sigset_t WatchedSignals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : {SIGCHLD, SIGUSR1, SIGTERM, SIGINT, SIGHUP}) {
    sigaddset(&set, signal);
  }
  return set;
}

bool SendReply(int connection, const preload::Reply& reply, int fd) {
  iovec whole{.iov_base = const_cast<preload::Reply*>(&reply),
              .iov_len = sizeof(reply)};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message{.msg_iov = &whole, .msg_iovlen = 1};
  if (fd >= 0) {
    message.msg_control = control;
    message.msg_controllen = sizeof(control);
    cmsghdr* const rights = CMSG_FIRSTHDR(&message);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(rights), &fd, sizeof(fd));
  }
  return ::sendmsg(connection, &message, MSG_NOSIGNAL | MSG_DONTWAIT) ==
         static_cast<ssize_t>(sizeof(reply));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Server>> Server::Create(
    fake::SimulatedHost* host, SysfsTree* tree, const std::string& folder) {
  auto server = absl::WrapUnique(new Server(host, tree));
  PASSTHRU_RETURN_IF_ERROR(server->Listen(folder));
  return server;
}

absl::Status Server::Listen(const std::string& folder) {
  const std::string path = absl::StrCat(folder, preload::kSocketName);
  sockaddr_un address{.sun_family = AF_UNIX};
  if (path.size() >= sizeof(address.sun_path)) {
    return absl::InvalidArgumentError(absl::StrCat(
        path, " is too long for a socket. Set TMPDIR to a shorter folder."));
  }
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  epoll_ = ::epoll_create1(EPOLL_CLOEXEC);
  kernel_epoll_ = ::epoll_create1(EPOLL_CLOEXEC);
  listener_ =
      ::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  const sigset_t signals = WatchedSignals();
  ::sigprocmask(SIG_BLOCK, &signals, nullptr);
  signals_ = ::signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
  if (epoll_ < 0 || kernel_epoll_ < 0 || listener_ < 0 || signals_ < 0 ||
      ::bind(listener_, reinterpret_cast<const sockaddr*>(&address),
             sizeof(address)) != 0 ||
      ::listen(listener_, kBacklog) != 0) {
    return kernel::ErrnoError(errno, path);
  }
  Watch(listener_);
  Watch(signals_);
  Watch(kernel_epoll_);
  host_->kernel().WatchWith(kernel_epoll_);
  return absl::OkStatus();
}

Server::~Server() {
  for (const auto& [connection, process] : connections_) ::close(connection);
  while (!tasks_.empty()) EndTask(tasks_.begin()->first);
  host_->kernel().WatchWith(-1);
  for (const int fd : {epoll_, kernel_epoll_, listener_, signals_}) {
    if (fd >= 0) ::close(fd);
  }
}

void Server::Watch(int fd) {
  epoll_event event{.events = EPOLLIN, .data = {.fd = fd}};
  ::epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event);
}

int Server::Run(pid_t program, const std::function<void()>& report) {
  constexpr int kEvents = 64;
  epoll_event events[kEvents];
  while (!program_ended_ || !tasks_.empty()) {
    const int count = ::epoll_wait(epoll_, events, kEvents, -1);
    for (int i = 0; i < count; ++i) {
      const int fd = events[i].data.fd;
      if (fd == listener_) {
        Accept();
      } else if (fd == kernel_epoll_) {
        epoll_event ignored[kEvents];
        ::epoll_wait(kernel_epoll_, ignored, kEvents, 0);
        if (polls_) host_->kernel().StepDevices();
        host_->kernel().Service();
        UpdateTree();
      } else if (fd == signals_) {
        signalfd_siginfo info;
        while (::read(signals_, &info, sizeof(info)) == sizeof(info)) {
          const int signal = static_cast<int>(info.ssi_signo);
          if (signal == SIGUSR1) {
            report();
          } else if (!program_ended_) {
            // The terminal sends SIGINT to the program itself.
            if (signal != SIGINT) ::kill(program, signal);
          } else {
            for (const auto& [process, task] : tasks_) ::kill(process, signal);
          }
        }
        ReapChildren(program);
      } else if (const auto task = pidfds_.find(fd); task != pidfds_.end()) {
        EndTask(task->second);
      } else if (connections_.contains(fd) && !Serve(fd)) {
        ::close(fd);
        connections_.erase(fd);
      }
    }
  }
  return program_status_;
}

void Server::ReapChildren(pid_t program) {
  int status = 0;
  for (;;) {
    const pid_t process = ::waitpid(-1, &status, WNOHANG);
    if (process <= 0) return;
    // A process may have ended before its descriptor says so.
    if (tasks_.contains(process)) EndTask(process);
    if (process != program) continue;
    program_ended_ = true;
    program_status_ = WIFSIGNALED(status) ? kSignalStatus + WTERMSIG(status)
                                          : WEXITSTATUS(status);
    if (tasks_.empty()) continue;
    std::cerr
        << "simulate: the program has ended, and what it started has not. "
           "SIGINT or SIGTERM ends it:";
    for (const auto& [other, task] : tasks_) std::cerr << " " << other;
    std::cerr << "\n";
  }
}

void Server::Accept() {
  for (;;) {
    const int connection =
        ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (connection < 0) return;
    ucred peer{};
    socklen_t size = sizeof(peer);
    ::getsockopt(connection, SOL_SOCKET, SO_PEERCRED, &peer, &size);
    connections_[connection] = peer.pid;
    Watch(connection);
    // The request is often there already.
    if (!Serve(connection)) {
      ::close(connection);
      connections_.erase(connection);
    }
  }
}

bool Server::Serve(int connection) {
  // The request and the path are received at once, behind one another.
  Message message;
  char path[preload::kLongestPath + 1];
  iovec parts[2] = {
      {.iov_base = &message.request, .iov_len = sizeof(message.request)},
      {.iov_base = path, .iov_len = sizeof(path) - 1}};
  msghdr header{.msg_iov = parts, .msg_iovlen = 2};
  const ssize_t got = ::recvmsg(connection, &header, MSG_DONTWAIT);
  if (got < 0) return errno == EAGAIN || errno == EINTR;
  if (got < static_cast<ssize_t>(sizeof(message.request))) return false;
  path[got - static_cast<ssize_t>(sizeof(message.request))] = 0;
  message.path = path;

  preload::Reply reply;
  journal::Task* const task = TaskOf(connections_[connection]);
  if (task == nullptr) return false;
  Handle(*task, message, reply);
  const int fd = task->made_fd >= 0 ? task->made_fd : task->mapped_fd;
  if (fd >= 0) reply.flags |= preload::Reply::kHasFd;
  const bool sent = SendReply(connection, reply, fd);
  // The program's descriptor is the only one, so that the last close shows.
  if (task->made_fd >= 0) ::close(task->made_fd);
  task->made_fd = -1;
  task->mapped_fd = -1;
  return sent;
}

journal::Task* Server::TaskOf(pid_t process) {
  const auto found = tasks_.find(process);
  if (found != tasks_.end()) return found->second.get();
  const int pidfd = static_cast<int>(::syscall(SYS_pidfd_open, process, 0));
  if (pidfd < 0) return nullptr;
  Watch(pidfd);
  pidfds_[pidfd] = process;
  return (tasks_[process] = std::make_unique<journal::Task>(process, pidfd))
      .get();
}

void Server::EndTask(pid_t process) {
  const auto found = tasks_.find(process);
  if (found == tasks_.end()) return;
  pidfds_.erase(found->second->pidfd());
  tasks_.erase(found);
  host_->kernel().OnGone(process);
}

}  // namespace passthru::simulate
