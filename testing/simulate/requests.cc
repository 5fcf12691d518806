// SPDX-License-Identifier: Apache-2.0
//
// The requests of programs.
#include <linux/kvm.h>
#include <linux/vfio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <iostream>
#include <string>
#include <utility>
#include <vector>

#include "absl/log/log.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "absl/synchronization/mutex.h"
#include "absl/types/span.h"
#include "passthru/devices/kernel/syscalls.h"
#include "passthru/testing/journal/user_memory.h"
#include "passthru/testing/kernel/file_table.h"
#include "passthru/testing/simulate/server.h"

namespace passthru::simulate {
namespace {

using journal::UserPointer;
using kernel::SyscallResult;
using preload::Kind;
using preload::Reply;
using preload::Request;

static_assert(preload::kMark == fake::FileTable::kMark);

template <typename T>
SyscallResult<int64_t> AsNumber(const SyscallResult<T>& result) {
  return {.value = static_cast<int64_t>(result.value), .error = result.error};
}

SyscallResult<int64_t> AsNumber(const SyscallResult<void*>& result) {
  return {
      .value = static_cast<int64_t>(reinterpret_cast<uintptr_t>(result.value)),
      .error = result.error};
}

}  // namespace

void Server::Handle(journal::Task& task, const Message& message, Reply& reply) {
  const journal::ScopedTask current(&task);
  const Request& request = message.request;
  task.known = {.fd = request.inode == 0 ? -1 : request.fd,
                .device = request.device,
                .inode = request.inode};
  task.reserved_fd = request.reserved_fd;
  task.mapped_is_device = false;
  const SyscallResult<int64_t> result = Carry(task, message, reply);
  // What the call changed shows in the mapped registers when it returns.
  if (polls_) host_->kernel().StepDevices();
  UpdateTree();
  reply.result = result.value;
  reply.error = result.error;
  if (task.mapped_is_device) reply.flags |= Reply::kTraps;
  reply.argument[0] =
      task.mapped_fd >= 0 ? task.mapped_offset : reply.argument[0];
  reply.flags |= Wishes();
  task.known.fd = -1;
}

SyscallResult<int64_t> Server::Carry(journal::Task& task,
                                     const Message& message, Reply& reply) {
  const Request& request = message.request;
  fake::FakeKernel& kernel = host_->kernel();
  switch (request.kind) {
    case Kind::kHello:
      kernel.OnGone(task.pid());  // execve(2) has taken its mappings.
      return {};
    case Kind::kForked:
      kernel.OnFork(static_cast<pid_t>(request.argument[0]), task.pid());
      return {};
    case Kind::kExit:
      NoteExit();
      return {};
    case Kind::kOpen:
      // A file that another program has just closed is closed.
      kernel.Service();
      if (!HasPath(message.path)) return {.error = ENOENT};
      return AsNumber(kernel.Open(message.path.c_str(),
                                  static_cast<int>(request.argument[0])));
    case Kind::kPath:
      kernel.journal().RecordCall({.name = "path", .subject = message.path}, 0,
                                  0);
      return {};
    case Kind::kUnmapped:
      return AsNumber(
          kernel.Munmap(UserPointer(request.argument[0]), request.argument[1]));
    case Kind::kLoad:
    case Kind::kStore:
      return Access(request, reply);
    case Kind::kClosed:
      return AsNumber(kernel.Close(request.fd));
    default:
      break;
  }
  if (DescribeFile(request.fd).empty()) return {.error = EBADF};
  if (polls_) kernel.StepDevices();
  switch (request.kind) {
    case Kind::kIoctl:
      return Ioctl(request);
    case Kind::kRead:
    case Kind::kWrite:
    case Kind::kPread:
    case Kind::kPwrite:
      return Transfer(request);
    case Kind::kSeek:
      return AsNumber(kernel.Seek(request.fd,
                                  static_cast<int64_t>(request.argument[0]),
                                  static_cast<int>(request.argument[1])));
    case Kind::kMap:
      return AsNumber(kernel.Mmap(UserPointer(request.argument[0]),
                                  request.argument[1],
                                  static_cast<int>(request.argument[2] >> 32),
                                  static_cast<int>(request.argument[2]),
                                  request.fd, request.argument[3]));
    case Kind::kStat:
      return Stat(request, reply);
    case Kind::kIsVfioFile:
      return {.error = kernel.IsVfioFile(request.fd) ? 0 : EINVAL};
    default:
      return {.error = ENOSYS};
  }
}

SyscallResult<int64_t> Server::Transfer(const Request& request) {
  fake::FakeKernel& kernel = host_->kernel();
  void* const buffer = UserPointer(request.argument[0]);
  const size_t count = request.argument[1];
  const uint64_t offset = request.argument[2];
  switch (request.kind) {
    case Kind::kRead:
      return AsNumber(kernel.Read(request.fd, buffer, count));
    case Kind::kPread:
      return AsNumber(kernel.Pread(request.fd, buffer, count, offset));
    default:
      break;
  }
  return AsNumber(request.kind == Kind::kWrite
                      ? kernel.Write(request.fd, buffer, count)
                      : kernel.Pwrite(request.fd, buffer, count, offset));
}

SyscallResult<int64_t> Server::Ioctl(const Request& request) {
  const auto number = static_cast<unsigned long>(request.argument[0]);
  if (number == KVM_RUN && absl::StartsWith(DescribeFile(request.fd), "vcpu")) {
    if (!said_run_) {
      std::cerr << "simulate: KVM_RUN fails with ENOSYS, because the simulated "
                   "KVM executes no guest. Use --kvm=real, or a VMM that "
                   "emulates the processor.\n";
    }
    said_run_ = true;
    host_->invariants().CheckDmaOfRun();
    return {.error = ENOSYS};
  }
  const auto result = host_->kernel().Ioctl(request.fd, number,
                                            UserPointer(request.argument[1]));
  pins_memory_ |= result.ok() && (number == VFIO_IOMMU_MAP_DMA ||
                                  number == KVM_SET_USER_MEMORY_REGION ||
                                  number == KVM_SET_USER_MEMORY_REGION2);
  return AsNumber(result);
}

SyscallResult<int64_t> Server::Access(const Request& request, Reply& reply) {
  const size_t size =
      std::min<size_t>(request.data_size, preload::kLargestAccess);
  const uint64_t address = request.argument[0];
  const fake::MappedAccess done =
      request.kind == Kind::kLoad
          ? host_->kernel().Load(address, absl::MakeSpan(reply.data, size))
          : host_->kernel().Store(address,
                                  absl::MakeConstSpan(request.data, size));
  return {.error = done == fake::MappedAccess::kHandled ? 0 : EFAULT};
}

std::string Server::DescribeFile(int fd) {
  const auto file = host_->kernel().LookAt(fd);
  return file.has_value() ? file->description : "";
}

// Answers like fstat(2), and like a link of /proc/self/fd.
SyscallResult<int64_t> Server::Stat(const Request& request, Reply& reply) {
  const auto file = host_->kernel().LookAt(request.fd);
  if (!file.has_value()) return {.error = EBADF};
  const std::string& description = file->description;
  std::string_view rest = description;
  std::string name;
  mode_t mode = 0600;  // Of an anonymous inode.
  dev_t number = 0;
  if (absl::ConsumePrefix(&rest, "vfio-container")) {
    mode = S_IFCHR | 0666;
    number = makedev(10, 196);
    name = "/dev/vfio/vfio";
  } else if (absl::ConsumePrefix(&rest, "vfio-group ")) {
    mode = S_IFCHR | 0666;
    number = makedev(511, static_cast<unsigned>(std::stoul(std::string(rest))));
    name = absl::StrCat("/dev/vfio/", rest);
  } else if (absl::StartsWith(description, "/sys")) {
    mode = S_IFREG | 0644;
    name = description;
  } else if (description == "/dev/kvm") {
    mode = S_IFCHR | 0666;
    number = makedev(10, 232);
    name = "/dev/kvm";
  } else if (absl::StartsWith(description, "vfio-device")) {
    name = "anon_inode:[vfio-device]";
  } else {
    name = absl::StrCat("anon_inode:kvm-", description);
  }
  reply.argument[0] = mode;
  reply.argument[1] = number;
  reply.argument[2] = file->size;
  std::memcpy(reply.data, name.data(),
              std::min(name.size(), sizeof(reply.data) - 1));
  return {};
}

bool Server::HasPath(const std::string& path) {
  bool has = false;
  host_->kernel().EditPaths(
      [&](fake::FakeSysfs& paths) { has = paths.Has(path); });
  return has;
}

void Server::UpdateTree() {
  std::vector<fake::FakeSysfs::Entry> nodes;
  host_->kernel().EditPaths([&](fake::FakeSysfs& paths) {
    if (paths.changes() == std::exchange(shown_changes_, paths.changes())) {
      return;
    }
    nodes = paths.All();
  });
  if (nodes.empty()) return;
  const absl::Status status = tree_->Update(nodes);
  if (!status.ok()) LOG(ERROR) << status;
}

void Server::NoteExit() {
  // Another program may hold the same files.
  if (tasks_.size() == 1) left_open_ = host_->kernel().CheckLeaks().leaks;
}

uint32_t Server::Wishes() {
  uint32_t wishes = pins_memory_ ? Reply::kWatchesUnmaps : 0;
  if (host_->kernel().journal().uses_entries()) wishes |= Reply::kWatchesPaths;
  const absl::MutexLock lock(&host_->kernel().core().mutex);
  if (host_->kernel().core().eventfds.has_waiters()) {
    wishes |= Reply::kWatchesCloses;
  }
  return wishes;
}

}  // namespace passthru::simulate
