// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_MODELS_NVME_NVME_QUEUE_H_
#define PASSTHRU_TESTING_MODELS_NVME_NVME_QUEUE_H_

#include <cstdint>
#include <map>

#include "passthru/testing/models/nvme/nvme_spec.h"

namespace passthru::models::nvme {

// The controller's end of a submission queue, a ring in host memory (NVMe 1.4,
// 4.1). It is empty when head equals tail, so that `entries - 1` commands fit.
//
// Thread-compatible.
class SubmissionQueue {
 public:
  SubmissionQueue(uint16_t id, uint64_t base, uint32_t entries,
                  uint16_t completion_queue)
      : id_(id),
        completion_queue_(completion_queue),
        base_(base),
        entries_(entries) {}

  uint16_t id() const { return id_; }
  uint16_t completion_queue() const { return completion_queue_; }
  bool empty() const { return head_ == tail_; }
  uint16_t head() const { return static_cast<uint16_t>(head_); }
  uint64_t HeadAddress() const {
    return base_ + uint64_t{head_} * Command::kSize;
  }

  // Handles a write of the doorbell. Returns false and changes nothing for a
  // value that is no entry of the ring (Invalid Doorbell Write Value, 5.2).
  bool SetTail(uint32_t tail);
  void Pop() { head_ = (head_ + 1) % entries_; }

 private:
  uint16_t id_;
  uint16_t completion_queue_;
  uint64_t base_;
  uint32_t entries_;
  uint32_t head_ = 0;
  uint32_t tail_ = 0;
};

// The controller's end of a completion queue.
//
// Thread-compatible.
class CompletionQueue {
 public:
  CompletionQueue(uint16_t id, uint64_t base, uint32_t entries,
                  bool interrupts_enabled, uint16_t vector)
      : id_(id),
        vector_(vector),
        interrupts_enabled_(interrupts_enabled),
        base_(base),
        entries_(entries) {}

  uint16_t id() const { return id_; }
  uint16_t vector() const { return vector_; }
  bool interrupts_enabled() const { return interrupts_enabled_; }
  bool empty() const { return head_ == tail_; }
  bool full() const { return (tail_ + 1) % entries_ == head_; }
  bool phase() const { return phase_; }
  uint64_t TailAddress() const {
    return base_ + uint64_t{tail_} * Completion::kSize;
  }

  // Handles a write of the doorbell. Returns false and changes nothing for a
  // value that is no entry of the ring, or that would consume an entry before
  // the controller has posted it.
  bool SetHead(uint32_t head);
  // Notes that the controller posted one entry. The phase inverts with each
  // pass through the ring.
  void Push();

 private:
  uint16_t id_;
  uint16_t vector_;
  bool interrupts_enabled_;
  uint64_t base_;
  uint32_t entries_;
  uint32_t head_ = 0;
  uint32_t tail_ = 0;
  bool phase_ = true;
};

// The queues that exist, with the rules for creating and deleting I/O queues
// (NVMe 1.4, 5.3 to 5.6). Queue 0 is the admin queue.
//
// Thread-compatible.
class QueueTable {
 public:
  struct Limits {
    uint16_t io_queues = 0;    // Identifiers are 1 to this one.
    uint32_t max_entries = 0;  // CAP.MQES + 1.
    uint16_t vectors = 0;      // Vectors are 0 to one below this.
  };

  explicit QueueTable(Limits limits) : limits_(limits) {}

  uint16_t vectors() const { return limits_.vectors; }

  void Clear();
  void CreateAdminQueues(uint64_t submission_base, uint32_t submission_entries,
                         uint64_t completion_base, uint32_t completion_entries);

  // Execute the four commands for I/O queues. `page_size` is that of CC.MPS.
  // `message_signalled` says whether there are interrupt vectors besides 0.
  Status CreateCompletionQueue(const Command& command, uint64_t page_size,
                               bool message_signalled);
  Status CreateSubmissionQueue(const Command& command, uint64_t page_size);
  Status DeleteCompletionQueue(const Command& command);
  Status DeleteSubmissionQueue(const Command& command);

  // Return null if there is no such queue.
  SubmissionQueue* FindSubmission(uint16_t id);
  CompletionQueue* FindCompletion(uint16_t id);
  const std::map<uint16_t, CompletionQueue>& completion_queues() const {
    return completion_;
  }
  bool has_io_queues() const;

  // Returns a queue that has a command and room for its completion, or null.
  // Takes the first one after `last` in the order of identifiers (round robin,
  // 4.13.1).
  SubmissionQueue* NextWithWork(uint16_t last);

 private:
  bool HasRoom(const SubmissionQueue& queue);
  Status CheckNew(const Command& command, uint64_t page_size) const;

  const Limits limits_;
  std::map<uint16_t, SubmissionQueue> submission_;
  std::map<uint16_t, CompletionQueue> completion_;
};

}  // namespace passthru::models::nvme

#endif  // PASSTHRU_TESTING_MODELS_NVME_NVME_QUEUE_H_
