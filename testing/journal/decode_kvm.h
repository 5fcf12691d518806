// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_JOURNAL_DECODE_KVM_H_
#define PASSTHRU_TESTING_JOURNAL_DECODE_KVM_H_

#include <string_view>

#include "passthru/testing/journal/call.h"

namespace passthru::journal {

// Decodes a KVM ioctl for the journal. The result has the UAPI names of the
// request and of the fields of its struct, as far as `arg` can be read.
// Thread-safe.
Call DescribeKvmIoctl(unsigned long request, const void* arg);
// Returns only the name, or nothing for a request that has none.
std::string_view NameOfKvmIoctl(unsigned long request);

}  // namespace passthru::journal

#endif  // PASSTHRU_TESTING_JOURNAL_DECODE_KVM_H_
