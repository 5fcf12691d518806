// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_FAKE_KVM_CALLS_H_
#define PASSTHRU_TESTING_FAKE_KVM_CALLS_H_

#include "testing/call.h"

namespace passthru::fake {

// Decodes a KVM ioctl for the journal: its UAPI name and the fields of its
// struct under their UAPI names, as far as `arg` can be read. Thread-safe.
Call DescribeKvmIoctl(unsigned long request, const void* arg);

}  // namespace passthru::fake

#endif  // PASSTHRU_TESTING_FAKE_KVM_CALLS_H_
