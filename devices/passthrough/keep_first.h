// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_DEVICES_PASSTHROUGH_KEEP_FIRST_H_
#define PASSTHRU_DEVICES_PASSTHROUGH_KEEP_FIRST_H_

#include <utility>

#include "absl/log/log.h"
#include "absl/status/status.h"

namespace passthru::passthrough {

// Keeps the first failure of a teardown that continues after failures, and logs
// the later ones.
inline void KeepFirst(absl::Status& first, absl::Status next) {
  if (next.ok()) return;
  if (first.ok()) {
    first = std::move(next);
  } else {
    LOG(ERROR) << next;
  }
}

}  // namespace passthru::passthrough

#endif  // PASSTHRU_DEVICES_PASSTHROUGH_KEEP_FIRST_H_
