// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_VMM_REGRESSION_CALL_LINES_H_
#define PASSTHRU_VMM_REGRESSION_CALL_LINES_H_

#include <cstddef>
#include <string>
#include <vector>

#include "passthru/testing/journal/journal.h"

namespace passthru::vmm {

// Returns kernel calls and events as lines for a reader who compares two runs.
// Values that differ from run to run (descriptors, host addresses) are left
// out, and so are calls that only wait (KVM_RUN, epoll_wait). Calls with no
// effect that a device or a guest could see (calls on eventfds, reads of
// configuration space) are counted at the end. The other calls are in order.
// Repeated calls, and loops of a few calls, are folded, and a value that
// changes from turn to turn becomes a range or a list. For example:
//
//   8x VFIO_DEVICE_GET_REGION_INFO(device, index=0..7)
//   64x
//     VFIO_DEVICE_SET_IRQS(device, index=2, start=0..63, count=1, flags=0x24)
//     KVM_IRQFD(vm, gsi=24..87, flags=0x0)
//   64 epoll_ctl, 64 eventfd, 3 pread(config)
std::vector<std::string> CallLines(
    const std::vector<journal::JournalEntry>& entries);

// Returns how many of the entries are calls that CallLines() shows or counts.
size_t CallCount(const std::vector<journal::JournalEntry>& entries);

}  // namespace passthru::vmm

#endif  // PASSTHRU_VMM_REGRESSION_CALL_LINES_H_
