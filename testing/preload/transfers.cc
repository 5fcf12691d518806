// SPDX-License-Identifier: Apache-2.0
//
// read(2) and write(2) and all that does the same.
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "testing/preload/client.h"
#include "testing/preload/raw.h"

namespace passthru::preload {
namespace {

// Transfers one part. `offset` is -1 for the file's position.
long Transfer(const Request& identity, bool writes, const void* buffer,
              size_t count, off_t offset) {
  Request request = identity;
  request.kind = offset == -1 ? (writes ? Kind::kWrite : Kind::kRead)
                              : (writes ? Kind::kPwrite : Kind::kPread);
  request.argument[0] = reinterpret_cast<uint64_t>(buffer);
  request.argument[1] = count;
  request.argument[2] = static_cast<uint64_t>(offset);
  return Call(request);
}

// Transfers part after part, like do_loop_readv_writev().
long TransferAll(const Request& identity, bool writes, const iovec* parts,
                 int count, off_t offset) {
  if (count < 0 || count > 1024) return -EINVAL;
  long whole = 0;
  for (int i = 0; i < count; ++i) {
    const long done =
        Transfer(identity, writes, parts[i].iov_base, parts[i].iov_len,
                 offset == -1 ? -1 : offset + whole);
    if (done < 0) return whole > 0 ? whole : done;
    whole += done;
    if (static_cast<size_t>(done) != parts[i].iov_len) break;
  }
  return whole;
}

}  // namespace

INTERPOSE(ssize_t, read, int fd, void* buffer, size_t count) {
  Request request;
  if (!IsOurs(fd, &request)) return NEXT(read)(fd, buffer, count);
  return Return(Transfer(request, false, buffer, count, -1));
}
ALSO_AS(read, __read);

INTERPOSE(ssize_t, write, int fd, const void* buffer, size_t count) {
  Request request;
  if (!IsOurs(fd, &request)) return NEXT(write)(fd, buffer, count);
  return Return(Transfer(request, true, buffer, count, -1));
}
ALSO_AS(write, __write);

INTERPOSE(ssize_t, pread, int fd, void* buffer, size_t count, off_t offset) {
  Request request;
  if (!IsOurs(fd, &request)) return NEXT(pread)(fd, buffer, count, offset);
  if (offset < 0) return Return(-EINVAL);
  return Return(Transfer(request, false, buffer, count, offset));
}
ALSO_AS(pread, pread64);
ALSO_AS(pread, __pread64);

INTERPOSE(ssize_t, pwrite, int fd, const void* buffer, size_t count,
          off_t offset) {
  Request request;
  if (!IsOurs(fd, &request)) return NEXT(pwrite)(fd, buffer, count, offset);
  if (offset < 0) return Return(-EINVAL);
  return Return(Transfer(request, true, buffer, count, offset));
}
ALSO_AS(pwrite, pwrite64);
ALSO_AS(pwrite, __pwrite64);

// The fortified calls end the program if the buffer is too small.
INTERPOSE(ssize_t, __read_chk, int fd, void* buffer, size_t count,
          size_t room) {
  if (!IsOurs(fd)) return NEXT(__read_chk)(fd, buffer, count, room);
  if (count > room) __builtin_trap();
  return passthru_read(fd, buffer, count);
}

INTERPOSE(ssize_t, __pread_chk, int fd, void* buffer, size_t count,
          off_t offset, size_t room) {
  if (!IsOurs(fd)) return NEXT(__pread_chk)(fd, buffer, count, offset, room);
  if (count > room) __builtin_trap();
  return passthru_pread(fd, buffer, count, offset);
}
ALSO_AS(__pread_chk, __pread64_chk);

INTERPOSE(ssize_t, readv, int fd, const iovec* parts, int count) {
  Request request;
  if (!IsOurs(fd, &request)) return NEXT(readv)(fd, parts, count);
  return Return(TransferAll(request, false, parts, count, -1));
}

INTERPOSE(ssize_t, writev, int fd, const iovec* parts, int count) {
  Request request;
  if (!IsOurs(fd, &request)) return NEXT(writev)(fd, parts, count);
  return Return(TransferAll(request, true, parts, count, -1));
}

INTERPOSE(ssize_t, preadv, int fd, const iovec* parts, int count,
          off_t offset) {
  Request request;
  if (!IsOurs(fd, &request)) return NEXT(preadv)(fd, parts, count, offset);
  if (offset < 0) return Return(-EINVAL);
  return Return(TransferAll(request, false, parts, count, offset));
}
ALSO_AS(preadv, preadv64);

INTERPOSE(ssize_t, pwritev, int fd, const iovec* parts, int count,
          off_t offset) {
  Request request;
  if (!IsOurs(fd, &request)) return NEXT(pwritev)(fd, parts, count, offset);
  if (offset < 0) return Return(-EINVAL);
  return Return(TransferAll(request, true, parts, count, offset));
}
ALSO_AS(pwritev, pwritev64);

// Files without read_iter() and write_iter() refuse all flags
// (do_loop_readv_writev()), but for RWF_HIPRI. An offset of -1 is the position.
INTERPOSE(ssize_t, preadv2, int fd, const iovec* parts, int count, off_t offset,
          int flags) {
  Request request;
  if (!IsOurs(fd, &request)) {
    return NEXT(preadv2)(fd, parts, count, offset, flags);
  }
  if (offset < -1) return Return(-EINVAL);
  if ((flags & ~RWF_HIPRI) != 0) return Return(-EOPNOTSUPP);
  return Return(TransferAll(request, false, parts, count, offset));
}
ALSO_AS(preadv2, preadv64v2);

INTERPOSE(ssize_t, pwritev2, int fd, const iovec* parts, int count,
          off_t offset, int flags) {
  Request request;
  if (!IsOurs(fd, &request)) {
    return NEXT(pwritev2)(fd, parts, count, offset, flags);
  }
  if (offset < -1) return Return(-EINVAL);
  if ((flags & ~RWF_HIPRI) != 0) return Return(-EOPNOTSUPP);
  return Return(TransferAll(request, true, parts, count, offset));
}
ALSO_AS(pwritev2, pwritev64v2);

}  // namespace passthru::preload
