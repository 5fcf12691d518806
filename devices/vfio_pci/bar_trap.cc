// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/vfio_pci/bar_trap.h"

#include <algorithm>
#include <cstdint>

#include "absl/strings/str_format.h"

namespace passthru::vfio_pci {

MsixTableTrap::Piece BarTrap::Find(uint64_t offset, uint64_t size) const {
  if (msix_ != nullptr) return msix_->Find(bar_, offset, size);
  return {.part = MsixTableTrap::Part::kDevice, .size = size, .offset = offset};
}

// Does not log, because the bus does.
void BarTrap::Failed(const char* what, const absl::Status& status) {
  ++failures_;
  failure_log_->Keep(absl::StrFormat("%v %s", bar_, what), status);
}

absl::Status BarTrap::Read(uint64_t offset, absl::Span<uint8_t> data) {
  absl::Status result;
  while (!data.empty()) {
    const MsixTableTrap::Piece piece = Find(offset, data.size());
    const absl::Span<uint8_t> part = data.first(piece.size);
    switch (piece.part) {
      case MsixTableTrap::Part::kTable:
        msix_->ReadTable(piece.offset, part);
        break;
      case MsixTableTrap::Part::kPba:
        msix_->ReadPba(piece.offset, part);
        break;
      case MsixTableTrap::Part::kDevice: {
        ++device_reads_;
        const absl::Status status = regions_->ReadBar(bar_, offset, part);
        if (!status.ok()) {
          Failed("read becomes all ones", status);
          result.Update(status);
        }
        break;
      }
    }
    offset += piece.size;
    data.remove_prefix(piece.size);
  }
  return result;
}

absl::Status BarTrap::Write(uint64_t offset, absl::Span<const uint8_t> data) {
  absl::Status result;
  while (!data.empty()) {
    const MsixTableTrap::Piece piece = Find(offset, data.size());
    const absl::Span<const uint8_t> part = data.first(piece.size);
    switch (piece.part) {
      case MsixTableTrap::Part::kTable:
        msix_->WriteTable(piece.offset, part);
        break;
      case MsixTableTrap::Part::kPba:
        break;  // Read-only to software (PCI 3.0 6.8.2.10).
      case MsixTableTrap::Part::kDevice: {
        ++device_writes_;
        const absl::Status status = regions_->WriteBar(bar_, offset, part);
        if (!status.ok()) {
          Failed("write is dropped", status);
          result.Update(status);
        }
        break;
      }
    }
    offset += piece.size;
    data.remove_prefix(piece.size);
  }
  return result;
}

}  // namespace passthru::vfio_pci
