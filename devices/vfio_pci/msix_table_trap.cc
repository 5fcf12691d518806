// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/vfio_pci/msix_table_trap.h"

#include <algorithm>
#include <cstdint>
#include <vector>

#include "passthru/pci/vector_index.h"

namespace passthru::vfio_pci {

MsixTableTrap::MsixTableTrap(const pci::MsixCapability& device,
                             interrupts::MsixVectorGroup* group)
    : device_(device),
      group_(group),
      pba_(group->size()),
      table_(group->size()) {}

MsixTableTrap::Piece MsixTableTrap::Find(pci::BarIndex bar, uint64_t offset,
                                         uint64_t size) const {
  Piece piece = {.part = Part::kDevice, .size = size, .offset = offset};
  const auto consider = [&](Part part, pci::BarIndex at, uint64_t start,
                            uint64_t length) {
    if (at != bar) return;
    if (offset >= start && offset - start < length) {
      piece = {.part = part,
               .size = std::min(size, start + length - offset),
               .offset = offset - start};
    } else if (piece.part == Part::kDevice && offset < start) {
      // The access may begin before the structure and reach into it.
      piece.size = std::min(piece.size, start - offset);
    }
  };
  consider(Part::kPba, device_.pba_bar(), device_.pba_offset(),
           device_.pba_bytes());
  consider(Part::kTable, device_.table_bar(), device_.table_offset(),
           device_.table_bytes());
  return piece;
}

void MsixTableTrap::ReadTable(uint64_t offset, absl::Span<uint8_t> data) {
  ++reads_;
  absl::MutexLock lock(&mutex_);
  table_.Read(static_cast<uint32_t>(offset), data);
}

void MsixTableTrap::WriteTable(uint64_t offset,
                               absl::Span<const uint8_t> data) {
  ++writes_;
  absl::MutexLock lock(&mutex_);
  for (const pci::MsixVectorChange& change :
       table_.Write(static_cast<uint32_t>(offset), data)) {
    group_->SetVector(change.vector, table_.message(change.vector),
                      table_.masked(change.vector));
  }
}

void MsixTableTrap::ReadPba(uint64_t offset, absl::Span<uint8_t> data) {
  ++reads_;
  // Query all vectors whose bits are read at once, then assemble the bits.
  const uint64_t first = offset * 8;
  std::vector<bool> pending;
  if (first < group_->size()) {
    pending = group_->Pending(pci::VectorIndex(static_cast<uint16_t>(first)),
                              static_cast<uint32_t>(data.size() * 8));
  }
  pba_.Read(static_cast<uint32_t>(offset), data, [&](pci::VectorIndex vector) {
    return static_cast<bool>(pending[vector.value() - first]);
  });
}

void MsixTableTrap::Reset() {
  absl::MutexLock lock(&mutex_);
  table_.Reset();
  for (uint16_t i = 0; i < table_.size(); ++i) {
    const pci::VectorIndex vector(i);
    group_->SetVector(vector, table_.message(vector), table_.masked(vector));
  }
}

}  // namespace passthru::vfio_pci
