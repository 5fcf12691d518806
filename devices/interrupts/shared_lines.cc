// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/interrupts/shared_lines.h"

#include <memory>

namespace passthru::interrupts {

class SharedLines::Line final : public InterruptLine {
 public:
  Line(SharedLines* lines, allocator::Gsi gsi) : lines_(lines), gsi_(gsi) {}
  ~Line() override { Set(false).IgnoreError(); }

  absl::Status Set(bool asserted) override {
    absl::MutexLock lock(&mutex_);
    if (asserted == asserted_) return absl::OkStatus();
    asserted_ = asserted;
    return asserted ? lines_->Assert(gsi_) : lines_->Deassert(gsi_);
  }

 private:
  SharedLines* const lines_;
  const allocator::Gsi gsi_;
  absl::Mutex mutex_;
  bool asserted_ ABSL_GUARDED_BY(mutex_) = false;
};

std::unique_ptr<InterruptLine> SharedLines::Connect(allocator::Gsi gsi) {
  return std::make_unique<Line>(this, gsi);
}

absl::Status SharedLines::Assert(allocator::Gsi gsi) {
  absl::MutexLock lock(&mutex_);
  if (++asserted_[gsi] > 1) return absl::OkStatus();
  return controller_->SetLine(gsi, true);
}

absl::Status SharedLines::Deassert(allocator::Gsi gsi) {
  absl::MutexLock lock(&mutex_);
  if (--asserted_[gsi] > 0) return absl::OkStatus();
  return controller_->SetLine(gsi, false);
}

}  // namespace passthru::interrupts
