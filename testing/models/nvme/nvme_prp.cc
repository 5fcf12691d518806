// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/models/nvme/nvme_prp.h"

#include <algorithm>
#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "passthru/pci/little_endian.h"
#include "passthru/testing/models/device_platform.h"
#include "passthru/testing/models/nvme/nvme_spec.h"

namespace passthru::models::nvme {
namespace {

constexpr uint64_t kEntrySize = 8;

// Follows a PRP list from `list`, which may begin inside its page, and appends
// the pages that hold the remaining `length` bytes.
Status ResolveList(DevicePlatform& host, uint64_t list, uint64_t length,
                   uint64_t page_size, std::vector<Segment>& segments) {
  if (list % kEntrySize != 0) return kPrpOffsetInvalid.Dnr();
  std::vector<uint8_t> entries;
  while (length > 0) {
    const uint64_t slots = (page_size - list % page_size) / kEntrySize;
    const uint64_t pages = (length + page_size - 1) / page_size;
    // Only a full list page whose data goes on has a chain pointer in its last
    // slot. A chained list begins at its page's start, where more than the
    // pointer fits, so the walk makes progress whatever the guest wrote.
    const bool chained = pages > slots;
    const uint64_t count = chained ? slots : pages;
    entries.resize(count * kEntrySize);
    if (!host.DmaRead(list, absl::MakeSpan(entries)).ok()) {
      return kDataTransferError;
    }
    const uint64_t data_entries = chained ? count - 1 : count;
    for (uint64_t i = 0; i < data_entries; ++i) {
      const uint64_t page =
          pci::LoadLittleEndian<uint64_t>(entries, i * kEntrySize);
      if (page == 0 || page % page_size != 0) return kPrpOffsetInvalid.Dnr();
      const uint64_t part = std::min(length, page_size);
      segments.push_back({page, part});
      length -= part;
    }
    if (!chained) break;
    list = pci::LoadLittleEndian<uint64_t>(entries, data_entries * kEntrySize);
    if (list == 0 || list % page_size != 0) return kPrpOffsetInvalid.Dnr();
  }
  return kSuccess;
}

}  // namespace

Status ResolvePrps(DevicePlatform& host, const Command& command,
                   uint64_t length, uint64_t page_size,
                   std::vector<Segment>& segments) {
  segments.clear();
  const uint64_t prp1 = command.prp1();
  // The offset must be dword aligned (4.3).
  if (prp1 % 4 != 0) return kPrpOffsetInvalid.Dnr();
  const uint64_t first = std::min(length, page_size - prp1 % page_size);
  segments.push_back({prp1, first});
  const uint64_t rest = length - first;
  if (rest == 0) return kSuccess;
  const uint64_t prp2 = command.prp2();
  if (rest > page_size) {
    return ResolveList(host, prp2, rest, page_size, segments);
  }
  if (prp2 % page_size != 0) return kPrpOffsetInvalid.Dnr();
  segments.push_back({prp2, rest});
  return kSuccess;
}

Status WriteToHost(DevicePlatform& host, const Command& command,
                   uint64_t page_size, absl::Span<const uint8_t> data) {
  std::vector<Segment> segments;
  Status status = ResolvePrps(host, command, data.size(), page_size, segments);
  if (!status.ok()) return status;
  for (const Segment& segment : segments) {
    if (!host.DmaWrite(segment.address, data.first(segment.length)).ok()) {
      return kDataTransferError;
    }
    data.remove_prefix(segment.length);
  }
  return kSuccess;
}

Status ReadFromHost(DevicePlatform& host, const Command& command,
                    uint64_t page_size, absl::Span<uint8_t> data) {
  std::vector<Segment> segments;
  Status status = ResolvePrps(host, command, data.size(), page_size, segments);
  if (!status.ok()) return status;
  for (const Segment& segment : segments) {
    if (!host.DmaRead(segment.address, data.first(segment.length)).ok()) {
      return kDataTransferError;
    }
    data.remove_prefix(segment.length);
  }
  return kSuccess;
}

}  // namespace passthru::models::nvme
