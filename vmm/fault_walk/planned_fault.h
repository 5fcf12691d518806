// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_VMM_FAULT_WALK_PLANNED_FAULT_H_
#define PASSTHRU_VMM_FAULT_WALK_PLANNED_FAULT_H_

#include <atomic>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "passthru/testing/host/fake_kernel.h"
#include "passthru/testing/journal/call.h"
#include "passthru/testing/journal/fault_injector.h"
#include "passthru/testing/journal/linux_errnos.h"

namespace passthru::vmm {

// The failure that one run of the fault walk injects. Of the calls that can
// fail on Linux, the one with a given number fails with one of its errnos.
//
// The kernel calls of any thread may fail. Only injected() may be called before
// they have ended.
class PlannedFault {
 public:
  struct Options {
    size_t call = 1;    // the number of the call since Arm(), from 1
    size_t choice = 0;  // which of the call's errnos, from 0
    // Whether all later calls of the same row of the table fail too.
    bool for_good = false;
  };
  explicit PlannedFault(const Options& options) : options_(options) {}

  // Counts the calls from now on until Disarm(), and lets the planned one fail.
  void Arm(fake::FakeKernel& kernel);
  static void Disarm(fake::FakeKernel& kernel) { kernel.faults().Clear(); }

  // Returns whether a call has failed.
  bool injected() const { return injected_; }
  // Return the call that failed and its errno.
  const journal::Call& call() const { return call_; }
  int error() const { return error_; }
  // Returns the number of errnos with which the call can fail.
  size_t choices() const { return row_ == nullptr ? 0 : row_->errnos.size(); }
  // Returns the calls for which testing/journal/linux_errnos.h has no row.
  const std::vector<std::string>& unknown() const { return unknown_; }

  // Returns whether the device works without the call that failed. It is slower
  // then, but loses no interrupt.
  bool IsOptional() const;

  // Returns whether `text` mentions this failure by its errno, the call and
  // `device`.
  bool IsToldBy(std::string_view text, std::string_view device) const;

 private:
  std::optional<journal::Fault> Choose(const journal::Call& call);

  const Options options_;
  // Choose() writes these under the fault injector's mutex.
  size_t seen_ = 0;
  std::atomic<bool> injected_ = false;
  const journal::LinuxErrnos* row_ = nullptr;
  journal::Call call_;
  int error_ = 0;
  std::vector<std::string> unknown_;
};

}  // namespace passthru::vmm

#endif  // PASSTHRU_VMM_FAULT_WALK_PLANNED_FAULT_H_
