// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_VMM_REPORT_PHASE_RECORDER_H_
#define PASSTHRU_VMM_REPORT_PHASE_RECORDER_H_

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>

#include "passthru/testing/journal/call_recorder.h"
#include "passthru/vmm/report/run_report.pb.h"
#include "passthru/vmm/report/timeline.h"
#include "passthru/vmm/vcpu_runner.h"

namespace passthru::vmm {

using CountsByName = std::map<std::string, uint64_t>;

// Returns the exits by reason, under the names that a report has for them.
CountsByName ByReason(const ExitCounts& exits);

// Divides a run into phases, and adds to its report what each of them cost.
//
// Thread-compatible. The phases of a run may change on several threads, one
// after the other.
class PhaseRecorder {
 public:
  // `exits` returns the exits by reason since the run began. `timeline` may be
  // null. All must outlive this object.
  PhaseRecorder(journal::CallRecorder* calls, Timeline* timeline,
                std::function<CountsByName()> exits, RunReport* report);
  PhaseRecorder(const PhaseRecorder&) = delete;
  PhaseRecorder& operator=(const PhaseRecorder&) = delete;

  // Ends the current phase, if there is one, and begins the phase `name`.
  void Begin(std::string_view name);
  void End();

 private:
  journal::CallRecorder* const calls_;
  Timeline* const timeline_;
  const std::function<CountsByName()> exits_;
  RunReport* const report_;
  Phase* phase_ = nullptr;
  CountsByName exits_before_;
};

}  // namespace passthru::vmm

#endif  // PASSTHRU_VMM_REPORT_PHASE_RECORDER_H_
