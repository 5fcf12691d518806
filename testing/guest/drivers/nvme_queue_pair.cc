// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/guest/drivers/nvme_queue_pair.h"

#include <algorithm>
#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "passthru/devices/kernel/status_macros.h"
#include "passthru/testing/models/nvme/nvme_spec.h"

namespace passthru::guest {
absl::StatusOr<NvmeQueuePair> NvmeQueuePair::Create(
    GuestCpu* cpu, GuestRam* ram, uint16_t id, uint16_t entries,
    std::function<uint64_t()> doorbells) {
  if (entries < 2 || entries > kMaxEntries) {
    return absl::InvalidArgumentError(
        absl::StrCat("guest nvme: queue ", id, " of ", entries, " entries"));
  }
  PASSTHRU_ASSIGN_OR_RETURN(const uint64_t submission, ram->AllocatePages(1));
  PASSTHRU_ASSIGN_OR_RETURN(const uint64_t completion, ram->AllocatePages(1));
  NvmeQueuePair queue;
  queue.cpu_ = cpu;
  queue.ram_ = ram;
  queue.id_ = id;
  queue.entries_ = entries;
  queue.doorbells_ = std::move(doorbells);
  queue.submission_base_ = submission;
  queue.completion_base_ = completion;
  queue.Reset();
  return queue;
}

void NvmeQueuePair::Reset() {
  ram_->Zero(completion_base_, entries_ * models::nvme::Completion::kSize);
  submission_tail_ = 0;
  completion_head_ = 0;
  phase_ = true;
  outstanding_ = 0;
  in_flight_.assign(entries_, false);
}

absl::StatusOr<uint16_t> NvmeQueuePair::Submit(models::nvme::Command command) {
  if (room() == 0) {
    return absl::ResourceExhaustedError(
        absl::StrCat("guest nvme: queue ", id_, " is full"));
  }
  const uint16_t command_id = static_cast<uint16_t>(
      std::ranges::find(in_flight_, false) - in_flight_.begin());
  in_flight_[command_id] = true;
  ++outstanding_;
  command.set_command_id(command_id);
  ram_->Write(
      submission_base_ + submission_tail_ * models::nvme::Command::kSize,
      command.bytes());
  submission_tail_ = static_cast<uint16_t>((submission_tail_ + 1) % entries_);
  cpu_->Store(doorbells_() + 8 * id_, 4, submission_tail_);
  return command_id;
}

std::vector<models::nvme::Completion> NvmeQueuePair::Process() {
  std::vector<models::nvme::Completion> taken;
  const uint16_t head_before = completion_head_;
  // Takes at most a ring's worth at once, because a device that posts without
  // end must not keep the handler forever.
  for (uint16_t i = 0; i < entries_; ++i) {
    const models::nvme::Completion completion =
        models::nvme::Completion::Decode(
            ram_->Read(completion_base_ +
                           completion_head_ * models::nvme::Completion::kSize,
                       models::nvme::Completion::kSize));
    if (completion.phase != phase_) break;
    completion_head_ = static_cast<uint16_t>((completion_head_ + 1) % entries_);
    if (completion_head_ == 0) phase_ = !phase_;
    if (completion.command_id >= entries_ ||
        !in_flight_[completion.command_id]) {
      ++stray_completions_;
      continue;
    }
    in_flight_[completion.command_id] = false;
    --outstanding_;
    taken.push_back(completion);
  }
  if (completion_head_ != head_before) {
    cpu_->Store(doorbells_() + 8 * id_ + 4, 4, completion_head_);
  }
  return taken;
}

}  // namespace passthru::guest
