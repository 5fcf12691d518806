// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/journal/call_recorder.h"

#include <linux/kvm.h>
#include <linux/vfio.h>
#include <sys/ioctl.h>

#include <chrono>
#include <string>
#include <type_traits>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "passthru/testing/journal/decode_kvm.h"
#include "passthru/testing/journal/decode_syscall.h"
#include "passthru/testing/journal/decode_vfio.h"

namespace passthru::journal {
namespace {

using kernel::SyscallResult;

constexpr std::string_view kVfioDevice = "vfio-device ";

// Returns a call's result as the journal shows it.
template <typename T>
int64_t ResultNumber(const T& value) {
  if constexpr (std::is_pointer_v<T>) {
    return static_cast<int64_t>(reinterpret_cast<uintptr_t>(value));
  } else if constexpr (std::is_integral_v<T>) {
    return static_cast<int64_t>(value);
  } else {
    return static_cast<int64_t>(value.size());
  }
}

// Returns the description of the descriptor that this call made.
std::string SubjectOfNew(const Call& call, unsigned long request) {
  switch (request) {
    case KVM_CREATE_VM:
      return "vm";
    case KVM_CREATE_VCPU:
      return absl::StrCat("vcpu ", call.Find("arg")->number);
    case VFIO_GROUP_GET_DEVICE_FD:
      return absl::StrCat(kVfioDevice, call.Find("name")->text);
    default:
      return call.name;
  }
}

}  // namespace

CallRecorder::Counts CallRecorder::Take() {
  const absl::MutexLock lock(&mutex_);
  return std::exchange(counts_, {});
}

CallListener::Time CallRecorder::Now() const {
  return listener_ == nullptr ? CallListener::Time()
                              : std::chrono::steady_clock::now();
}

template <typename T>
SyscallResult<T> CallRecorder::Record(const Call& call,
                                      CallListener::Time began,
                                      const SyscallResult<T>& result) {
  const CallListener::Time ended = Now();
  const absl::MutexLock lock(&mutex_);
  ++counts_[call.name];
  std::string line = call.name;
  if ((journal_ != nullptr || listener_ != nullptr) && !call.Waits()) {
    line = text_.Line({.call = call,
                       .result = result.ok() ? ResultNumber(result.value) : 0,
                       .error = result.error});
  }
  if (journal_ != nullptr && !call.Waits()) {
    const bool at_interrupt =
        waiting_threads_.contains(std::this_thread::get_id());
    *journal_ << (at_interrupt ? "  " : "") << line << std::endl;
  }
  if (listener_ != nullptr) {
    listener_->OnCall(call, line, result.error, began, ended);
  }
  return result;
}

std::string CallRecorder::Subject(int fd) {
  const absl::MutexLock lock(&mutex_);
  const auto found = subjects_.find(fd);
  return found == subjects_.end() ? std::string() : found->second;
}

void CallRecorder::Remember(int fd, std::string subject) {
  const absl::MutexLock lock(&mutex_);
  subjects_[fd] = std::move(subject);
}

SyscallResult<int> CallRecorder::Open(const char* path, int flags) {
  const CallListener::Time began = Now();
  const auto result = ForwardingSyscalls::Open(path, flags);
  if (result.ok()) Remember(result.value, path);
  return Record(DescribeOpen(path, flags), began, result);
}

SyscallResult<int> CallRecorder::Close(int fd) {
  const CallListener::Time began = Now();
  // Looks the subject up now, because another open may get the number after the
  // close.
  Call call = DescribeFdCall("close", Subject(fd), fd);
  {
    const absl::MutexLock lock(&mutex_);
    subjects_.erase(fd);
  }
  return Record(call, began, ForwardingSyscalls::Close(fd));
}

SyscallResult<int> CallRecorder::Ioctl(int fd, unsigned long request,
                                       void* arg) {
  const CallListener::Time began = Now();
  std::string subject = Subject(fd);
  Call call = _IOC_TYPE(request) == KVMIO ? DescribeKvmIoctl(request, arg)
              : absl::StartsWith(subject, kVfioDevice)
                  ? DescribeVfioDeviceIoctl(request, arg)
                  : DescribeVfioIoctl(request, arg);
  call.subject = std::move(subject);
  const auto result = ForwardingSyscalls::Ioctl(fd, request, arg);
  if (result.ok() && call.result_kind == CallField::Kind::kFd) {
    Remember(result.value, SubjectOfNew(call, request));
  }
  if (result.ok() && request == KVM_CREATE_DEVICE) {
    const auto* const device = static_cast<const kvm_create_device*>(arg);
    Remember(static_cast<int>(device->fd), "kvm-vfio");
    call.Fd("fd", device->fd);
  }
  return Record(call, began, result);
}

SyscallResult<size_t> CallRecorder::Read(int fd, void* buffer, size_t count) {
  const CallListener::Time began = Now();
  Call call = DescribeTransfer("read", Subject(fd), fd, count);
  const auto result = ForwardingSyscalls::Read(fd, buffer, count);
  if (result.ok()) AddReadData(call, buffer, result.value);
  return Record(call, began, result);
}

SyscallResult<size_t> CallRecorder::Write(int fd, const void* buffer,
                                          size_t count) {
  const CallListener::Time began = Now();
  Call call = DescribeTransfer("write", Subject(fd), fd, count);
  AddData(call, buffer, count);
  return Record(call, began, ForwardingSyscalls::Write(fd, buffer, count));
}

SyscallResult<size_t> CallRecorder::Pread(int fd, void* buffer, size_t count,
                                          uint64_t offset) {
  const CallListener::Time began = Now();
  Call call = DescribeTransfer("pread", Subject(fd), fd, count, offset);
  const auto result = ForwardingSyscalls::Pread(fd, buffer, count, offset);
  if (result.ok()) AddReadData(call, buffer, result.value);
  return Record(call, began, result);
}

SyscallResult<size_t> CallRecorder::Pwrite(int fd, const void* buffer,
                                           size_t count, uint64_t offset) {
  const CallListener::Time began = Now();
  Call call = DescribeTransfer("pwrite", Subject(fd), fd, count, offset);
  AddData(call, buffer, count);
  return Record(call, began,
                ForwardingSyscalls::Pwrite(fd, buffer, count, offset));
}

SyscallResult<void*> CallRecorder::Mmap(void* address, size_t length,
                                        int protection, int flags, int fd,
                                        uint64_t offset) {
  const CallListener::Time began = Now();
  return Record(
      DescribeMmap(Subject(fd), fd, length, protection, flags, offset), began,
      ForwardingSyscalls::Mmap(address, length, protection, flags, fd, offset));
}

SyscallResult<int> CallRecorder::Munmap(void* address, size_t length) {
  const CallListener::Time began = Now();
  return Record(DescribeMunmap(address, length), began,
                ForwardingSyscalls::Munmap(address, length));
}

SyscallResult<int> CallRecorder::Eventfd(unsigned initial, int flags) {
  const CallListener::Time began = Now();
  const auto result = ForwardingSyscalls::Eventfd(initial, flags);
  if (result.ok()) Remember(result.value, "eventfd");
  return Record(DescribeEventfd(initial, flags), began, result);
}

SyscallResult<int> CallRecorder::EpollCreate(int flags) {
  const CallListener::Time began = Now();
  const auto result = ForwardingSyscalls::EpollCreate(flags);
  if (result.ok()) Remember(result.value, "epoll");
  return Record(DescribeEpollCreate(flags), began, result);
}

SyscallResult<int> CallRecorder::EpollCtl(int epoll_fd, int operation, int fd,
                                          epoll_event* event) {
  const CallListener::Time began = Now();
  return Record(DescribeEpollCtl(Subject(fd), epoll_fd, operation, fd), began,
                ForwardingSyscalls::EpollCtl(epoll_fd, operation, fd, event));
}

SyscallResult<int> CallRecorder::EpollWait(int epoll_fd, epoll_event* events,
                                           int max_events, int timeout_ms) {
  const CallListener::Time began = Now();
  {
    const absl::MutexLock lock(&mutex_);
    waiting_threads_.insert(std::this_thread::get_id());
  }
  return Record(
      DescribeEpollWait(epoll_fd, timeout_ms), began,
      ForwardingSyscalls::EpollWait(epoll_fd, events, max_events, timeout_ms));
}

SyscallResult<std::string> CallRecorder::Readlink(const char* path) {
  const CallListener::Time began = Now();
  Call call = DescribePath("readlink", path);
  const auto result = ForwardingSyscalls::Readlink(path);
  if (result.ok()) call.Text("target", result.value);
  return Record(call, began, result);
}

SyscallResult<std::vector<std::string>> CallRecorder::ReadDirectory(
    const char* path) {
  const CallListener::Time began = Now();
  return Record(DescribePath("readdir", path), began,
                ForwardingSyscalls::ReadDirectory(path));
}

}  // namespace passthru::journal
