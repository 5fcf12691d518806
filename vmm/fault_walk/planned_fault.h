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

// The one fault of a run of the walker: of the calls that can fail on Linux,
// the nth, in one of the ways that it has.
//
// Calls come from any thread; what is asked but injected() is asked when all is
// over.
class PlannedFault {
 public:
  struct Options {
    size_t call = 1;    // the nth since Arm()
    size_t choice = 0;  // of its errnos
    // Not this call alone fails, but all later ones of its row too.
    bool for_good = false;
  };
  explicit PlannedFault(const Options& options) : options_(options) {}

  // From now on calls are counted; until Disarm().
  void Arm(fake::FakeKernel& kernel);
  static void Disarm(fake::FakeKernel& kernel) { kernel.faults().Clear(); }

  bool injected() const { return injected_; }
  const journal::Call& call() const { return call_; }
  int error() const { return error_; }
  // In how many ways the call can fail.
  size_t choices() const { return row_ == nullptr ? 0 : row_->errnos.size(); }
  // Calls that testing/linux_errnos.h does not have.
  const std::vector<std::string>& unknown() const { return unknown_; }

  // Whether the device can do without what failed: it is slower, but no
  // interrupt is lost.
  bool IsOptional() const;

  // Whether `text` tells of this fault: with the errno, the call, and
  // `device`.
  bool IsToldBy(std::string_view text, std::string_view device) const;

 private:
  std::optional<journal::Fault> Choose(const journal::Call& call);

  const Options options_;
  // Written under the fault injector's mutex.
  size_t seen_ = 0;
  std::atomic<bool> injected_ = false;
  const journal::LinuxErrnos* row_ = nullptr;
  journal::Call call_;
  int error_ = 0;
  std::vector<std::string> unknown_;
};

}  // namespace passthru::vmm

#endif  // PASSTHRU_VMM_FAULT_WALK_PLANNED_FAULT_H_
