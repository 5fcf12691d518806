// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/models/nvme/nvme_queue.h"

#include <algorithm>
#include <cstdint>

#include "passthru/testing/models/nvme/nvme_spec.h"

namespace passthru::models::nvme {
namespace {

// Create I/O queue commands (5.3 and 5.4). Dword 10 holds the identifier and
// the zero-based size. Bit 0 of dword 11 is Physically Contiguous.
constexpr uint32_t kPhysicallyContiguous = 1u << 0;
constexpr uint32_t kInterruptsEnabled = 1u << 1;

uint16_t QueueId(const Command& command) {
  return static_cast<uint16_t>(command.dword(10) & 0xffff);
}
uint32_t QueueEntries(const Command& command) {
  return (command.dword(10) >> 16) + 1;
}
uint16_t HighHalf(uint32_t dword) { return static_cast<uint16_t>(dword >> 16); }

}  // namespace

bool SubmissionQueue::SetTail(uint32_t tail) {
  if (tail >= entries_) return false;
  tail_ = tail;
  return true;
}

bool CompletionQueue::SetHead(uint32_t head) {
  if (head >= entries_) return false;
  const uint32_t consumed = (head + entries_ - head_) % entries_;
  const uint32_t posted = (tail_ + entries_ - head_) % entries_;
  if (consumed > posted) return false;
  head_ = head;
  return true;
}

void CompletionQueue::Push() {
  tail_ = (tail_ + 1) % entries_;
  if (tail_ == 0) phase_ = !phase_;
}

void QueueTable::Clear() {
  submission_.clear();
  completion_.clear();
}

void QueueTable::CreateAdminQueues(uint64_t submission_base,
                                   uint32_t submission_entries,
                                   uint64_t completion_base,
                                   uint32_t completion_entries) {
  Clear();
  // The admin completion queue always interrupts, by vector 0 (3.1.10).
  completion_.emplace(0, CompletionQueue(0, completion_base, completion_entries,
                                         /*interrupts_enabled=*/true, 0));
  submission_.emplace(
      0, SubmissionQueue(0, submission_base, submission_entries, 0));
}

Status QueueTable::CheckNew(const Command& command, uint64_t page_size) const {
  const uint16_t id = QueueId(command);
  if (id == 0 || id > limits_.io_queues) return kInvalidQueueIdentifier.Dnr();
  const uint32_t entries = QueueEntries(command);
  if (entries < 2 || entries > limits_.max_entries) {
    return kInvalidQueueSize.Dnr();
  }
  // CAP.CQR is set, so this controller demands physically contiguous queues.
  if ((command.dword(11) & kPhysicallyContiguous) == 0) {
    return kInvalidField.Dnr();
  }
  if (command.prp1() == 0 || command.prp1() % page_size != 0) {
    return kPrpOffsetInvalid.Dnr();
  }
  return kSuccess;
}

Status QueueTable::CreateCompletionQueue(const Command& command,
                                         uint64_t page_size,
                                         bool message_signalled) {
  const uint16_t id = QueueId(command);
  if (FindCompletion(id) != nullptr) return kInvalidQueueIdentifier.Dnr();
  if (Status s = CheckNew(command, page_size); !s.ok()) return s;
  const uint16_t vector = HighHalf(command.dword(11));
  if (vector >= limits_.vectors || (!message_signalled && vector != 0)) {
    return kInvalidInterruptVector.Dnr();
  }
  const bool interrupts = (command.dword(11) & kInterruptsEnabled) != 0;
  completion_.emplace(
      id, CompletionQueue(id, command.prp1(), QueueEntries(command), interrupts,
                          vector));
  return kSuccess;
}

Status QueueTable::CreateSubmissionQueue(const Command& command,
                                         uint64_t page_size) {
  const uint16_t id = QueueId(command);
  if (FindSubmission(id) != nullptr) return kInvalidQueueIdentifier.Dnr();
  const uint16_t completion = HighHalf(command.dword(11));
  if (completion == 0 || FindCompletion(completion) == nullptr) {
    return kCompletionQueueInvalid.Dnr();
  }
  if (Status s = CheckNew(command, page_size); !s.ok()) return s;
  submission_.emplace(id, SubmissionQueue(id, command.prp1(),
                                          QueueEntries(command), completion));
  return kSuccess;
}

Status QueueTable::DeleteCompletionQueue(const Command& command) {
  const uint16_t id = QueueId(command);
  if (id == 0 || FindCompletion(id) == nullptr) {
    return kInvalidQueueIdentifier.Dnr();
  }
  const bool in_use = std::ranges::any_of(submission_, [id](const auto& entry) {
    return entry.second.completion_queue() == id;
  });
  if (in_use) return kInvalidQueueDeletion.Dnr();
  completion_.erase(id);
  return kSuccess;
}

Status QueueTable::DeleteSubmissionQueue(const Command& command) {
  const uint16_t id = QueueId(command);
  if (id == 0 || FindSubmission(id) == nullptr) {
    return kInvalidQueueIdentifier.Dnr();
  }
  submission_.erase(id);
  return kSuccess;
}

SubmissionQueue* QueueTable::FindSubmission(uint16_t id) {
  const auto it = submission_.find(id);
  return it == submission_.end() ? nullptr : &it->second;
}

CompletionQueue* QueueTable::FindCompletion(uint16_t id) {
  const auto it = completion_.find(id);
  return it == completion_.end() ? nullptr : &it->second;
}

bool QueueTable::has_io_queues() const { return completion_.size() > 1; }

bool QueueTable::HasRoom(const SubmissionQueue& queue) {
  const CompletionQueue* completion = FindCompletion(queue.completion_queue());
  return completion != nullptr && !completion->full();
}

SubmissionQueue* QueueTable::NextWithWork(uint16_t last) {
  SubmissionQueue* wrapped = nullptr;
  for (auto& [id, queue] : submission_) {
    if (queue.empty() || !HasRoom(queue)) continue;
    if (id > last) return &queue;
    if (wrapped == nullptr) wrapped = &queue;
  }
  return wrapped;
}

}  // namespace passthru::models::nvme
