// SPDX-License-Identifier: Apache-2.0
#include "testing/preload/client.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "testing/preload/raw.h"

namespace passthru::preload {
namespace {

// Idle connections: the process above bit 32, and the descriptor plus one. A
// child of vfork(2) shares this memory and has descriptors of its own, hence
// the process.
constexpr int kSlots = 4;
uint64_t idle[kSlots];

// Numbers that programs do not use, so that theirs are as without this library.
constexpr int kHighNumber = 900;

bool started;
char folder[sizeof(sockaddr_un::sun_path) - sizeof(kSocketName)];
size_t folder_length;
uint64_t folder_device;
bool kvm_is_simulated;
uint32_t watched;

uint64_t Process() { return static_cast<uint64_t>(Raw(SYS_getpid)); }

int Connect() {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  memcpy(address.sun_path, folder, folder_length);
  memcpy(address.sun_path + folder_length, kSocketName, sizeof(kSocketName));
  const long fd = Raw(SYS_socket, AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  if (fd < 0) return static_cast<int>(fd);
  long connected;
  do {
    connected = Raw(SYS_connect, fd, AsLong(&address), sizeof(address));
  } while (connected == -EINTR);
  if (connected < 0) {
    Raw(SYS_close, fd);
    return static_cast<int>(connected);
  }
  const long high = Raw(SYS_fcntl, fd, F_DUPFD_CLOEXEC, kHighNumber);
  if (high < 0) return static_cast<int>(fd);
  Raw(SYS_close, fd);
  return static_cast<int>(high);
}

int TakeConnection() {
  const uint64_t process = Process();
  for (uint64_t& slot : idle) {
    uint64_t value = __atomic_load_n(&slot, __ATOMIC_ACQUIRE);
    if (value >> 32 != process) continue;
    if (!__atomic_compare_exchange_n(&slot, &value, 0, false, __ATOMIC_ACQ_REL,
                                     __ATOMIC_ACQUIRE)) {
      continue;
    }
    return static_cast<int>(value & 0xffffffff) - 1;
  }
  return Connect();
}

void ReturnConnection(int fd) {
  const uint64_t mine = Process() << 32 | static_cast<uint32_t>(fd + 1);
  for (uint64_t& slot : idle) {
    uint64_t empty = 0;
    if (__atomic_compare_exchange_n(&slot, &empty, mine, false,
                                    __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
      return;
    }
  }
  Raw(SYS_close, fd);
}

// Sends the request. Returns what sendmsg(2) returns, or minus an errno.
long Send(int connection, const Request& request, const char* path) {
  iovec parts[2] = {
      {const_cast<Request*>(&request), sizeof(request)},
      {const_cast<char*>(path), path == nullptr ? 0 : strlen(path) + 1}};
  msghdr message = {};
  message.msg_iov = parts;
  message.msg_iovlen = path == nullptr ? 1 : 2;
  long done;
  do {
    done = Raw(SYS_sendmsg, connection, AsLong(&message), MSG_NOSIGNAL);
  } while (done == -EINTR);
  return done;
}

// Receives the reply. Returns 0, or minus an errno.
long Receive(int connection, Reply* reply, int* fd) {
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
  iovec whole = {reply, sizeof(*reply)};
  msghdr message = {};
  message.msg_iov = &whole;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof(control);
  long done;
  do {
    done = Raw(SYS_recvmsg, connection, AsLong(&message), MSG_CMSG_CLOEXEC);
  } while (done == -EINTR);
  if (done < 0) return done;
  if (done != static_cast<long>(sizeof(*reply))) return -ECONNRESET;
  const cmsghdr* const rights = CMSG_FIRSTHDR(&message);
  if (rights != nullptr && rights->cmsg_type == SCM_RIGHTS) {
    memcpy(fd, CMSG_DATA(rights), sizeof(*fd));
  }
  return 0;
}

void SayGone() {
  static bool said;
  if (__atomic_exchange_n(&said, true, __ATOMIC_RELAXED)) return;
  Say("the simulated kernel has ended; its devices are gone");
}

}  // namespace

void Start() {
  if (started) return;
  started = true;
  const char* const value = getenv(kFolderVariable);
  if (value == nullptr) return;
  const char* const end = strchr(value, ':');
  const size_t length =
      end == nullptr ? strlen(value) : static_cast<size_t>(end - value);
  struct stat status;
  if (length == 0 || length >= sizeof(folder)) return;
  memcpy(folder, value, length);
  folder_length = length;
  kvm_is_simulated = end != nullptr && strcmp(end, ":kvm") == 0;
  if (Raw(SYS_newfstatat, AT_FDCWD, AsLong(folder), AsLong(&status), 0) != 0) {
    SayGone();
    folder_length = 0;
    return;
  }
  folder_device = status.st_dev;
}

const char* Folder() {
  Start();
  return folder_length == 0 ? nullptr : folder;
}

size_t FolderLength() { return folder_length; }
bool KvmIsSimulated() { return kvm_is_simulated; }
uint64_t FolderDevice() { return folder_device; }

long Call(const Request& request, Reply* reply, const char* path, int* fd) {
  if (Folder() == nullptr) return -ENXIO;
  Reply own_reply;
  if (reply == nullptr) reply = &own_reply;
  int connection = TakeConnection();
  long done = connection < 0 ? connection : Send(connection, request, path);
  if (connection >= 0 && (done == -EBADF || done == -ENOTSOCK)) {
    // The program closed it with a system call of its own.
    connection = Connect();
    done = connection < 0 ? connection : Send(connection, request, path);
  }
  if (done == -EMFILE || done == -ENFILE) return done;
  int received = -1;
  if (done >= 0) done = Receive(connection, reply, &received);
  if (done < 0) {
    if (connection >= 0) Raw(SYS_close, connection);
    SayGone();
    return -ENXIO;
  }
  ReturnConnection(connection);
  __atomic_store_n(&watched, reply->flags, __ATOMIC_RELAXED);
  if (fd != nullptr) {
    *fd = received;
  } else if (received >= 0) {
    Raw(SYS_close, received);
  }
  return reply->error != 0 ? -reply->error : static_cast<long>(reply->result);
}

bool Watches(uint32_t flag) {
  return (__atomic_load_n(&watched, __ATOMIC_RELAXED) & flag) != 0;
}

bool IsOurs(int fd, Request* request) {
  if (Raw(SYS_fcntl, fd, F_GETSIG) != kMark) return false;
  struct stat status;
  if (Raw(SYS_fstat, fd, AsLong(&status)) != 0 || !S_ISFIFO(status.st_mode)) {
    return false;
  }
  if (request != nullptr) {
    request->fd = fd;
    request->device = status.st_dev;
    request->inode = status.st_ino;
  }
  return true;
}

bool IsConnection(int fd) {
  const uint64_t mine = Process() << 32 | static_cast<uint32_t>(fd + 1);
  for (uint64_t& slot : idle) {
    if (__atomic_load_n(&slot, __ATOMIC_ACQUIRE) == mine) return true;
  }
  return false;
}

void DropConnections(unsigned first, unsigned last) {
  const uint64_t process = Process();
  for (uint64_t& slot : idle) {
    uint64_t value = __atomic_load_n(&slot, __ATOMIC_ACQUIRE);
    const unsigned fd = static_cast<unsigned>(value & 0xffffffff) - 1;
    if (value >> 32 != process || fd < first || fd > last) continue;
    if (__atomic_compare_exchange_n(&slot, &value, 0, false, __ATOMIC_ACQ_REL,
                                    __ATOMIC_ACQUIRE)) {
      Raw(SYS_close, fd);
    }
  }
}

void ForgetConnections() {
  for (uint64_t& slot : idle) {
    const uint64_t value = __atomic_exchange_n(&slot, 0, __ATOMIC_ACQ_REL);
    if (value != 0) Raw(SYS_close, static_cast<long>(value & 0xffffffff) - 1);
  }
}

void Say(const char* text, const char* more) {
  static constexpr char kWho[] = "simulate: ";
  static constexpr char kEnd[] = "\n";
  iovec parts[4] = {{const_cast<char*>(kWho), sizeof(kWho) - 1},
                    {const_cast<char*>(text), strlen(text)},
                    {const_cast<char*>(more), strlen(more)},
                    {const_cast<char*>(kEnd), 1}};
  Raw(SYS_writev, 2, AsLong(parts), 4);
}

}  // namespace passthru::preload
