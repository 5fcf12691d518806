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

namespace passthru::vfio_pci {

// The MSI-X table and pending bits that the guest sees in place of the
// device's: what it writes goes to the vector group, never to the device.
//
// Where the guest is shown fewer vectors than the device has, the rest of the
// device's table is emulated too: it reads all ones and cannot be written.
//
// Thread-safe. Its mutex makes a write of the table and what follows from it
// one step; it is taken before the group's.
class MsixTableTrap {
 public:
  // `device` is where the structures are; `group` has as many vectors as are
  // shown.
  MsixTableTrap(const pci::MsixCapability& device,
                interrupts::MsixVectorGroup* group);

  // What the first bytes of an access at `offset` of `bar` fall into, and how
  // many of its `size` bytes do.
  enum class Part : uint8_t { kDevice, kTable, kPba };
  struct Piece {
    Part part = Part::kDevice;
    uint64_t size = 0;
    uint64_t offset = 0;  // within the part; within the BAR for kDevice
  };
  Piece Find(pci::BarIndex bar, uint64_t offset, uint64_t size) const;

  // Any width and alignment; offsets are relative to the structure.
  void ReadTable(uint64_t offset, absl::Span<uint8_t> data);
  void WriteTable(uint64_t offset, absl::Span<const uint8_t> data);
  void ReadPba(uint64_t offset, absl::Span<uint8_t> data);

  // As after a reset: all masked, all zero.
  void Reset();

  uint64_t reads() const { return reads_; }
  uint64_t writes() const { return writes_; }

 private:
  const pci::MsixCapability device_;
  interrupts::MsixVectorGroup* const group_;
  const pci::MsixPba pba_;

  absl::Mutex mutex_;
  pci::MsixTable table_ ABSL_GUARDED_BY(mutex_);
  std::atomic<uint64_t> reads_ = 0;
  std::atomic<uint64_t> writes_ = 0;
};

}  // namespace passthru::vfio_pci

#endif  // PASSTHRU_DEVICES_VFIO_PCI_MSIX_TABLE_TRAP_H_
