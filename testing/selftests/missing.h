// SPDX-License-Identifier: Apache-2.0
//
// Included before each source of the selftests of Linux 7.2, whose
// vfio_pci_device.c uses calloc_assert() without a definition.
#ifndef PASSTHRU_TESTING_SELFTESTS_MISSING_H_
#define PASSTHRU_TESTING_SELFTESTS_MISSING_H_

#include <stdlib.h>

#define calloc_assert(count, size)                   \
  ({                                                 \
    void* const made = calloc((count), (size));      \
    VFIO_ASSERT_NOT_NULL(made, "No memory is left"); \
    made;                                            \
  })

#endif  // PASSTHRU_TESTING_SELFTESTS_MISSING_H_
