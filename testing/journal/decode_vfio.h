// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_JOURNAL_DECODE_VFIO_H_
#define PASSTHRU_TESTING_JOURNAL_DECODE_VFIO_H_

#include <string_view>

#include "passthru/testing/journal/call.h"

namespace passthru::journal {

// Decode a VFIO ioctl for the journal. The result has the UAPI names of the
// request and of the fields of its struct, as far as `arg` can be read. A
// device needs a function of its own because VFIO uses some ioctl numbers both
// for devices and for containers. Thread-safe.
Call DescribeVfioIoctl(unsigned long request, const void* arg);
Call DescribeVfioDeviceIoctl(unsigned long request, const void* arg);
// Return only the name, or nothing for a request that has none.
std::string_view NameOfVfioIoctl(unsigned long request);
std::string_view NameOfVfioDeviceIoctl(unsigned long request);

}  // namespace passthru::journal

#endif  // PASSTHRU_TESTING_JOURNAL_DECODE_VFIO_H_
