// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_SELFTESTS_SYSFS_ANSWERS_H_
#define PASSTHRU_TESTING_SELFTESTS_SYSFS_ANSWERS_H_

#include <string>
#include <vector>

#include "passthru/testing/selftests/results.h"

namespace passthru::selftests {

// Asks the running kernel what is in sysfs for a function that vfio-pci has:
// which files, with which modes and sizes, what those contain that say
// something of the device, and what writes to them answer. It leaves all as it
// was. Each answer is the `result` of its question, without spaces.
std::vector<Result> AskSysfs(const std::string& bdf);

}  // namespace passthru::selftests

#endif  // PASSTHRU_TESTING_SELFTESTS_SYSFS_ANSWERS_H_
