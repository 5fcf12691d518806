// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_DEVICES_KERNEL_KEEP_FIRST_H_
#define PASSTHRU_DEVICES_KERNEL_KEEP_FIRST_H_

#include <utility>

#include "absl/log/log.h"
#include "absl/status/status.h"

namespace passthru::kernel {

// Keeps the first failure of several steps that are all taken, whichever fails,
// such as those of a teardown, and logs the later ones.
inline void KeepFirst(absl::Status& first, absl::Status next) {
  if (next.ok()) return;
  if (first.ok()) {
    first = std::move(next);
  } else {
    LOG(ERROR) << next;
  }
}

}  // namespace passthru::kernel

#endif  // PASSTHRU_DEVICES_KERNEL_KEEP_FIRST_H_
