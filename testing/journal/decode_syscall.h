// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_JOURNAL_DECODE_SYSCALL_H_
#define PASSTHRU_TESTING_JOURNAL_DECODE_SYSCALL_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "passthru/testing/journal/call.h"

namespace passthru::journal {

// Describe the calls of kernel::Syscalls for a journal. The known ioctls are
// described in decode_kvm.h and decode_vfio.h. `subject` says what the
// descriptor refers to. Thread-safe.
Call DescribeOpen(const char* path, int flags);
Call DescribePath(std::string_view name, const char* path);
Call DescribeFdCall(std::string_view name, std::string subject, int fd);
// Describe read and write, or with `offset` pread and pwrite.
Call DescribeTransfer(std::string_view name, std::string subject, int fd,
                      size_t count);
Call DescribeTransfer(std::string_view name, std::string subject, int fd,
                      size_t count, uint64_t offset);
// Adds the data of a transfer of at most 8 bytes, such as an access to a
// register or a doorbell, where the value says more than the length.
void AddData(Call& call, const void* data, size_t count);
// Does the same after a read that succeeded, whose buffer is known to be
// memory.
void AddReadData(Call& call, const void* data, size_t count);
Call DescribeMmap(std::string subject, int fd, size_t length, int protection,
                  int flags, uint64_t offset);
Call DescribeMunmap(const void* address, size_t length);
Call DescribeEventfd(unsigned initial, int flags);
Call DescribeGetrlimit(int resource);
Call DescribeStartThread();
Call DescribeEpollCreate(int flags);
Call DescribeEpollCtl(std::string subject, int epoll_fd, int operation, int fd);
Call DescribeEpollWait(int epoll_fd, int timeout_ms);
Call DescribePoll(size_t count, int timeout_ms);
// Describes an ioctl that nothing decodes, by the number of its request.
Call DescribeUnknownIoctl(unsigned long request, const void* arg);

}  // namespace passthru::journal

#endif  // PASSTHRU_TESTING_JOURNAL_DECODE_SYSCALL_H_
