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

// The failures of one device after its setup that no caller receives as a
// status. The guest sees what hardware would show, and the VMM finds the
// failures here and in the process's log. A guest can cause failures at any
// rate, so this keeps only the latest kKept and logs at most one line per
// second.
//
// Thread-safe. Calls nothing that takes a lock while it holds its own.
class FailureLog {
 public:
  static constexpr size_t kKept = 16;

  // `name` is the device's name, with which every line begins.
  explicit FailureLog(std::string name) : name_(std::move(name)) {}
  FailureLog(const FailureLog&) = delete;
  FailureLog& operator=(const FailureLog&) = delete;

  // Records and logs that `what` happened because of the failure `why`. An
  // example of `what` is "BAR 0 is trapped where it could be mapped".
  void Add(std::string_view what, const absl::Status& why);
  // Records a failure without logging it, for a caller that logs it itself.
  void Keep(std::string_view what, const absl::Status& why);

  // Returns how many failures there were, including those no longer kept.
  uint64_t count() const;
  // Returns the latest failures, oldest first, as "<name>: <what>: <why>".
  std::vector<std::string> Recent() const;

 private:
  // Records a failure and returns its line.
  std::string KeepLocked(std::string_view what, const absl::Status& why)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const std::string name_;
  mutable absl::Mutex mutex_;
  uint64_t count_ ABSL_GUARDED_BY(mutex_) = 0;
  std::deque<std::string> recent_ ABSL_GUARDED_BY(mutex_);
  // The earliest time of the next log line, on the monotonic clock.
  std::chrono::steady_clock::time_point next_line_ ABSL_GUARDED_BY(mutex_);
  // How many failures Add() has not logged since the last line.
  uint64_t unlogged_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace passthru::kernel

#endif  // PASSTHRU_DEVICES_KERNEL_FAILURE_LOG_H_
