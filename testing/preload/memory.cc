// SPDX-License-Identifier: Apache-2.0
//
// mmap(2) and the calls that change mappings.
#include "testing/preload/memory.h"

#include <fcntl.h>
#include <stdarg.h>
#include <sys/mman.h>

#include "testing/preload/client.h"
#include "testing/preload/lock.h"
#include "testing/preload/raw.h"

namespace passthru::preload {
namespace {

constexpr uint64_t kPage = 4096;

// The mapped registers, so that the handler of SIGSEGV need not ask whose an
// address is. The launcher has the truth. A reader takes no lock, and reads
// again if a range has gone meanwhile, because what takes its place is there
// before.
struct Range {
  uint64_t first = 0;
  uint64_t end = 0;  // 0: unused.
  int protection = 0;
};
constexpr int kRanges = 1024;
Range ranges[kRanges];
int used;          // All ranges from here on are unused.
uint64_t removed;  // How many ranges have gone so far.
int lock;

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
  Say("more than 1024 parts of BARs are mapped, which is too many for the "
      "simulation");
  return false;
}

// Takes the registers of [first, end) away, or with `protection` changes it,
// and keeps those around them. Returns false if there is no room, and then a
// part of the work may be done.
bool Change(uint64_t first, uint64_t end, const int* protection) {
  for (int i = 0; i < used; ++i) {
    const Range old = ranges[i];
    if (old.end == 0 || old.end <= first || old.first >= end) continue;
    if (protection != nullptr && old.protection == *protection) continue;
    const uint64_t from = old.first > first ? old.first : first;
    const uint64_t to = old.end < end ? old.end : end;
    if ((old.first < from && !Insert(old.first, from, old.protection)) ||
        (old.end > to && !Insert(to, old.end, old.protection)) ||
        (protection != nullptr && !Insert(from, to, *protection))) {
      return false;
    }
    __atomic_fetch_add(&removed, 1, __ATOMIC_RELEASE);
    __atomic_store_n(&ranges[i].end, 0, __ATOMIC_RELEASE);
  }
  return true;
}

// Tells the launcher that the program's memory there goes, if it matters.
// Returns 0, or minus the errno with which the call must fail.
//
// It is told before, because afterwards another thread may already have got
// the addresses for something else.
long TellUnmapped(uint64_t address, uint64_t length) {
  const bool registers = IsRegister(address, length);
  if (!registers && !Watches(Reply::kWatchesUnmaps)) return 0;
  Request request;
  request.kind = Kind::kUnmapped;
  request.argument[0] = address;
  request.argument[1] = length;
  const long told = Call(request);
  // Without a launcher there is no rule.
  if (told < 0 && told != -ENXIO) return told;
  if (!registers) return 0;
  const Locked locked(&lock);
  return Change(address, PageEnd(address, length), nullptr) ? 0 : -ENOMEM;
}

// Returns whether munmap(2) refuses the range (do_vmi_munmap()).
bool IsNoRange(uint64_t address, uint64_t length) {
  constexpr uint64_t kTaskSize = (uint64_t{1} << 56) - kPage;
  return address % kPage != 0 || length == 0 || address > kTaskSize ||
         length > kTaskSize - address;
}

long Unmap(uint64_t address, uint64_t length) {
  if (IsNoRange(address, length)) return -EINVAL;
  if (const long error = TellUnmapped(address, length); error < 0) return error;
  const long result =
      Raw(SYS_munmap, static_cast<long>(address), static_cast<long>(length));
  if (IsError(result)) {
    Say("munmap(2) has failed, but for the simulated kernel the memory is "
        "gone");
  }
  return result;
}

// Makes room for a mapping that moves.
long Reserve(size_t length) {
  return Raw(SYS_mmap, 0, static_cast<long>(length), PROT_NONE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
}

// Does what mremap(2) does with memory that may be mapped for DMA.
long Remap(uint64_t old, size_t old_size, size_t size, int flags, void* to) {
  const auto remap = [&](int with, long where) {
    return Raw(SYS_mremap, static_cast<long>(old), static_cast<long>(old_size),
               static_cast<long>(size), with, where);
  };
  // The old mapping stays, or mremap(2) refuses.
  if (old_size == 0 || size == 0 || old % kPage != 0 ||
      (flags & MREMAP_DONTUNMAP) != 0) {
    return remap(flags, AsLong(to));
  }
  if ((flags & MREMAP_FIXED) != 0) {
    if (const long error = TellUnmapped(old, old_size); error < 0) return error;
    const long result = remap(flags, AsLong(to));
    if (!IsError(result)) TellUnmapped(static_cast<uint64_t>(result), size);
    return result;
  }
  const uint64_t end = PageEnd(old, old_size);
  const uint64_t new_end = PageEnd(old, size);
  if (new_end < end && !IsNoRange(new_end, end - new_end)) {
    const long error = TellUnmapped(new_end, end - new_end);
    if (error < 0) return error;
  }
  const long in_place = remap(flags & ~MREMAP_MAYMOVE, 0);
  if (in_place != -ENOMEM || (flags & MREMAP_MAYMOVE) == 0) return in_place;
  // So it moves, to where no other thread gets memory meanwhile.
  const long where = Reserve(size);
  if (IsError(where)) return where;
  long result = TellUnmapped(old, old_size);
  if (result == 0) result = remap(flags | MREMAP_FIXED, where);
  if (IsError(result)) Raw(SYS_munmap, where, static_cast<long>(size));
  return result;
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
  const uint64_t end = PageEnd(first, length);
  const Locked locked(&lock);
  if (!Change(first, end, nullptr)) return -ENOMEM;
  if (traps && !IsError(result) && !Insert(first, end, protection)) {
    return -ENOMEM;
  }
  return result;
}

}  // namespace

bool IsRegister(uint64_t address, size_t size, int* protection) {
  for (;;) {
    const uint64_t before = __atomic_load_n(&removed, __ATOMIC_ACQUIRE);
    const int count = __atomic_load_n(&used, __ATOMIC_ACQUIRE);
    for (int i = 0; i < count; ++i) {
      const uint64_t end = __atomic_load_n(&ranges[i].end, __ATOMIC_ACQUIRE);
      if (end == 0 || address >= end || address + size <= ranges[i].first) {
        continue;
      }
      if (protection != nullptr) *protection = ranges[i].protection;
      return true;
    }
    if (__atomic_load_n(&removed, __ATOMIC_ACQUIRE) == before) return false;
  }
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
  // Nobody else gets what is replaced, so it may be told of afterwards.
  if (!IsError(result) && (flags & MAP_FIXED) != 0) {
    TellUnmapped(static_cast<uint64_t>(result), length);
  }
  return reinterpret_cast<void*>(Return(result));
}
ALSO_AS(mmap, mmap64);

INTERPOSE(int, munmap, void* address, size_t length) {
  return static_cast<int>(
      Return(Unmap(reinterpret_cast<uint64_t>(address), length)));
}

INTERPOSE(void*, mremap, void* old, size_t old_size, size_t size, int flags,
          ...) {
  va_list arguments;
  va_start(arguments, flags);
  void* const to =
      (flags & MREMAP_FIXED) != 0 ? va_arg(arguments, void*) : nullptr;
  va_end(arguments);
  const auto address = reinterpret_cast<uint64_t>(old);
  const bool registers = IsRegister(address, old_size);
  // A BAR does not grow (VM_DONTEXPAND). One that moves is more than the
  // simulation does.
  if (registers && (size > old_size || to != nullptr)) {
    return reinterpret_cast<void*>(Return(-EFAULT));
  }
  if (registers && (flags & MREMAP_DONTUNMAP) != 0) {
    return reinterpret_cast<void*>(Return(-EINVAL));
  }
  const bool matters =
      registers || Watches(Reply::kWatchesUnmaps) ||
      (to != nullptr && __atomic_load_n(&used, __ATOMIC_ACQUIRE) > 0);
  return reinterpret_cast<void*>(
      Return(matters ? Remap(address, old_size, size, flags, to)
                     : Raw(SYS_mremap, AsLong(old), static_cast<long>(old_size),
                           static_cast<long>(size), flags, AsLong(to))));
}

INTERPOSE(int, mprotect, void* address, size_t length, int protection) {
  const auto first = reinterpret_cast<uint64_t>(address);
  if (first % kPage != 0 || !IsRegister(first, length)) {
    return static_cast<int>(Return(Raw(SYS_mprotect, AsLong(address),
                                       static_cast<long>(length), protection)));
  }
  // The registers must go on trapping. What is between them is the program's.
  const uint64_t end = PageEnd(first, length);
  const Locked locked(&lock);
  for (uint64_t at = first; at < end;) {
    uint64_t next = end;
    uint64_t after = end;
    for (int i = 0; i < used; ++i) {
      if (ranges[i].end <= at || ranges[i].first >= next) continue;
      next = ranges[i].first > at ? ranges[i].first : at;
      after = ranges[i].end;
    }
    if (next > at) {
      const long result = Raw(SYS_mprotect, static_cast<long>(at),
                              static_cast<long>(next - at), protection);
      if (IsError(result)) return static_cast<int>(Return(result));
    }
    at = after;
  }
  return Change(first, end, &protection) ? 0
                                         : static_cast<int>(Return(-ENOMEM));
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
