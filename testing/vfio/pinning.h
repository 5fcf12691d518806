// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_VFIO_PINNING_H_
#define PASSTHRU_TESTING_VFIO_PINNING_H_

#include <cstdint>

namespace passthru::fake {

// Returns 0 if pin_user_pages() would succeed on this range of the current task
// (testing/journal/task.h), which is this process without one, with FOLL_WRITE
// if `write`, and EFAULT if it would not. Every page must be mapped and
// readable, and writable if `write`. The range must be page aligned and is
// otherwise arbitrary. The function makes the pages of a small range present,
// as pinning does, and changes nothing else.
//
// For a large range it reads the process's list of mappings. If that fails,
// which is a want of the simulation and not of the program under test, the
// function logs it and returns the errno, such as EMFILE. Thread-safe.
int PinError(uint64_t vaddr, uint64_t size, bool write);

}  // namespace passthru::fake

#endif  // PASSTHRU_TESTING_VFIO_PINNING_H_
