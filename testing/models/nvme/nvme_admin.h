// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_MODELS_NVME_NVME_ADMIN_H_
#define PASSTHRU_TESTING_MODELS_NVME_NVME_ADMIN_H_

#include <cstdint>
#include <map>
#include <optional>
#include <set>

#include "passthru/testing/models/nvme/nvme_command_outcome.h"
#include "passthru/testing/models/nvme/nvme_identify.h"
#include "passthru/testing/models/nvme/nvme_queue.h"
#include "passthru/testing/models/nvme/nvme_spec.h"

namespace passthru::models::nvme {

// The admin command set (NVMe 1.4, 5), which is Identify, I/O queue management,
// features, log pages, Abort and Asynchronous Event Request. Every other opcode
// is invalid.
//
// Thread-compatible. Does not own the queue table.
class AdminCommands {
 public:
  AdminCommands(Identity identity, uint16_t max_io_queues, QueueTable* queues);

  Outcome Execute(const CommandContext& context, const Command& command);

  // Sets the features to their defaults and drops held requests, as a
  // controller reset does.
  void Reset();

  unsigned parked_event_requests() const { return event_requests_; }

 private:
  Outcome Identify(const CommandContext& context, const Command& command);
  Outcome GetLogPage(const CommandContext& context, const Command& command);
  Outcome SetFeatures(const Command& command);
  Outcome GetFeatures(const Command& command);
  Outcome SetNumberOfQueues(uint32_t requested);
  Outcome InterruptVector(uint32_t selected, std::optional<uint32_t> written);
  Outcome Abort(const Command& command);
  Outcome AsyncEventRequest();

  const Identity identity_;
  const uint16_t max_io_queues_;
  QueueTable* const queues_;
  std::map<uint8_t, uint32_t> features_;
  std::set<uint16_t> uncoalesced_;  // Vectors.
  unsigned event_requests_ = 0;
};

}  // namespace passthru::models::nvme

#endif  // PASSTHRU_TESTING_MODELS_NVME_NVME_ADMIN_H_
