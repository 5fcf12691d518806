// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_JOURNAL_USER_MEMORY_H_
#define PASSTHRU_TESTING_JOURNAL_USER_MEMORY_H_

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <type_traits>

namespace passthru::journal {

// Access the memory of the current task (task.h) at any address, which is this
// process's own without one, like the kernel's
// copy_from_user() and copy_to_user(). They return false where the kernel would
// answer EFAULT: the range is unmapped, not permitted, or beyond the end of the
// file behind the mapping (where a plain load raises SIGBUS). Part of a refused
// range may have been copied. Thread-safe.
bool CopyFromUser(void* destination, const void* user, size_t size);
bool CopyToUser(void* user, const void* source, size_t size);
// Do the same with the memory of a process, or of this one if it is 0.
bool CopyFromProcess(pid_t process, void* destination, const void* user,
                     size_t size);
bool CopyToProcess(pid_t process, void* user, const void* source, size_t size);

// Returns the struct that an ioctl's argument points to, or nullopt for EFAULT.
template <typename T>
std::optional<T> CopyFromUser(const void* user) {
  static_assert(std::is_trivially_copyable_v<T>);
  T value{};
  if (!CopyFromUser(&value, user, sizeof(value))) return std::nullopt;
  return value;
}

template <typename T>
bool CopyToUser(void* user, const T& value) {
  static_assert(std::is_trivially_copyable_v<T>);
  return CopyToUser(user, &value, sizeof(value));
}

// Converts an address that the UAPI carries as an integer in a struct.
inline void* UserPointer(uint64_t address) {
  // NOLINTNEXTLINE(performance-no-int-to-ptr): the UAPI carries it so.
  return reinterpret_cast<void*>(address);
}

}  // namespace passthru::journal

#endif  // PASSTHRU_TESTING_JOURNAL_USER_MEMORY_H_
