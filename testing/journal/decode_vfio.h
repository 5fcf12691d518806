// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_JOURNAL_DECODE_VFIO_H_
#define PASSTHRU_TESTING_JOURNAL_DECODE_VFIO_H_

#include "passthru/testing/journal/call.h"

namespace passthru::journal {

// Decode a VFIO ioctl for the journal: its UAPI name and the fields of its
// struct under their UAPI names, as far as `arg` can be read. The numbers of a
// device's ioctls are partly those of a container's. Thread-safe.
Call DescribeVfioIoctl(unsigned long request, const void* arg);
Call DescribeVfioDeviceIoctl(unsigned long request, const void* arg);

}  // namespace passthru::journal

#endif  // PASSTHRU_TESTING_JOURNAL_DECODE_VFIO_H_
