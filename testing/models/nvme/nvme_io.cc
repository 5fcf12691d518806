// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/models/nvme/nvme_io.h"

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "passthru/pci/little_endian.h"
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
      if (!store_->Flush()) return {kWriteFault};
      ++counters_.flushes;
      return {kSuccess};
    case IoOpcode::kWrite:
    case IoOpcode::kRead:
      if (nsid != 1) return {kInvalidNamespace.Dnr()};
      return {Transfer(context, command, opcode)};
    case IoOpcode::kWriteZeroes:
      if (nsid != 1) return {kInvalidNamespace.Dnr()};
      return {WriteZeroes(command)};
    case IoOpcode::kDatasetManagement:
      if (nsid != 1) return {kInvalidNamespace.Dnr()};
      return {ManageDataset(context, command)};
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
  std::vector<uint8_t> data(bytes);
  if (opcode == IoOpcode::kRead) {
    if (!store_->Read(first, absl::MakeSpan(data))) {
      return kUnrecoveredReadError;
    }
    const Status status =
        WriteToHost(context.host, command, context.page_size, data);
    if (status.ok()) counters_.blocks_read += count;
    return status;
  }
  // The medium changes only after all the data has arrived.
  const Status status = ReadFromHost(context.host, command, context.page_size,
                                     absl::MakeSpan(data));
  if (!status.ok()) return status;
  if (!store_->Write(first, data)) return kWriteFault;
  counters_.blocks_written += count;
  return kSuccess;
}

// Executes Write Zeroes (6.16), whose blocks may always be deallocated.
Status IoCommands::WriteZeroes(const Command& command) {
  const uint64_t first = command.qword(10);
  const uint64_t count = (command.dword(12) & 0xffff) + uint64_t{1};
  if (!store_->Contains(first, count)) return kLbaOutOfRange.Dnr();
  if (!store_->Zero(first, count)) return kWriteFault;
  counters_.blocks_zeroed += count;
  return kSuccess;
}

// Executes Dataset Management (6.7). The other attributes than Deallocate are
// hints, and have no effect here.
Status IoCommands::ManageDataset(const CommandContext& context,
                                 const Command& command) {
  constexpr uint32_t kDeallocate = 1u << 2;
  constexpr size_t kRangeSize = 16;
  const size_t ranges = (command.dword(10) & 0xff) + size_t{1};
  std::vector<uint8_t> list(ranges * kRangeSize);
  const Status status = ReadFromHost(context.host, command, context.page_size,
                                     absl::MakeSpan(list));
  if (!status.ok()) return status;
  const auto count = [&list](size_t range) {
    return pci::LoadLittleEndian<uint32_t>(list, range * kRangeSize + 4);
  };
  const auto first = [&list](size_t range) {
    return pci::LoadLittleEndian<uint64_t>(list, range * kRangeSize + 8);
  };
  for (size_t range = 0; range < ranges; ++range) {
    if (!store_->Contains(first(range), count(range))) {
      return kLbaOutOfRange.Dnr();
    }
  }
  if ((command.dword(11) & kDeallocate) == 0) return kSuccess;
  for (size_t range = 0; range < ranges; ++range) {
    if (!store_->Zero(first(range), count(range))) return kWriteFault;
    counters_.blocks_zeroed += count(range);
  }
  return kSuccess;
}

}  // namespace passthru::models::nvme
