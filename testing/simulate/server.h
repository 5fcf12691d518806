// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_SIMULATE_SERVER_H_
#define PASSTHRU_TESTING_SIMULATE_SERVER_H_

#include <sys/types.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "passthru/testing/host/simulated_host.h"
#include "passthru/testing/journal/task.h"
#include "passthru/testing/preload/protocol.h"
#include "passthru/testing/simulate/sysfs_tree.h"

namespace passthru::simulate {

// Serves the programs: it carries out their requests on the simulated kernel,
// one after another, and notices what they do without a request: their ends,
// the closes of files and the writes to eventfds.
//
// Thread-compatible.
class Server {
 public:
  // Both must outlive the server. It listens in `folder`.
  static absl::StatusOr<std::unique_ptr<Server>> Create(
      fake::SimulatedHost* host, SysfsTree* tree, const std::string& folder);
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // Sets whether devices must look at mapped registers before and after each
  // call.
  void set_polls(bool polls) { polls_ = polls; }

  // Serves until `program` and all other programs have ended. Returns the exit
  // status of `program`, or 128 and the number of the signal that killed it.
  // Calls `report` when the process gets SIGUSR1.
  int Run(pid_t program, const std::function<void()>& report);

  // Returns what the last program held when it ended in order.
  const std::vector<std::string>& left_open() const { return left_open_; }

 private:
  struct Message {
    preload::Request request;
    std::string path;
  };

  Server(fake::SimulatedHost* host, SysfsTree* tree)
      : host_(host), tree_(tree) {}

  absl::Status Listen(const std::string& folder);
  void Watch(int fd);
  void Accept();
  // Serves one request of a connection. Returns false if it is at its end.
  bool Serve(int connection);
  // Returns the task of a process, which is new or known, or null if the
  // process has ended.
  journal::Task* TaskOf(pid_t process);
  void EndTask(pid_t process);
  void ReapChildren(pid_t program);

  // Carry out requests. They return the result or an errno, and may put more
  // into the reply.
  void Handle(journal::Task& task, const Message& message,
              preload::Reply& reply);
  kernel::SyscallResult<int64_t> Carry(journal::Task& task,
                                       const Message& message,
                                       preload::Reply& reply);
  kernel::SyscallResult<int64_t> Transfer(const preload::Request& request);
  kernel::SyscallResult<int64_t> Ioctl(const preload::Request& request);
  // Returns whether the path is of the simulated kernel.
  bool HasPath(const std::string& path);
  kernel::SyscallResult<int64_t> Access(const preload::Request& request,
                                        preload::Reply& reply);
  kernel::SyscallResult<int64_t> Stat(const preload::Request& request,
                                      preload::Reply& reply);
  std::string DescribeFile(int fd);
  // Shows what has changed since the last time.
  void UpdateTree();
  void NoteExit();
  uint32_t Wishes();

  fake::SimulatedHost* const host_;
  SysfsTree* const tree_;
  int epoll_ = -1;
  int kernel_epoll_ = -1;  // Ready when the kernel has something to do.
  int listener_ = -1;
  int signals_ = -1;
  std::map<pid_t, std::unique_ptr<journal::Task>> tasks_;
  std::map<int, pid_t> pidfds_;
  std::map<int, pid_t> connections_;
  std::vector<std::string> left_open_;
  uint64_t shown_changes_ = 0;
  bool polls_ = false;
  bool pins_memory_ = false;
  bool said_run_ = false;
  bool program_ended_ = false;
  int program_status_ = 0;
};

}  // namespace passthru::simulate

#endif  // PASSTHRU_TESTING_SIMULATE_SERVER_H_
