// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_DEVICES_KERNEL_FAILURE_LOG_H_
#define PASSTHRU_DEVICES_KERNEL_FAILURE_LOG_H_

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"

namespace passthru::kernel {

// What failed of one device after it was set up, where no caller takes a
// status: the guest sees what hardware would show, the VMM finds it here and in
// the process's log. A guest can cause failures as fast as it likes, so only
// the latest are kept, and a line a second is logged.
//
// Thread-safe; takes no other lock.
class FailureLog {
 public:
  static constexpr size_t kKept = 16;

  // `name` begins every line: the device's.
  explicit FailureLog(std::string name) : name_(std::move(name)) {}
  FailureLog(const FailureLog&) = delete;
  FailureLog& operator=(const FailureLog&) = delete;

  // `what` happened, or what became of it, because of `why`, a failure: "BAR 0
  // is trapped where it could be mapped", "ENOMEM".
  void Add(std::string_view what, const absl::Status& why);
  // The same for a failure that somebody else logs.
  void Keep(std::string_view what, const absl::Status& why);

  // All there were.
  uint64_t count() const;
  // The latest, the oldest first: "0000:01:00.0: what: why".
  std::vector<std::string> Recent() const;

 private:
  // The line.
  std::string KeepLocked(std::string_view what, const absl::Status& why)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const std::string name_;
  mutable absl::Mutex mutex_;
  uint64_t count_ ABSL_GUARDED_BY(mutex_) = 0;
  std::deque<std::string> recent_ ABSL_GUARDED_BY(mutex_);
  // When the next line may be logged; the clock that is set by nobody.
  std::chrono::steady_clock::time_point next_line_ ABSL_GUARDED_BY(mutex_);
  uint64_t unlogged_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace passthru::kernel

#endif  // PASSTHRU_DEVICES_KERNEL_FAILURE_LOG_H_
