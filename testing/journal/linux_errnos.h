// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_JOURNAL_LINUX_ERRNOS_H_
#define PASSTHRU_TESTING_JOURNAL_LINUX_ERRNOS_H_

#include <string_view>
#include <vector>

#include "absl/types/span.h"
#include "passthru/testing/journal/call.h"

namespace passthru::journal {

// The errors that Linux may return for a call although the caller made no
// mistake: memory or descriptors ran out, another process was faster, or
// hardware was removed. The table leaves out mistakes (EFAULT, EBADF, most
// cases of EINVAL). The code under test does not make them, or learns of them
// from the fake.
//
// A call has one row for each use of it that fails differently.
struct LinuxErrnos {
  std::string_view call;  // As the journal names it.
  // Returns whether the row is for `call`. Null in a row for all calls that no
  // earlier row took.
  bool (*applies)(const Call& call) = nullptr;
  // Empty if the call cannot fail.
  std::vector<int> errnos;
  // Where in Linux 6.12 the errors come from, or why there are none.
  std::string_view source;
};

absl::Span<const LinuxErrnos> LinuxErrnoTable();

// Returns the row for this call, or null if the table has none.
const LinuxErrnos* FindLinuxErrnos(const Call& call);

}  // namespace passthru::journal

#endif  // PASSTHRU_TESTING_JOURNAL_LINUX_ERRNOS_H_
