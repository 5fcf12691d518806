// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/journal/decode_syscall.h"

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>

#include "absl/strings/str_format.h"
#include "passthru/testing/journal/task.h"
#include "passthru/testing/journal/user_memory.h"

namespace passthru::journal {

Call DescribePath(std::string_view name, const char* path) {
  return {.name = std::string(name),
          .subject = path == nullptr ? std::string() : std::string(path)};
}

Call DescribeOpen(const char* path, int flags) {
  Call call = DescribePath("open", path);
  call.result_kind = CallField::Kind::kFd;
  call.Hex("flags", static_cast<uint64_t>(flags));
  return call;
}

Call DescribeFdCall(std::string_view name, std::string subject, int fd) {
  Call call{.name = std::string(name), .subject = std::move(subject)};
  call.Fd("fd", fd);
  return call;
}

Call DescribeTransfer(std::string_view name, std::string subject, int fd,
                      size_t count) {
  Call call = DescribeFdCall(name, std::move(subject), fd);
  call.Number("count", static_cast<int64_t>(count));
  return call;
}

Call DescribeTransfer(std::string_view name, std::string subject, int fd,
                      size_t count, uint64_t offset) {
  Call call = DescribeTransfer(name, std::move(subject), fd, count);
  call.Hex("offset", offset);
  return call;
}

void AddData(Call& call, const void* data, size_t count) {
  uint64_t value = 0;
  if (count > sizeof(value) || !CopyFromUser(&value, data, count)) return;
  call.Hex("data", value);
}

void AddReadData(Call& call, const void* data, size_t count) {
  if (CurrentTask() != nullptr) {
    AddData(call, data, count);
    return;
  }
  uint64_t value = 0;
  if (count > sizeof(value)) return;
  if (count != 0) std::memcpy(&value, data, count);
  call.Hex("data", value);
}

Call DescribeMmap(std::string subject, int fd, size_t length, int protection,
                  int flags, uint64_t offset) {
  Call call = DescribeFdCall("mmap", std::move(subject), fd);
  call.result_kind = CallField::Kind::kHostAddress;
  call.Hex("length", length)
      .Hex("prot", static_cast<uint64_t>(protection))
      .Hex("flags", static_cast<uint64_t>(flags))
      .Hex("offset", offset);
  return call;
}

Call DescribeMunmap(const void* address, size_t length) {
  return Call{.name = "munmap"}
      .HostAddress("addr", reinterpret_cast<uintptr_t>(address))
      .Hex("length", length);
}

Call DescribeEventfd(unsigned initial, int flags) {
  Call call{.name = "eventfd", .result_kind = CallField::Kind::kFd};
  call.Number("initial", initial).Hex("flags", static_cast<uint64_t>(flags));
  return call;
}

Call DescribeGetrlimit(int resource) {
  return Call{.name = "getrlimit"}.Number("resource", resource);
}

Call DescribeStartThread() { return Call{.name = "pthread_create"}; }

Call DescribeEpollCreate(int flags) {
  Call call{.name = "epoll_create", .result_kind = CallField::Kind::kFd};
  call.Hex("flags", static_cast<uint64_t>(flags));
  return call;
}

Call DescribeEpollCtl(std::string subject, int epoll_fd, int operation,
                      int fd) {
  Call call{.name = "epoll_ctl", .subject = std::move(subject)};
  call.Fd("epoll_fd", epoll_fd).Number("op", operation).Fd("fd", fd);
  return call;
}

Call DescribeEpollWait(int epoll_fd, int timeout_ms) {
  Call call{.name = "epoll_wait"};
  call.Fd("epoll_fd", epoll_fd).Number("timeout", timeout_ms);
  return call;
}

Call DescribePoll(size_t count, int timeout_ms) {
  Call call{.name = "poll"};
  call.Number("count", static_cast<int64_t>(count))
      .Number("timeout", timeout_ms);
  return call;
}

Call DescribeUnknownIoctl(unsigned long request, const void* arg) {
  return Call{.name = absl::StrFormat("ioctl 0x%x", request)}.HostAddress(
      "arg", reinterpret_cast<uintptr_t>(arg));
}

}  // namespace passthru::journal
