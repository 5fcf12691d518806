// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/models/nvme/nvme_io.h"

#include <algorithm>
#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "passthru/testing/models/nvme/block_store.h"
#include "passthru/testing/models/nvme/nvme_command_outcome.h"
#include "passthru/testing/models/nvme/nvme_prp.h"
#include "passthru/testing/models/nvme/nvme_spec.h"

namespace passthru::models::nvme {

Outcome IoCommands::Execute(const CommandContext& context,
                            const Command& command) {
  // The model does not support fused operations and SGLs.
  if (command.flags() != 0) return {kInvalidField.Dnr()};
  const auto opcode = static_cast<IoOpcode>(command.opcode());
  const uint32_t nsid = command.namespace_id();
  switch (opcode) {
    case IoOpcode::kFlush:
      if (nsid != 1 && nsid != kBroadcastNamespace) {
        return {kInvalidNamespace.Dnr()};
      }
      ++counters_.flushes;
      return {kSuccess};
    case IoOpcode::kWrite:
    case IoOpcode::kRead:
      if (nsid != 1) return {kInvalidNamespace.Dnr()};
      return {Transfer(context, command, opcode)};
  }
  return {kInvalidOpcode.Dnr()};
}

Status IoCommands::Transfer(const CommandContext& context,
                            const Command& command, IoOpcode opcode) {
  const uint64_t first = command.qword(10);
  const uint64_t count = (command.dword(12) & 0xffff) + uint64_t{1};
  const uint64_t bytes = count * BlockStore::kBlockSize;
  if (bytes > max_transfer_) return kInvalidField.Dnr();
  if (!store_->Contains(first, count)) return kLbaOutOfRange.Dnr();
  const absl::Span<uint8_t> blocks = store_->Blocks(first, count);
  if (opcode == IoOpcode::kRead) {
    const Status status =
        WriteToHost(context.host, command, context.page_size, blocks);
    if (status.ok()) counters_.blocks_read += count;
    return status;
  }
  // The medium changes only after all the data has arrived.
  std::vector<uint8_t> data(bytes);
  const Status status = ReadFromHost(context.host, command, context.page_size,
                                     absl::MakeSpan(data));
  if (!status.ok()) return status;
  std::copy(data.begin(), data.end(), blocks.begin());
  counters_.blocks_written += count;
  return kSuccess;
}

}  // namespace passthru::models::nvme
