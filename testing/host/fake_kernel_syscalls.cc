// SPDX-License-Identifier: Apache-2.0
//
// FakeKernel's system calls. Each one picks the fake or the real kernel, asks
// the fault injector, and writes the journal.
#include <fcntl.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "passthru/devices/kernel/syscalls.h"
#include "passthru/testing/host/fake_kernel.h"
#include "passthru/testing/journal/call.h"
#include "passthru/testing/journal/decode_kvm.h"
#include "passthru/testing/journal/decode_syscall.h"
#include "passthru/testing/journal/fault_injector.h"
#include "passthru/testing/journal/task.h"
#include "passthru/testing/journal/user_memory.h"
#include "passthru/testing/kernel/eventfd_table.h"
#include "passthru/testing/kernel/fake_file.h"
#include "passthru/testing/kernel/kernel_core.h"
#include "passthru/testing/kernel/mapping_table.h"

namespace passthru::fake {
namespace {

using kernel::SyscallResult;

constexpr uint64_t kPageSize = 4096;

uint64_t WholePages(size_t length) {
  return (uint64_t{length} + kPageSize - 1) & ~(kPageSize - 1);
}

// Return a call's result as the journal shows it.
int64_t JournalValue(int value) { return value; }
int64_t JournalValue(size_t value) { return static_cast<int64_t>(value); }
int64_t JournalValue(void* value) {
  return static_cast<int64_t>(reinterpret_cast<uintptr_t>(value));
}
int64_t JournalValue(const std::string& value) {
  return static_cast<int64_t>(value.size());
}
int64_t JournalValue(const std::vector<std::string>& value) {
  return static_cast<int64_t>(value.size());
}

}  // namespace

int FakeKernel::Fault(const journal::Call& call, size_t* count) {
  const std::optional<journal::Fault> fault = core_.faults.OnCall(call);
  if (!fault.has_value()) return 0;
  if (count != nullptr && fault->short_count.has_value()) {
    *count = std::min(*count, *fault->short_count);
  }
  return fault->error;
}

void FakeKernel::AddWrittenData(journal::Call& call, const void* buffer,
                                size_t count) {
  if (UsesCalls()) journal::AddData(call, buffer, count);
}

template <typename T>
SyscallResult<T> FakeKernel::Finish(journal::Call&& call,
                                    const SyscallResult<T>& result) {
  if (observer_ != nullptr) {
    observer_->OnCall(
        call.name, [&call] { return call; },
        result.ok() ? JournalValue(result.value) : 0, result.error);
  }
  return FinishReal(std::move(call), result);
}

template <typename T>
SyscallResult<T> FakeKernel::FinishUnused(
    std::string_view name, absl::FunctionRef<journal::Call()> describe,
    const SyscallResult<T>& result) {
  core_.faults.CountCall(name);
  if (observer_ != nullptr) {
    observer_->OnCall(name, describe,
                      result.ok() ? JournalValue(result.value) : 0,
                      result.error);
  }
  core_.journal.CountCall(name);
  core_.device_work.Signal();
  return result;
}

template <typename T>
SyscallResult<T> FakeKernel::FinishReal(journal::Call&& call,
                                        const SyscallResult<T>& result) {
  core_.journal.RecordCall(std::move(call),
                           result.ok() ? JournalValue(result.value) : 0,
                           result.error);
  core_.device_work.Signal();
  return result;
}

std::string FakeKernel::Subject(const FakeFile* file, int fd) {
  if (file != nullptr) return file->Describe();
  const auto found = real_files_.find(fd);
  return found == real_files_.end() ? std::string() : found->second;
}

void FakeKernel::Track(int fd, std::string description) {
  real_files_[fd] = std::move(description);
}

SyscallResult<int> FakeKernel::Open(const char* path, int flags) {
  journal::Call call = journal::DescribeOpen(path, flags);
  const absl::MutexLock lock(&core_.mutex);
  if (const int error = Fault(call); error != 0) {
    return Finish<int>(std::move(call), {.error = error});
  }
  const bool is_real =
      path == nullptr || !core_.paths.Has(path) ||
      (options_.passthrough_kvm && std::string_view(path) == "/dev/kvm");
  if (is_real) {
    const SyscallResult<int> opened = real_.Open(path, flags);
    if (opened.ok()) Track(opened.value, path);
    return Finish(std::move(call), opened);
  }
  SyscallResult<std::shared_ptr<FakeFile>> file = core_.paths.Open(path, flags);
  if (!file.ok()) return Finish<int>(std::move(call), {.error = file.error});
  return Finish(std::move(call), core_.files.Install(std::move(file.value),
                                                     (flags & O_CLOEXEC) != 0));
}

SyscallResult<int> FakeKernel::Close(int fd) {
  SyscallResult<int> result;
  {
    const absl::MutexLock lock(&core_.mutex);
    FileRef file = core_.files.Lookup(fd);
    const bool is_fake = file != nullptr;
    journal::Call call =
        journal::DescribeFdCall("close", Subject(file.get(), fd), fd);
    file.reset();
    const int error = Fault(call);
    if (journal::CurrentTask() != nullptr) {
      // The task itself closed it.
      core_.files.Sweep();
      core_.eventfds.Sweep();
    } else {
      result = is_fake ? core_.files.Close(fd) : CloseReal(fd);
    }
    // Linux releases the number even when it reports an error.
    if (error != 0) result = {.error = error};
    Finish(std::move(call), result);
  }
  kvm_->JoinStoppedGuests();
  return result;
}

SyscallResult<int> FakeKernel::CloseReal(int fd) {
  std::string eventfd;
  if (core_.eventfds.has_waiters()) eventfd = EventfdTable::IdentityOf(fd);
  const SyscallResult<int> closed = real_.Close(fd);
  if (closed.ok()) {
    real_files_.erase(fd);
    if (!eventfd.empty()) core_.eventfds.OnClosed(eventfd);
  }
  return closed;
}

SyscallResult<int> FakeKernel::Ioctl(int fd, unsigned long request, void* arg) {
  FileRef file;
  journal::Call call;
  {
    const absl::MutexLock lock(&core_.mutex);
    file = core_.files.Lookup(fd);
    if (file != nullptr && !UsesCalls() && !file->RunsUnlocked(request)) {
      if (const std::string_view name = file->IoctlName(request);
          !name.empty()) {
        const auto describe = [&] {
          journal::Call described = file->DescribeIoctl(request, arg);
          described.subject = file->Describe();
          return described;
        };
        const SyscallResult<int> result =
            FinishUnused(name, describe, file->Ioctl(request, arg));
        file.reset();
        return result;
      }
    }
    call = file != nullptr ? file->DescribeIoctl(request, arg)
           : _IOC_TYPE(request) == KVMIO
               ? journal::DescribeKvmIoctl(request, arg)
               : journal::DescribeUnknownIoctl(request, arg);
    call.subject = Subject(file.get(), fd);
    if (const int error = Fault(call); error != 0) {
      file.reset();
      return Finish<int>(std::move(call), {.error = error});
    }
    if (file == nullptr && NamesFakeGroup(request, arg)) {
      return Finish<int>(std::move(call), {});
    }
    if (file != nullptr && !file->RunsUnlocked(request)) {
      const SyscallResult<int> result = file->Ioctl(request, arg);
      file.reset();
      return Finish(std::move(call), result);
    }
  }
  if (file == nullptr) return IoctlOnReal(std::move(call), fd, request, arg);
  const SyscallResult<int> result = file->Ioctl(request, arg);
  const absl::MutexLock lock(&core_.mutex);
  file.reset();
  return Finish(std::move(call), result);
}

bool FakeKernel::NamesFakeGroup(unsigned long request, const void* arg) {
  if (!options_.passthrough_kvm || request != KVM_SET_DEVICE_ATTR) return false;
  const auto attribute = journal::CopyFromUser<kvm_device_attr>(arg);
  if (!attribute.has_value() || attribute->group != KVM_DEV_VFIO_GROUP) {
    return false;
  }
  const auto fd =
      journal::CopyFromUser<int32_t>(journal::UserPointer(attribute->addr));
  return fd.has_value() && core_.files.Lookup(*fd) != nullptr;
}

SyscallResult<int> FakeKernel::IoctlOnReal(journal::Call call, int fd,
                                           unsigned long request, void* arg) {
  const SyscallResult<int> result = real_.Ioctl(fd, request, arg);
  if (result.ok() && call.result_kind == journal::CallField::Kind::kFd) {
    const absl::MutexLock lock(&core_.mutex);
    Track(result.value, call.name);
  }
  return FinishReal(std::move(call), result);
}

SyscallResult<size_t> FakeKernel::Read(int fd, void* buffer, size_t count) {
  journal::Call call;
  {
    const absl::MutexLock lock(&core_.mutex);
    const FileRef file = core_.files.Lookup(fd);
    call =
        journal::DescribeTransfer("read", Subject(file.get(), fd), fd, count);
    if (const int error = Fault(call, &count); error != 0) {
      return Finish<size_t>(std::move(call), {.error = error});
    }
    if (file != nullptr) {
      return Finish(std::move(call), file->Read(buffer, count));
    }
  }
  // This may wait, so it runs without the mutex.
  const SyscallResult<size_t> result = real_.Read(fd, buffer, count);
  if (result.ok()) journal::AddReadData(call, buffer, result.value);
  return FinishReal(std::move(call), result);
}

SyscallResult<size_t> FakeKernel::Write(int fd, const void* buffer,
                                        size_t count) {
  journal::Call call;
  {
    const absl::MutexLock lock(&core_.mutex);
    const FileRef file = core_.files.Lookup(fd);
    call =
        journal::DescribeTransfer("write", Subject(file.get(), fd), fd, count);
    AddWrittenData(call, buffer, count);
    if (const int error = Fault(call, &count); error != 0) {
      return Finish<size_t>(std::move(call), {.error = error});
    }
    if (file != nullptr) {
      return Finish(std::move(call), file->Write(buffer, count));
    }
    // Like eventfd_write(), wakes an irqfd in the writer's context. Writes that
    // eventfd_write() refuses go to the real kernel.
    if (count >= sizeof(uint64_t)) {
      const auto value = journal::CopyFromUser<uint64_t>(buffer);
      if (value.has_value() && *value != 0 && *value != UINT64_MAX &&
          core_.eventfds.SignalFromUser(fd, *value)) {
        return Finish<size_t>(std::move(call), {.value = sizeof(uint64_t)});
      }
    }
  }
  return FinishReal(std::move(call), real_.Write(fd, buffer, count));
}

SyscallResult<size_t> FakeKernel::Pread(int fd, void* buffer, size_t count,
                                        uint64_t offset) {
  journal::Call call;
  {
    const absl::MutexLock lock(&core_.mutex);
    const FileRef file = core_.files.Lookup(fd);
    // Programs make more of these calls than of all others.
    if (file != nullptr && !UsesCalls()) {
      const auto describe = [&] {
        return journal::DescribeTransfer("pread", file->Describe(), fd, count,
                                         offset);
      };
      return FinishUnused("pread", describe,
                          file->Pread(buffer, count, offset));
    }
    call = journal::DescribeTransfer("pread", Subject(file.get(), fd), fd,
                                     count, offset);
    if (const int error = Fault(call, &count); error != 0) {
      return Finish<size_t>(std::move(call), {.error = error});
    }
    if (file != nullptr) {
      const SyscallResult<size_t> result = file->Pread(buffer, count, offset);
      if (result.ok()) journal::AddReadData(call, buffer, result.value);
      return Finish(std::move(call), result);
    }
  }
  return FinishReal(std::move(call), real_.Pread(fd, buffer, count, offset));
}

SyscallResult<size_t> FakeKernel::Pwrite(int fd, const void* buffer,
                                         size_t count, uint64_t offset) {
  journal::Call call;
  {
    const absl::MutexLock lock(&core_.mutex);
    const FileRef file = core_.files.Lookup(fd);
    if (file != nullptr && !UsesCalls()) {
      const auto describe = [&] {
        return journal::DescribeTransfer("pwrite", file->Describe(), fd, count,
                                         offset);
      };
      return FinishUnused("pwrite", describe,
                          file->Pwrite(buffer, count, offset));
    }
    call = journal::DescribeTransfer("pwrite", Subject(file.get(), fd), fd,
                                     count, offset);
    AddWrittenData(call, buffer, count);
    if (const int error = Fault(call, &count); error != 0) {
      return Finish<size_t>(std::move(call), {.error = error});
    }
    if (file != nullptr) {
      return Finish(std::move(call), file->Pwrite(buffer, count, offset));
    }
  }
  return FinishReal(std::move(call), real_.Pwrite(fd, buffer, count, offset));
}

SyscallResult<void*> FakeKernel::Mmap(void* address, size_t length,
                                      int protection, int flags, int fd,
                                      uint64_t offset) {
  const absl::MutexLock lock(&core_.mutex);
  FileRef file = core_.files.Lookup(fd);
  journal::Call call = journal::DescribeMmap(Subject(file.get(), fd), fd,
                                             length, protection, flags, offset);
  if (const int error = Fault(call); error != 0) {
    return Finish<void*>(std::move(call), {.error = error});
  }
  if ((flags & MAP_ANONYMOUS) != 0) file.reset();
  SyscallResult<void*> mapped;
  if (file == nullptr) {
    mapped = real_.Mmap(address, length, protection, flags, fd, offset);
  } else if (length == 0 || offset % kPageSize != 0) {
    mapped = {.error = EINVAL};  // do_mmap() checks this before the file.
  } else {
    mapped = file->Mmap(address, length, protection, flags, offset);
  }
  if (mapped.ok()) {
    core_.mappings.Add({.address = reinterpret_cast<uintptr_t>(mapped.value),
                        .length = WholePages(length),
                        .file = std::move(file),
                        .offset = offset,
                        .protection = protection,
                        .flags = flags});
  }
  return Finish(std::move(call), mapped);
}

SyscallResult<int> FakeKernel::Munmap(void* address, size_t length) {
  SyscallResult<int> result;
  {
    const absl::MutexLock lock(&core_.mutex);
    journal::Call call = journal::DescribeMunmap(address, length);
    if (const int error = Fault(call); error != 0) {
      return Finish<int>(std::move(call), {.error = error});
    }
    // A task itself unmaps it.
    if (journal::CurrentTask() == nullptr) {
      result = real_.Munmap(address, length);
    }
    if (result.ok()) {
      core_.mappings.Remove(reinterpret_cast<uintptr_t>(address),
                            WholePages(length));
    }
    Finish(std::move(call), result);
  }
  kvm_->JoinStoppedGuests();
  return result;
}

SyscallResult<int> FakeKernel::Eventfd(unsigned initial, int flags) {
  journal::Call call = journal::DescribeEventfd(initial, flags);
  const absl::MutexLock lock(&core_.mutex);
  if (const int error = Fault(call); error != 0) {
    return Finish<int>(std::move(call), {.error = error});
  }
  const SyscallResult<int> created = real_.Eventfd(initial, flags);
  if (created.ok()) Track(created.value, "eventfd");
  return Finish(std::move(call), created);
}

SyscallResult<int> FakeKernel::EpollCreate(int flags) {
  journal::Call call = journal::DescribeEpollCreate(flags);
  const absl::MutexLock lock(&core_.mutex);
  if (const int error = Fault(call); error != 0) {
    return Finish<int>(std::move(call), {.error = error});
  }
  const SyscallResult<int> created = real_.EpollCreate(flags);
  if (created.ok()) Track(created.value, "epoll");
  return Finish(std::move(call), created);
}

SyscallResult<int> FakeKernel::EpollCtl(int epoll_fd, int operation, int fd,
                                        epoll_event* event) {
  const absl::MutexLock lock(&core_.mutex);
  const FileRef file = core_.files.Lookup(fd);
  journal::Call call = journal::DescribeEpollCtl(Subject(file.get(), fd),
                                                 epoll_fd, operation, fd);
  if (const int error = Fault(call); error != 0) {
    return Finish<int>(std::move(call), {.error = error});
  }
  // The fake's files do not support polling (file_can_poll()).
  if (file != nullptr) {
    return Finish<int>(std::move(call), {.error = EPERM});
  }
  return Finish(std::move(call),
                real_.EpollCtl(epoll_fd, operation, fd, event));
}

SyscallResult<int> FakeKernel::EpollWait(int epoll_fd, epoll_event* events,
                                         int max_events, int timeout_ms) {
  journal::Call call = journal::DescribeEpollWait(epoll_fd, timeout_ms);
  if (const int error = Fault(call); error != 0) {
    return FinishReal<int>(std::move(call), {.error = error});
  }
  return FinishReal(std::move(call),
                    real_.EpollWait(epoll_fd, events, max_events, timeout_ms));
}

SyscallResult<int> FakeKernel::Poll(pollfd* fds, nfds_t count, int timeout_ms) {
  journal::Call call = journal::DescribePoll(count, timeout_ms);
  if (const int error = Fault(call); error != 0) {
    return FinishReal<int>(std::move(call), {.error = error});
  }
  return FinishReal(std::move(call), real_.Poll(fds, count, timeout_ms));
}

SyscallResult<int> FakeKernel::Getrlimit(int resource, rlimit* limit) {
  journal::Call call = journal::DescribeGetrlimit(resource);
  const absl::MutexLock lock(&core_.mutex);
  if (const int error = Fault(call); error != 0) {
    return Finish<int>(std::move(call), {.error = error});
  }
  if (resource != RLIMIT_NOFILE) {
    return Finish(std::move(call), real_.Getrlimit(resource, limit));
  }
  *limit = options_.descriptors;
  return Finish<int>(std::move(call), {});
}

SyscallResult<pthread_t> FakeKernel::StartThread(void* (*body)(void*),
                                                 void* argument) {
  journal::Call call = journal::DescribeStartThread();
  const absl::MutexLock lock(&core_.mutex);
  if (const int error = Fault(call); error != 0) {
    Finish<int>(std::move(call), {.error = error});
    return {.error = error};
  }
  const SyscallResult<pthread_t> started = real_.StartThread(body, argument);
  Finish<int>(std::move(call), {.error = started.error});
  return started;
}

SyscallResult<std::string> FakeKernel::Readlink(const char* path) {
  journal::Call call = journal::DescribePath("readlink", path);
  const absl::MutexLock lock(&core_.mutex);
  if (const int error = Fault(call); error != 0) {
    return Finish<std::string>(std::move(call), {.error = error});
  }
  const SyscallResult<std::string> link =
      core_.paths.Has(path) ? core_.paths.Readlink(path) : real_.Readlink(path);
  if (link.ok()) call.Text("target", link.value);
  return Finish(std::move(call), link);
}

SyscallResult<std::vector<std::string>> FakeKernel::ReadDirectory(
    const char* path) {
  journal::Call call = journal::DescribePath("readdir", path);
  const absl::MutexLock lock(&core_.mutex);
  if (const int error = Fault(call); error != 0) {
    return Finish<std::vector<std::string>>(std::move(call), {.error = error});
  }
  return Finish(std::move(call), core_.paths.Has(path)
                                     ? core_.paths.ReadDirectory(path)
                                     : real_.ReadDirectory(path));
}

}  // namespace passthru::fake
