// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/control/control_server.h"

#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <iterator>
#include <list>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "absl/log/log.h"
#include "absl/memory/memory.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "passthru/devices/kernel/errors.h"
#include "passthru/devices/kernel/event_fd.h"
#include "passthru/devices/kernel/file_descriptor.h"
#include "passthru/devices/kernel/status_macros.h"
#include "passthru/devices/kernel/syscalls.h"
#include "passthru/vmm/control/socket_address.h"

namespace passthru::vmm {
namespace {

// Only the user who started the VM may connect.
constexpr mode_t kOwnerOnly = S_IRUSR | S_IWUSR;

// How long a client may leave an answer unread, beyond what the socket holds.
constexpr timeval kSendTime = {.tv_sec = 1, .tv_usec = 0};

// How long a connection too many waits for another one to end. The server
// notices a little later than the client that it has ended.
constexpr absl::Duration kRoomTime = absl::Seconds(1);
constexpr int kRetryMilliseconds = 1000;

absl::Status CannotListen(const std::string& path, std::string_view why) {
  return absl::InvalidArgumentError(
      absl::StrCat("there can be no control socket at ", path, ": ", why));
}

// Removes the socket of a process that has ended. Nothing else at the path is
// touched.
absl::Status RemoveStale(kernel::Syscalls* syscalls,
                         const SocketAddress& address) {
  const std::string& path = address.path();
  struct stat file = {};
  if (lstat(path.c_str(), &file) != 0) {
    return errno == ENOENT
               ? absl::OkStatus()
               : CannotListen(path,
                              kernel::ErrnoError(errno, "lstat").message());
  }
  if (!S_ISSOCK(file.st_mode)) {
    return CannotListen(path, "there is a file that is no socket");
  }
  const kernel::FileDescriptor probe(
      syscalls, socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (connect(probe.get(), address.get(), address.size()) == 0) {
    return CannotListen(path, "a program that runs listens there");
  }
  if (errno != ECONNREFUSED || unlink(path.c_str()) != 0) {
    return CannotListen(
        path, kernel::ErrnoError(errno, "a socket is there").message());
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<ControlServer>> ControlServer::Create(
    kernel::Syscalls* syscalls, const std::string& path, Handler handler) {
  kernel::FileDescriptor socket(
      syscalls, ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket.valid()) return kernel::ErrnoError(errno, "socket(AF_UNIX)");
  PASSTHRU_ASSIGN_OR_RETURN(kernel::EventFd wake,
                            kernel::EventFd::Create(syscalls));
  auto server = absl::WrapUnique(new ControlServer(
      syscalls, path, std::move(handler), std::move(socket), std::move(wake)));
  PASSTHRU_RETURN_IF_ERROR(server->Listen());
  PASSTHRU_RETURN_IF_ERROR(server->StartThread());
  return server;
}

absl::Status ControlServer::Listen() {
  PASSTHRU_ASSIGN_OR_RETURN(const SocketAddress address,
                            SocketAddress::Of(path_));
  PASSTHRU_RETURN_IF_ERROR(RemoveStale(syscalls_, address));
  // The file gets the mode of the socket (unix_bind()), so it never has
  // another one.
  struct stat file = {};
  if (fchmod(socket_.get(), kOwnerOnly) != 0 ||
      bind(socket_.get(), address.get(), address.size()) != 0) {
    return CannotListen(path_, kernel::ErrnoError(errno, "bind").message());
  }
  if (lstat(path_.c_str(), &file) == 0) inode_ = file.st_ino;
  if (listen(socket_.get(), kMaxConnections) != 0) {
    return CannotListen(path_, kernel::ErrnoError(errno, "listen").message());
  }
  return absl::OkStatus();
}

absl::Status ControlServer::StartThread() {
  const auto started = syscalls_->StartThread(
      [](void* server) -> void* {
        static_cast<ControlServer*>(server)->Accept();
        return nullptr;
      },
      this);
  if (!started.ok()) {
    return kernel::ErrnoError(started.error,
                              "starting a thread for the control socket");
  }
  thread_ = started.value;
  return absl::OkStatus();
}

ControlServer::~ControlServer() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  if (absl::Status status = wake_.Signal(); !status.ok()) LOG(ERROR) << status;
  if (thread_.has_value()) pthread_join(*thread_, nullptr);
  // No connection is added any more.
  std::list<Connection> connections;
  {
    absl::MutexLock lock(&mutex_);
    connections.swap(connections_);
  }
  // Commands that are under way are still answered.
  for (Connection& connection : connections) {
    shutdown(connection.socket.get(), SHUT_RD);
  }
  for (Connection& connection : connections) {
    pthread_join(*connection.thread, nullptr);
  }
  // A process that replaced the socket keeps its own.
  struct stat file = {};
  if (inode_.has_value() && lstat(path_.c_str(), &file) == 0 &&
      file.st_ino == *inode_) {
    unlink(path_.c_str());
  }
}

void ControlServer::Accept() {
  for (;;) {
    pollfd fds[] = {{.fd = socket_.get(), .events = POLLIN, .revents = 0},
                    {.fd = wake_.fd(), .events = POLLIN, .revents = 0}};
    if (poll(fds, std::size(fds), -1) < 0 && errno != EINTR) {
      LOG(ERROR) << "the control socket does not listen any more: "
                 << kernel::ErrnoError(errno, "poll");
      return;
    }
    {
      absl::MutexLock lock(&mutex_);
      if (stopping_) return;
      Reap();
    }
    if ((fds[0].revents & POLLIN) == 0) continue;
    const int client = accept4(socket_.get(), nullptr, nullptr, SOCK_CLOEXEC);
    if (client >= 0) {
      AddConnection(kernel::FileDescriptor(syscalls_, client));
    } else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM) {
      // The connection waits until there is a descriptor for it.
      poll(&fds[1], 1, kRetryMilliseconds);
    }
  }
}

void ControlServer::AddConnection(kernel::FileDescriptor socket) {
  absl::MutexLock lock(&mutex_);
  mutex_.AwaitWithTimeout(absl::Condition(this, &ControlServer::HasRoom),
                          kRoomTime);
  Reap();
  if (connections_.size() >= kMaxConnections) {
    Answer(socket.get(),
           absl::ResourceExhaustedError(absl::StrCat(
               "there are ", kMaxConnections, " connections already")));
    return;
  }
  if (setsockopt(socket.get(), SOL_SOCKET, SO_SNDTIMEO, &kSendTime,
                 sizeof(kSendTime)) != 0) {
    LOG(ERROR) << "a connection to the control socket is dropped: "
               << kernel::ErrnoError(errno, "setsockopt(SO_SNDTIMEO)");
    return;
  }
  Connection& connection = connections_.emplace_back();
  connection.server = this;
  connection.socket = std::move(socket);
  const auto started = syscalls_->StartThread(
      [](void* argument) -> void* {
        auto* const self = static_cast<Connection*>(argument);
        self->server->Serve(*self);
        return nullptr;
      },
      &connection);
  if (started.ok()) {
    connection.thread = started.value;
    return;
  }
  Answer(connection.socket.get(),
         kernel::ErrnoError(started.error, "starting a thread"));
  connections_.pop_back();
}

bool ControlServer::HasRoom() const {
  return stopping_ || connections_.size() < kMaxConnections ||
         std::any_of(
             connections_.begin(), connections_.end(),
             [](const Connection& connection) { return connection.over; });
}

void ControlServer::Reap() {
  for (auto it = connections_.begin(); it != connections_.end();) {
    if (!it->over) {
      ++it;
      continue;
    }
    pthread_join(*it->thread, nullptr);
    it = connections_.erase(it);
  }
}

void ControlServer::Serve(Connection& connection) {
  const int socket = connection.socket.get();
  std::string received;
  bool open = true;
  while (open) {
    char buffer[512];
    const ssize_t got = recv(socket, buffer, sizeof(buffer), 0);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    received.append(buffer, static_cast<size_t>(got));
    for (size_t end = received.find('\n'); open && end != std::string::npos;
         end = received.find('\n')) {
      const std::string command(
          absl::StripAsciiWhitespace(received.substr(0, end)));
      received.erase(0, end + 1);
      open = Answer(socket, handler_(command));
    }
    if (received.size() > kMaxCommand) {
      Answer(socket, absl::InvalidArgumentError(absl::StrCat(
                         "a command has at most ", kMaxCommand, " bytes")));
      break;
    }
  }
  // The client sees the end now. The descriptor stays until the thread is
  // joined.
  shutdown(socket, SHUT_RDWR);
  absl::MutexLock lock(&mutex_);
  connection.over = true;
}

bool ControlServer::Answer(int socket,
                           const absl::StatusOr<std::string>& answer) {
  std::string text = std::string(answer.status().message());
  if (answer.ok()) text = *answer;
  if (!text.empty() && !absl::EndsWith(text, "\n")) text += '\n';
  const std::string message =
      absl::StrCat(answer.ok() ? "ok " : "error ", text.size(), "\n", text);
  std::string_view left = message;
  while (!left.empty()) {
    const ssize_t sent = send(socket, left.data(), left.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent <= 0) return false;
    left.remove_prefix(static_cast<size_t>(sent));
  }
  return true;
}

}  // namespace passthru::vmm
