// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_GUEST_DRIVERS_NVME_QUEUE_PAIR_H_
#define PASSTHRU_TESTING_GUEST_DRIVERS_NVME_QUEUE_PAIR_H_

#include <cstdint>
#include <functional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "passthru/testing/guest/guest_cpu.h"
#include "passthru/testing/guest/linux/guest_ram.h"
#include "passthru/testing/models/nvme/nvme_spec.h"

namespace passthru::guest {

// The driver's end of one submission queue and its completion queue, each in a
// page of guest RAM. It stands for Linux's struct nvme_queue.
//
// Only the guest's thread may use it. Owns nothing.
class NvmeQueuePair {
 public:
  // One page holds 64 submissions.
  static constexpr uint16_t kMaxEntries = 64;

  // Creates both rings. `entries` is 2 to kMaxEntries. The queue calls
  // `doorbells` for the address of the registers at each use, because the BAR
  // may move.
  static absl::StatusOr<NvmeQueuePair> Create(
      GuestCpu* cpu, GuestRam* ram, uint16_t id, uint16_t entries,
      std::function<uint64_t()> doorbells);

  uint16_t id() const { return id_; }
  uint16_t entries() const { return entries_; }
  uint64_t submission_base() const { return submission_base_; }
  uint64_t completion_base() const { return completion_base_; }
  // Returns how many more commands fit.
  uint16_t room() const {
    return static_cast<uint16_t>(entries_ - 1 - outstanding_);
  }

  // Empties both rings, for a controller that was reset.
  void Reset();

  // Gives the command an unused identifier, appends it to the ring and rings
  // the doorbell. Returns the identifier, or an error if the queue is full.
  absl::StatusOr<uint16_t> Submit(models::nvme::Command command);

  // Takes all new completions (by their phase) in order and tells the
  // controller, like nvme_process_cq(). Drops and counts a completion for no
  // outstanding command.
  std::vector<models::nvme::Completion> Process();

  uint64_t stray_completions() const { return stray_completions_; }

 private:
  NvmeQueuePair() = default;

  GuestCpu* cpu_ = nullptr;
  GuestRam* ram_ = nullptr;
  uint16_t id_ = 0;
  uint16_t entries_ = 0;
  std::function<uint64_t()> doorbells_;
  uint64_t submission_base_ = 0;
  uint64_t completion_base_ = 0;
  uint16_t submission_tail_ = 0;
  uint16_t completion_head_ = 0;
  bool phase_ = true;
  uint16_t outstanding_ = 0;
  // Indexed by command identifier.
  std::vector<bool> in_flight_;
  uint64_t stray_completions_ = 0;
};

}  // namespace passthru::guest

#endif  // PASSTHRU_TESTING_GUEST_DRIVERS_NVME_QUEUE_PAIR_H_
