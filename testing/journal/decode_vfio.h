// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_VFIO_VFIO_CALLS_H_
#define PASSTHRU_TESTING_VFIO_VFIO_CALLS_H_

#include "testing/call.h"

namespace passthru::fake {

// Decode a VFIO ioctl for the journal: its UAPI name and the fields of its
// struct under their UAPI names, as far as `arg` can be read. The numbers of a
// device's ioctls are partly those of a container's. Thread-safe.
Call DescribeVfioIoctl(unsigned long request, const void* arg);
Call DescribeVfioDeviceIoctl(unsigned long request, const void* arg);

}  // namespace passthru::fake

#endif  // PASSTHRU_TESTING_VFIO_VFIO_CALLS_H_
