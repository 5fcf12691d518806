// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_KERNEL_LEAK_CHECK_H_
#define PASSTHRU_TESTING_KERNEL_LEAK_CHECK_H_

#include <ostream>
#include <string>
#include <vector>

namespace passthru::fake {

// The objects that user space holds in the fake kernel at one moment, as one
// line each: descriptors, mappings, memory slots, irqfds, ioeventfds, MSI
// routes, VFIO objects, DMA mappings.
using ResourceSnapshot = std::vector<std::string>;

// The objects that user space holds now and did not hold before.
struct LeakReport {
  std::vector<std::string> leaks;

  bool empty() const { return leaks.empty(); }
  std::string ToString() const;
};

std::ostream& operator<<(std::ostream& out, const LeakReport& report);

// Returns the lines of `now` that are not in `before`. A line that occurs more
// often than before counts once for each extra time.
LeakReport FindLeaks(ResourceSnapshot before, ResourceSnapshot now);

}  // namespace passthru::fake

#endif  // PASSTHRU_TESTING_KERNEL_LEAK_CHECK_H_
