// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/vfio_pci/msix_table_trap.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "passthru/pci/msi_message.h"
#include "passthru/pci/vector_index.h"

namespace passthru::vfio_pci {

using interrupts::MsixVectorGroup;

MsixTableTrap::MsixTableTrap(const pci::MsixCapability& layout,
                             interrupts::MsixVectorGroup* group)
    : layout_(layout),
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
    } else if (offset < start) {
      // The access may begin before the structure and reach into it.
      piece.size = std::min(piece.size, start - offset);
    }
  };
  // The PBA comes last, because it may take the place of the last entries of
  // the device's table (PlanMsix()).
  consider(Part::kTable, layout_.table_bar(), layout_.table_offset(),
           layout_.table_bytes());
  consider(Part::kPba, layout_.pba_bar(), layout_.pba_offset(),
           layout_.pba_bytes());
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
  absl::MutexLock write_lock(&write_mutex_);
  pci::MsixTableChange changes;
  {
    absl::MutexLock lock(&mutex_);
    changes = table_.Write(static_cast<uint32_t>(offset), data);
  }
  for (const pci::MsixVectorChange& change : changes) Apply(change.vector);
}

void MsixTableTrap::Apply(pci::VectorIndex vector) {
  pci::MsiMessage message;
  bool masked = true;
  {
    absl::MutexLock lock(&mutex_);
    message = table_.message(vector);
    masked = table_.masked(vector);
  }
  group_->SetVector(vector, message, masked);
}

void MsixTableTrap::ReadPba(uint64_t offset, absl::Span<uint8_t> data) {
  ++reads_;
  while (!data.empty()) {
    // Query all vectors whose bits are read at once, then assemble the bits.
    const auto part = data.first(
        std::min<size_t>(data.size(), MsixVectorGroup::kMaxPending / 8));
    const uint64_t first = offset * 8;
    uint64_t pending = 0;
    if (first < group_->size()) {
      pending = group_->Pending(pci::VectorIndex(static_cast<uint16_t>(first)),
                                static_cast<uint32_t>(part.size() * 8));
    }
    pba_.Read(
        static_cast<uint32_t>(offset), part, [&](pci::VectorIndex vector) {
          return static_cast<uint8_t>(pending >> (vector.value() - first));
        });
    offset += part.size();
    data.remove_prefix(part.size());
  }
}

void MsixTableTrap::Reset() {
  absl::MutexLock write_lock(&write_mutex_);
  {
    absl::MutexLock lock(&mutex_);
    table_.Reset();
  }
  for (uint16_t i = 0; i < group_->size(); ++i) Apply(pci::VectorIndex(i));
}

}  // namespace passthru::vfio_pci
