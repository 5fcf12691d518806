// SPDX-License-Identifier: Apache-2.0
//
// mmap(2) and the calls that change mappings.
#include "testing/preload/memory.h"

#include <fcntl.h>
#include <stdarg.h>
#include <sys/mman.h>

#include "testing/preload/client.h"
#include "testing/preload/raw.h"

namespace passthru::preload {
namespace {

constexpr uint64_t kPage = 4096;

// The mapped registers, so that the handler of SIGSEGV need not ask whose an
// address is. The launcher has the truth. A reader that meets a change sees one
// range too many or too few and asks it.
struct Range {
  uint64_t first = 0;
  uint64_t end = 0;  // 0: unused.
  int protection = 0;
};
constexpr int kRanges = 1024;
Range ranges[kRanges];
int used;  // All ranges from here on are unused.
int lock;

class Locked {
 public:
  Locked() {
    while (__atomic_exchange_n(&lock, 1, __ATOMIC_ACQUIRE) != 0) {
      Raw(SYS_sched_yield);
    }
  }
  ~Locked() { __atomic_store_n(&lock, 0, __ATOMIC_RELEASE); }
  Locked(const Locked&) = delete;
  Locked& operator=(const Locked&) = delete;
};

uint64_t PageEnd(uint64_t address, uint64_t length) {
  return (address + length + kPage - 1) & ~(kPage - 1);
}

bool Insert(uint64_t first, uint64_t end, int protection) {
  for (int i = 0; i < kRanges; ++i) {
    if (ranges[i].end != 0) continue;
    ranges[i].first = first;
    ranges[i].protection = protection;
    __atomic_store_n(&ranges[i].end, end, __ATOMIC_RELEASE);
    if (i >= used) __atomic_store_n(&used, i + 1, __ATOMIC_RELEASE);
    return true;
  }
  return false;
}

// Removes the registers of [first, end), and keeps those around it.
bool Remove(uint64_t first, uint64_t end) {
  bool found = false;
  for (int i = 0; i < used; ++i) {
    const Range old = ranges[i];
    if (old.end == 0 || old.end <= first || old.first >= end) continue;
    found = true;
    __atomic_store_n(&ranges[i].end, 0, __ATOMIC_RELEASE);
    if (old.first < first) Insert(old.first, first, old.protection);
    if (old.end > end) Insert(end, old.end, old.protection);
  }
  return found;
}

// Tells the launcher that the program's memory there is gone, if it matters.
void ToldUnmapped(uint64_t address, uint64_t length) {
  bool registers = false;
  if (__atomic_load_n(&used, __ATOMIC_ACQUIRE) > 0) {
    const Locked locked;
    registers = Remove(address, PageEnd(address, length));
  }
  if (!registers && !Watches(Reply::kWatchesUnmaps)) return;
  Request request;
  request.kind = Kind::kUnmapped;
  request.argument[0] = address;
  request.argument[1] = length;
  Call(request);
}

// Maps a file of the launcher.
long MapOurs(Request& request, long address, size_t length, int protection,
             int flags, off_t offset) {
  // The address comes first, because the launcher's kernel enters it in its
  // list of mappings.
  const bool fixed = (flags & (MAP_FIXED | MAP_FIXED_NOREPLACE)) != 0;
  long at = address;
  if ((flags & MAP_FIXED) == 0) {
    if (length == 0) return -EINVAL;
    at = Raw(SYS_mmap, address, static_cast<long>(length), PROT_NONE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE |
                 (fixed ? MAP_FIXED_NOREPLACE : 0),
             -1, 0);
    if (IsError(at)) return at;
  }
  request.kind = Kind::kMap;
  request.argument[0] = static_cast<uint64_t>(at);
  request.argument[1] = length;
  request.argument[2] =
      static_cast<uint64_t>(protection) << 32 | static_cast<uint32_t>(flags);
  request.argument[3] = static_cast<uint64_t>(offset);
  Reply reply;
  int memory = -1;
  long result = Call(request, &reply, nullptr, &memory);
  if (!IsError(result) && memory < 0) result = -EMFILE;
  if (IsError(result)) {
    if ((flags & MAP_FIXED) == 0) {
      Raw(SYS_munmap, at, static_cast<long>(length));
    }
    return result;
  }
  const bool traps = (reply.flags & Reply::kTraps) != 0;
  const auto first = static_cast<uint64_t>(at);
  result = Raw(SYS_mmap, at, static_cast<long>(length),
               traps ? PROT_NONE : protection, (flags & MAP_TYPE) | MAP_FIXED,
               memory, static_cast<long>(reply.argument[0]));
  Raw(SYS_close, memory);
  const Locked locked;
  Remove(first, PageEnd(first, length));
  if (traps && !IsError(result) &&
      !Insert(first, PageEnd(first, length), protection)) {
    Say("more than 1024 parts of BARs are mapped, which is too many for "
        "the simulation");
    return -ENOMEM;
  }
  return result;
}

}  // namespace

bool IsRegister(uint64_t address, size_t size, int* protection) {
  const int count = __atomic_load_n(&used, __ATOMIC_ACQUIRE);
  for (int i = 0; i < count; ++i) {
    const uint64_t end = __atomic_load_n(&ranges[i].end, __ATOMIC_ACQUIRE);
    if (end == 0 || address >= end || address + size <= ranges[i].first) {
      continue;
    }
    if (protection != nullptr) *protection = ranges[i].protection;
    return true;
  }
  return false;
}

void ForgetMappingLock() { lock = 0; }

INTERPOSE(void*, mmap, void* address, size_t length, int protection, int flags,
          int fd, off_t offset) {
  Request request;
  if ((flags & MAP_ANONYMOUS) == 0 && IsOurs(fd, &request)) {
    return reinterpret_cast<void*>(Return(
        MapOurs(request, AsLong(address), length, protection, flags, offset)));
  }
  const long result = Raw(SYS_mmap, AsLong(address), static_cast<long>(length),
                          protection, flags, fd, offset);
  if (!IsError(result) && (flags & MAP_FIXED) != 0) {
    ToldUnmapped(static_cast<uint64_t>(result), length);
  }
  return reinterpret_cast<void*>(Return(result));
}
ALSO_AS(mmap, mmap64);

INTERPOSE(int, munmap, void* address, size_t length) {
  const long result =
      Raw(SYS_munmap, AsLong(address), static_cast<long>(length));
  if (result == 0) ToldUnmapped(reinterpret_cast<uint64_t>(address), length);
  return static_cast<int>(Return(result));
}

INTERPOSE(void*, mremap, void* old, size_t old_size, size_t size, int flags,
          ...) {
  va_list arguments;
  va_start(arguments, flags);
  void* const to =
      (flags & MREMAP_FIXED) != 0 ? va_arg(arguments, void*) : nullptr;
  va_end(arguments);
  const auto address = reinterpret_cast<uint64_t>(old);
  // A BAR does not grow (VM_DONTEXPAND). One that moves is more than the
  // simulation does.
  if (IsRegister(address, old_size) && (size > old_size || to != nullptr)) {
    return reinterpret_cast<void*>(Return(-EFAULT));
  }
  const long result = Raw(SYS_mremap, AsLong(old), static_cast<long>(old_size),
                          static_cast<long>(size), flags, AsLong(to));
  if (!IsError(result)) {
    if (to != nullptr) ToldUnmapped(static_cast<uint64_t>(result), size);
    if (static_cast<uint64_t>(result) != address) {
      ToldUnmapped(address, old_size);
    } else if (size < old_size) {
      ToldUnmapped(address + size, old_size - size);
    }
  }
  return reinterpret_cast<void*>(Return(result));
}

INTERPOSE(int, mprotect, void* address, size_t length, int protection) {
  const auto first = reinterpret_cast<uint64_t>(address);
  if (!IsRegister(first, length)) {
    return static_cast<int>(Return(Raw(SYS_mprotect, AsLong(address),
                                       static_cast<long>(length), protection)));
  }
  // The registers must go on trapping.
  const uint64_t end = PageEnd(first, length);
  const Locked locked;
  for (int i = 0; i < used; ++i) {
    const Range old = ranges[i];
    if (old.end == 0 || old.end <= first || old.first >= end) continue;
    if (old.protection == protection) continue;
    const uint64_t from = old.first > first ? old.first : first;
    const uint64_t to = old.end < end ? old.end : end;
    Remove(from, to);
    if (!Insert(from, to, protection)) return static_cast<int>(Return(-ENOMEM));
  }
  return 0;
}

INTERPOSE(int, madvise, void* address, size_t length, int advice) {
  // Linux answers so for a mapping without pages (VM_PFNMAP).
  const bool drops =
      advice == MADV_DONTNEED || advice == MADV_FREE || advice == MADV_REMOVE;
  if (drops && IsRegister(reinterpret_cast<uint64_t>(address), length)) {
    return static_cast<int>(Return(-EINVAL));
  }
  return static_cast<int>(Return(
      Raw(SYS_madvise, AsLong(address), static_cast<long>(length), advice)));
}

}  // namespace passthru::preload
