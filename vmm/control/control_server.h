// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_VMM_CONTROL_CONTROL_SERVER_H_
#define PASSTHRU_VMM_CONTROL_CONTROL_SERVER_H_

#include <pthread.h>
#include <sys/types.h>

#include <cstddef>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "passthru/devices/kernel/event_fd.h"
#include "passthru/devices/kernel/file_descriptor.h"
#include "passthru/devices/kernel/syscalls.h"

namespace passthru::vmm {

// A Unix stream socket at which a running VMM takes commands. Only its user may
// connect. A command is a line, and the answer to it is
//
//   ok LENGTH\n    or    error LENGTH\n
//
// and then that many bytes of text. A client may send further commands. Each
// connection has a thread of its own, so that a command that waits does not
// hold up others, and neither the event loop nor a vCPU takes part. A client
// that does not read its answers loses the connection.
//
// Thread-compatible. The handler is called by several threads at once.
class ControlServer {
 public:
  // Returns the text of the answer, or why there is none.
  using Handler =
      std::function<absl::StatusOr<std::string>(std::string_view command)>;

  // The most connections at one time, and the longest command in bytes.
  static constexpr size_t kMaxConnections = 16;
  static constexpr size_t kMaxCommand = 4096;

  // Makes the socket and listens. Replaces a socket that a process which ended
  // has left at `path`. Returns kInvalidArgument, with a sentence for the user,
  // if there is something else at the path or if a socket cannot be there.
  // `syscalls` must outlive the server.
  static absl::StatusOr<std::unique_ptr<ControlServer>> Create(
      kernel::Syscalls* syscalls, const std::string& path, Handler handler);
  // Lets the handlers answer what they have begun, closes all connections and
  // removes the socket.
  ~ControlServer();

  ControlServer(const ControlServer&) = delete;
  ControlServer& operator=(const ControlServer&) = delete;

 private:
  struct Connection {
    ControlServer* server = nullptr;
    kernel::FileDescriptor socket;
    std::optional<pthread_t> thread;
    bool over = false;  // guarded by the server's mutex
  };

  ControlServer(kernel::Syscalls* syscalls, std::string path, Handler handler,
                kernel::FileDescriptor socket, kernel::EventFd wake)
      : syscalls_(syscalls),
        path_(std::move(path)),
        handler_(std::move(handler)),
        socket_(std::move(socket)),
        wake_(std::move(wake)) {}

  absl::Status Listen();
  absl::Status StartThread();
  // Run on the threads of the server and of a connection.
  void Accept();
  void Serve(Connection& connection);
  void AddConnection(kernel::FileDescriptor socket);
  // Returns whether a further connection need not wait for another one to end.
  bool HasRoom() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Joins the threads of connections that are over.
  void Reap() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Sends an answer and returns false if the client is gone.
  static bool Answer(int socket, const absl::StatusOr<std::string>& answer);

  kernel::Syscalls* const syscalls_;
  const std::string path_;
  const Handler handler_;
  const kernel::FileDescriptor socket_;
  kernel::EventFd wake_;
  // The socket's file, if it was made.
  std::optional<ino_t> inode_;
  std::optional<pthread_t> thread_;

  absl::Mutex mutex_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::list<Connection> connections_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace passthru::vmm

#endif  // PASSTHRU_VMM_CONTROL_CONTROL_SERVER_H_
