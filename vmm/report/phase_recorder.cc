// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/report/phase_recorder.h"

#include <utility>

namespace passthru::vmm {

CountsByName ByReason(const ExitCounts& exits) {
  return {{"MMIO read", exits.mmio_reads},
          {"MMIO write", exits.mmio_writes},
          {"port read", exits.io_reads},
          {"port write", exits.io_writes},
          {"memory fault", exits.faults}};
}

PhaseRecorder::PhaseRecorder(journal::CallRecorder* calls, Timeline* timeline,
                             std::function<CountsByName()> exits,
                             RunReport* report)
    : calls_(calls),
      timeline_(timeline),
      exits_(std::move(exits)),
      report_(report) {}

void PhaseRecorder::Begin(std::string_view name) {
  End();
  phase_ = report_->add_phases();
  phase_->set_name(std::string(name));
  if (timeline_ != nullptr) timeline_->BeginPhase(name);
}

void PhaseRecorder::End() {
  const journal::CallRecorder::Counts calls = calls_->Take();
  CountsByName exits = exits_();
  if (phase_ != nullptr) {
    for (const auto& [name, count] : calls) {
      (*phase_->mutable_kernel_calls())[name] = count;
    }
    for (const auto& [name, count] : exits) {
      const uint64_t added = count - exits_before_[name];
      if (added != 0) (*phase_->mutable_exits())[name] = added;
    }
  }
  exits_before_ = std::move(exits);
  phase_ = nullptr;
  if (timeline_ != nullptr) timeline_->EndPhase();
}

}  // namespace passthru::vmm
