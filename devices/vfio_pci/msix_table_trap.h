// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_DEVICES_VFIO_PCI_MSIX_TABLE_TRAP_H_
#define PASSTHRU_DEVICES_VFIO_PCI_MSIX_TABLE_TRAP_H_

#include <atomic>
#include <cstdint>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/types/span.h"
#include "passthru/devices/interrupts/msix_vector_group.h"
#include "passthru/pci/bar_index.h"
#include "passthru/pci/msix_capability.h"
#include "passthru/pci/msix_pba.h"
#include "passthru/pci/msix_table.h"
#include "passthru/pci/vector_index.h"

namespace passthru::vfio_pci {

// The MSI-X table and pending bits that the guest sees in place of the
// device's. Guest writes go to the vector group and never to the device.
//
// If the guest is shown fewer vectors than the device has, the rest of the
// device's table is emulated too. It reads all ones and ignores writes.
//
// Thread-safe. A write to the table and its effects are one step for other
// writers. A read of the table waits for neither the effects of a write nor the
// kernel.
class MsixTableTrap {
 public:
  // `layout` gives the location of the structures, and the size of the device's
  // table (PlanMsix()). `group` has as many vectors as the guest is shown.
  MsixTableTrap(const pci::MsixCapability& layout,
                interrupts::MsixVectorGroup* group);

  // The part of a BAR that the first bytes of an access fall into, and how many
  // of its bytes do.
  enum class Part : uint8_t { kDevice, kTable, kPba };
  struct Piece {
    Part part = Part::kDevice;
    uint64_t size = 0;
    uint64_t offset = 0;  // within the part, or within the BAR for kDevice
  };
  Piece Find(pci::BarIndex bar, uint64_t offset, uint64_t size) const;

  // Accesses of any width and alignment. Offsets are relative to the structure.
  void ReadTable(uint64_t offset, absl::Span<uint8_t> data);
  void WriteTable(uint64_t offset, absl::Span<const uint8_t> data);
  void ReadPba(uint64_t offset, absl::Span<uint8_t> data);

  // Puts the table into its state after a reset, all zero and all masked.
  void Reset();

  uint64_t reads() const { return reads_; }
  uint64_t writes() const { return writes_; }

 private:
  // Tells the group what the table now has for `vector`.
  void Apply(pci::VectorIndex vector)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(write_mutex_);

  const pci::MsixCapability layout_;
  interrupts::MsixVectorGroup* const group_;
  const pci::MsixPba pba_;

  // Held only to access the bytes.
  absl::Mutex mutex_;
  // Serializes writes and their effects. Acquired before the group's mutex.
  absl::Mutex write_mutex_ ABSL_ACQUIRED_BEFORE(mutex_);
  pci::MsixTable table_ ABSL_GUARDED_BY(mutex_);
  std::atomic<uint64_t> reads_ = 0;
  std::atomic<uint64_t> writes_ = 0;
};

}  // namespace passthru::vfio_pci

#endif  // PASSTHRU_DEVICES_VFIO_PCI_MSIX_TABLE_TRAP_H_
