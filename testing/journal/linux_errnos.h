// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_JOURNAL_LINUX_ERRNOS_H_
#define PASSTHRU_TESTING_JOURNAL_LINUX_ERRNOS_H_

#include <string_view>
#include <vector>

#include "absl/types/span.h"
#include "passthru/testing/journal/call.h"

namespace passthru::journal {

// What a call may fail with on Linux although its user made no mistake: memory
// or descriptors ran out, somebody else was faster, hardware is gone. Mistakes
// (EFAULT, EBADF, most EINVAL) are not among it: code under test does not make
// them, or is told by the fake when it does.
//
// One row for each way in which a call is made that fails differently.
struct LinuxErrnos {
  std::string_view call;  // as the journal names it
  // Which of them; null for all that no earlier row took.
  bool (*applies)(const Call& call) = nullptr;
  // Empty: it cannot fail.
  std::vector<int> errnos;
  // Where in Linux 6.12 they come from, or why there are none.
  std::string_view source;
};

absl::Span<const LinuxErrnos> LinuxErrnoTable();

// The row for this call; null for a call that nobody looked up.
const LinuxErrnos* FindLinuxErrnos(const Call& call);

}  // namespace passthru::journal

#endif  // PASSTHRU_TESTING_JOURNAL_LINUX_ERRNOS_H_
