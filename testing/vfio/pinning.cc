// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/vfio/pinning.h"

#include <sys/mman.h>

#include <cerrno>
#include <cstdio>
#include <memory>
#include <string>
#include <string_view>

#include "absl/log/log.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "passthru/devices/kernel/errors.h"
#include "passthru/devices/kernel/page_size.h"
#include "passthru/testing/journal/task.h"
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

// Returns whether this line of a task's maps is a BAR, which is mapped without
// any permission, so that each access traps.
bool IsRegisters(pid_t process, std::string_view permissions,
                 std::string_view line) {
  return process != 0 && permissions == "---s" &&
         absl::StrContains(line, " /memfd:");
}

// Checks the process's list of mappings, and returns an errno like
// PinError().
int ErrorOfMappings(uint64_t vaddr, uint64_t size, bool write) {
  struct Closer {
    void operator()(FILE* file) const { fclose(file); }
  };
  const pid_t process = journal::CurrentProcess();
  const std::string path = process == 0
                               ? "/proc/self/maps"
                               : absl::StrCat("/proc/", process, "/maps");
  const std::unique_ptr<FILE, Closer> maps(fopen(path.c_str(), "re"));
  if (maps == nullptr) {
    const int error = errno;
    LOG(ERROR) << kernel::ErrnoError(
                      error,
                      "The simulated IOMMU itself needs a descriptor, to look "
                      "in the process's maps whether memory can be pinned")
                      .message()
               << (error == EMFILE ? ". Allow more with `ulimit -n`." : "");
    return error;
  }
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
    if (first > covered) return EFAULT;
    if (IsRegisters(process, permissions, line)) {
      covered = last;
      continue;
    }
    if (permissions[0] != 'r' || (write && permissions[1] != 'w')) {
      return EFAULT;
    }
    // A mapped page may still have no memory, if the file is too short or a
    // BAR's decoding is off.
    char byte = 0;
    if (!journal::CopyFromUser(&byte, journal::UserPointer(covered), 1)) {
      return EFAULT;
    }
    covered = last;
  }
  return covered >= end ? 0 : EFAULT;
}

}  // namespace

int PinError(uint64_t vaddr, uint64_t size, bool write) {
  // madvise(2) cannot populate the memory of another process.
  if (journal::CurrentTask() == nullptr && size <= kPopulateLimit &&
      KernelHasPopulate()) {
    int result = 0;
    do {
      result = madvise(journal::UserPointer(vaddr), size,
                       write ? kPopulateWrite : kPopulateRead);
    } while (result != 0 && errno == EINTR);
    return result == 0 ? 0 : EFAULT;
  }
  return ErrorOfMappings(vaddr, size, write);
}

}  // namespace passthru::fake
