// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/vfio/pinning.h"

#include <sys/mman.h>

#include <cerrno>
#include <cstdio>
#include <memory>

#include "passthru/devices/kernel/page_size.h"
#include "passthru/testing/journal/user_memory.h"

namespace passthru::fake {
namespace {

// MADV_POPULATE_* exist since Linux 5.14, and the C library may lack the names.
constexpr int kPopulateRead = 22;
constexpr int kPopulateWrite = 23;

// Pages of a larger range are not made present, because guests' memory is large
// and tests use little of it.
constexpr uint64_t kPopulateLimit = uint64_t{1} << 20;

bool KernelHasPopulate() {
  static const bool kHas = [] {
    const size_t page = kernel::PageSize();
    void* probe = mmap(nullptr, page, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (probe == MAP_FAILED) return false;
    const bool has = madvise(probe, page, kPopulateWrite) == 0;
    munmap(probe, page);
    return has;
  }();
  return kHas;
}

// Checks the process's own list of mappings.
bool CoveredByMappings(uint64_t vaddr, uint64_t size, bool write) {
  struct Closer {
    void operator()(FILE* file) const { fclose(file); }
  };
  const std::unique_ptr<FILE, Closer> maps(fopen("/proc/self/maps", "re"));
  if (maps == nullptr) return false;
  const uint64_t end = vaddr + size;
  uint64_t covered = vaddr;
  char line[1024];
  while (covered < end && fgets(line, sizeof(line), maps.get()) != nullptr) {
    unsigned long long first = 0;
    unsigned long long last = 0;
    char permissions[5] = {};
    if (sscanf(line, "%llx-%llx %4s", &first, &last, permissions) != 3) {
      continue;
    }
    if (last <= covered) continue;
    if (first > covered || permissions[0] != 'r' ||
        (write && permissions[1] != 'w')) {
      return false;
    }
    // A mapped page may still have no memory, if the file is too short or a
    // BAR's decoding is off.
    char byte = 0;
    if (!journal::CopyFromUser(&byte, journal::UserPointer(covered), 1))
      return false;
    covered = last;
  }
  return covered >= end;
}

}  // namespace

bool CanPin(uint64_t vaddr, uint64_t size, bool write) {
  if (size <= kPopulateLimit && KernelHasPopulate()) {
    int result = 0;
    do {
      result = madvise(journal::UserPointer(vaddr), size,
                       write ? kPopulateWrite : kPopulateRead);
    } while (result != 0 && errno == EINTR);
    return result == 0;
  }
  return CoveredByMappings(vaddr, size, write);
}

}  // namespace passthru::fake
