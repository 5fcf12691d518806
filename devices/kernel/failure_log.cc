// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/kernel/failure_log.h"

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/log/log.h"
#include "absl/strings/str_cat.h"

namespace passthru::kernel {

void FailureLog::Add(std::string_view what, const absl::Status& why) {
  std::string line;
  uint64_t unlogged = 0;
  {
    absl::MutexLock lock(&mutex_);
    line = KeepLocked(what, why);
    const auto now = std::chrono::steady_clock::now();
    if (now < next_line_) {
      ++unlogged_;
      return;
    }
    next_line_ = now + std::chrono::seconds(1);
    unlogged = std::exchange(unlogged_, 0);
  }
  if (unlogged > 0) {
    absl::StrAppend(&line, " (and ", unlogged, " more failures before)");
  }
  LOG(WARNING) << line;
}

void FailureLog::Keep(std::string_view what, const absl::Status& why) {
  absl::MutexLock lock(&mutex_);
  KeepLocked(what, why);
}

std::string FailureLog::KeepLocked(std::string_view what,
                                   const absl::Status& why) {
  ++count_;
  std::string line = absl::StrCat(name_, ": ", what, ": ", why.message());
  recent_.push_back(line);
  if (recent_.size() > kKept) recent_.pop_front();
  return line;
}

uint64_t FailureLog::count() const {
  absl::MutexLock lock(&mutex_);
  return count_;
}

std::vector<std::string> FailureLog::Recent() const {
  absl::MutexLock lock(&mutex_);
  return {recent_.begin(), recent_.end()};
}

}  // namespace passthru::kernel
