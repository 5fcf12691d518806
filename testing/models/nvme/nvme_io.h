// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_MODELS_NVME_NVME_IO_H_
#define PASSTHRU_TESTING_MODELS_NVME_NVME_IO_H_

#include <cstdint>

#include "passthru/testing/models/nvme/block_store.h"
#include "passthru/testing/models/nvme/nvme_command_outcome.h"
#include "passthru/testing/models/nvme/nvme_spec.h"

namespace passthru::models::nvme {

// The NVM command set (NVMe 1.4, 6) over one namespace, with Flush, Write,
// Read, Write Zeroes and Dataset Management, of which Deallocate has an effect.
//
// Thread-compatible. Does not own the store.
class IoCommands {
 public:
  struct Counters {
    uint64_t flushes = 0;
    uint64_t blocks_written = 0;
    uint64_t blocks_read = 0;
    uint64_t blocks_zeroed = 0;  // By Write Zeroes or Deallocate.
  };

  IoCommands(BlockStore* store, uint64_t max_transfer)
      : store_(store), max_transfer_(max_transfer) {}

  Outcome Execute(const CommandContext& context, const Command& command);

  const Counters& counters() const { return counters_; }

 private:
  Status Transfer(const CommandContext& context, const Command& command,
                  IoOpcode opcode);
  Status WriteZeroes(const Command& command);
  Status ManageDataset(const CommandContext& context, const Command& command);

  BlockStore* const store_;
  const uint64_t max_transfer_;
  Counters counters_;
};

}  // namespace passthru::models::nvme

#endif  // PASSTHRU_TESTING_MODELS_NVME_NVME_IO_H_
