// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_format.h"
#include "absl/types/span.h"
#include "passthru/devices/kernel/status_macros.h"
#include "passthru/pci/little_endian.h"
#include "passthru/testing/guest/drivers/guest_nvme.h"
#include "passthru/testing/models/nvme/nvme_spec.h"

// The part of GuestNvme that uses the I/O queues.

namespace passthru::guest {
namespace {

// Commands in flight on one queue.
constexpr uint16_t kDepth = 4;

// Returns one block of a pattern (splitmix64) that differs between words,
// blocks and seeds.
std::vector<uint8_t> PatternBlock(uint64_t seed, uint64_t block,
                                  uint64_t block_size) {
  std::vector<uint8_t> bytes(block_size);
  for (uint64_t at = 0; at < block_size; at += 8) {
    uint64_t z = seed + (block * block_size + at + 1) * 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    pci::StoreLittleEndian<uint64_t>(absl::MakeSpan(bytes), at, z ^ (z >> 31));
  }
  return bytes;
}

}  // namespace

absl::Status GuestNvme::AllocateBuffers() {
  blocks_per_command_ =
      std::min<uint64_t>(options_.blocks_per_command,
                         report_.max_transfer_bytes / report_.block_size);
  const uint64_t bytes = blocks_per_command_ * report_.block_size;
  const uint64_t pages = (bytes + kPage - 1) / kPage;
  const uint16_t depth = std::min<uint16_t>(
      kDepth, static_cast<uint16_t>(options_.queue_entries - 1));
  for (int i = 0; i < depth * report_.io_queues; ++i) {
    PASSTHRU_ASSIGN_OR_RETURN(uint64_t first,
                              machine_->ram().AllocatePages(pages));
    Buffer buffer;
    // In descending order, so that no two pages are contiguous.
    for (uint64_t page = pages; page > 0; --page) {
      buffer.pages.push_back(first + (page - 1) * kPage);
    }
    if (pages > 2) {
      PASSTHRU_ASSIGN_OR_RETURN(uint64_t list,
                                machine_->ram().AllocatePages(1));
      buffer.list = list;
      for (uint64_t page = 1; page < pages; ++page) {
        machine_->cpu().Store(list + 8 * (page - 1), 8, buffer.pages[page]);
      }
    }
    buffers_.push_back(std::move(buffer));
  }
  return absl::OkStatus();
}

std::vector<GuestNvme::Transfer> GuestNvme::NextWave(uint64_t& first,
                                                     uint64_t& count) const {
  std::vector<Transfer> wave;
  while (count > 0 && wave.size() < buffers_.size()) {
    const uint64_t part = std::min(count, blocks_per_command_);
    wave.push_back({first, part, wave.size()});
    first += part;
    count -= part;
  }
  return wave;
}

models::nvme::Command GuestNvme::TransferCommand(
    models::nvme::IoOpcode opcode, const Transfer& transfer) const {
  const Buffer& buffer = buffers_[transfer.buffer];
  const uint64_t bytes = transfer.count * report_.block_size;
  models::nvme::Command command;
  command.set_opcode(opcode);
  command.set_namespace_id(kNamespace);
  command.set_prp1(buffer.pages[0]);
  if (bytes > 2 * kPage) {
    command.set_prp2(buffer.list);
  } else if (bytes > kPage) {
    command.set_prp2(buffer.pages[1]);
  }
  command.set_qword(10, transfer.first);
  command.set_dword(12, static_cast<uint32_t>(transfer.count - 1));
  return command;
}

absl::Status GuestNvme::RunWave(models::nvme::IoOpcode opcode,
                                absl::Span<const Transfer> transfers) {
  for (size_t i = 0; i < transfers.size(); ++i) {
    NvmeQueuePair& queue = queues_[1 + i % report_.io_queues];
    PASSTHRU_RETURN_IF_ERROR(
        queue.Submit(TransferCommand(opcode, transfers[i])).status());
    ++report_.commands;
  }
  const auto done = [this, &transfers] {
    size_t completed = 0;
    for (size_t id = 1; id < completions_.size(); ++id) {
      completed += completions_[id].size();
    }
    return completed >= transfers.size();
  };
  absl::Status status =
      machine_->interrupts().WaitUntil("read or write commands", done);
  for (size_t id = 1; id < completions_.size(); ++id) {
    for (const models::nvme::Completion& completion : completions_[id]) {
      if (completion.status.ok()) continue;
      status.Update(absl::InternalError(absl::StrFormat(
          "guest nvme: %s: opcode %#x on queue %d failed with status %#x",
          device_->name(), static_cast<int>(opcode), id,
          completion.status.code())));
    }
    completions_[id].clear();
  }
  return status;
}

absl::Status GuestNvme::Flush() {
  models::nvme::Command command;
  command.set_opcode(models::nvme::IoOpcode::kFlush);
  command.set_namespace_id(kNamespace);
  PASSTHRU_RETURN_IF_ERROR(queues_[1].Submit(command).status());
  ++report_.commands;
  PASSTHRU_RETURN_IF_ERROR(machine_->interrupts().WaitUntil(
      "Flush", [this] { return !completions_[1].empty(); }));
  const models::nvme::Completion completion = completions_[1].front();
  completions_[1].clear();
  if (completion.status.ok()) return absl::OkStatus();
  return absl::InternalError(
      absl::StrFormat("guest nvme: %s: Flush failed with status %#x",
                      device_->name(), completion.status.code()));
}

void GuestNvme::FillBuffer(const Transfer& transfer, uint64_t seed) {
  const Buffer& buffer = buffers_[transfer.buffer];
  for (uint64_t i = 0; i < transfer.count; ++i) {
    const uint64_t at = i * report_.block_size;
    machine_->ram().Write(
        buffer.pages[at / kPage] + at % kPage,
        PatternBlock(seed, transfer.first + i, report_.block_size));
  }
}

void GuestNvme::PoisonBuffer(const Transfer& transfer) {
  const std::vector<uint8_t> poison(kPage, 0xa5);
  for (uint64_t page : buffers_[transfer.buffer].pages) {
    machine_->ram().Write(page, poison);
  }
}

absl::Status GuestNvme::VerifyBuffer(const Transfer& transfer, uint64_t seed) {
  const Buffer& buffer = buffers_[transfer.buffer];
  absl::Status status = absl::OkStatus();
  for (uint64_t i = 0; i < transfer.count; ++i) {
    const uint64_t at = i * report_.block_size;
    const std::vector<uint8_t> read = machine_->ram().Read(
        buffer.pages[at / kPage] + at % kPage, report_.block_size);
    if (read == PatternBlock(seed, transfer.first + i, report_.block_size)) {
      ++report_.blocks_verified;
      continue;
    }
    ++report_.blocks_wrong;
    status.Update(absl::DataLossError(
        absl::StrFormat("guest nvme: %s: block %d reads back wrong",
                        device_->name(), transfer.first + i)));
  }
  return status;
}

absl::Status GuestNvme::CheckRange(uint64_t first, uint64_t count) const {
  if (vectors_ == nullptr) {
    return absl::FailedPreconditionError("guest nvme: shut down");
  }
  if (count == 0 || first > report_.blocks || count > report_.blocks - first) {
    return absl::OutOfRangeError(
        absl::StrFormat("guest nvme: %d blocks at %d are outside of %d", count,
                        first, report_.blocks));
  }
  return absl::OkStatus();
}

absl::Status GuestNvme::Read(uint64_t first, uint64_t count) {
  PASSTHRU_RETURN_IF_ERROR(CheckRange(first, count));
  while (count > 0) {
    const std::vector<Transfer> wave = NextWave(first, count);
    PASSTHRU_RETURN_IF_ERROR(RunWave(models::nvme::IoOpcode::kRead, wave));
    for (const Transfer& transfer : wave) {
      report_.blocks_read += transfer.count;
    }
  }
  return absl::OkStatus();
}

absl::Status GuestNvme::WriteAndVerify(uint64_t first, uint64_t count,
                                       uint64_t seed) {
  if (options_.read_only) {
    return absl::FailedPreconditionError("guest nvme: read-only");
  }
  PASSTHRU_RETURN_IF_ERROR(CheckRange(first, count));
  uint64_t next = first;
  for (uint64_t left = count; left > 0;) {
    const std::vector<Transfer> wave = NextWave(next, left);
    for (const Transfer& transfer : wave) FillBuffer(transfer, seed);
    PASSTHRU_RETURN_IF_ERROR(RunWave(models::nvme::IoOpcode::kWrite, wave));
    for (const Transfer& transfer : wave) {
      report_.blocks_written += transfer.count;
    }
  }
  PASSTHRU_RETURN_IF_ERROR(Flush());
  next = first;
  absl::Status status = absl::OkStatus();
  for (uint64_t left = count; left > 0;) {
    const std::vector<Transfer> wave = NextWave(next, left);
    for (const Transfer& transfer : wave) PoisonBuffer(transfer);
    PASSTHRU_RETURN_IF_ERROR(RunWave(models::nvme::IoOpcode::kRead, wave));
    for (const Transfer& transfer : wave) {
      report_.blocks_read += transfer.count;
      status.Update(VerifyBuffer(transfer, seed));
    }
  }
  return status;
}

}  // namespace passthru::guest
