// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_VFIO_MAPPED_REGISTERS_H_
#define PASSTHRU_TESTING_VFIO_MAPPED_REGISTERS_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "passthru/pci/bar_index.h"
#include "passthru/testing/models/device_model.h"
#include "passthru/testing/vfio/bar_memory.h"

namespace passthru::fake {

// A model's registers as memory, for guests on a real KVM: these reach a mapped
// BAR without anyone seeing it. Sync() takes what was stored there since the
// last time to the model, and shows in the memory what its registers read now.
//
// Less than hardware, since memory keeps only the last store: an order between
// stores that are found together is not known, and the one with the highest
// address goes first (so an NVMe controller's queues come before its enable
// bit). Storing a value that a register has already is not noticed, except in
// doorbells (DeviceModel::IsDoorbell()), which read all ones meanwhile. A
// register is four bytes.
//
// Thread-compatible; the memory is shared with whoever mapped it.
class MappedRegisters {
 public:
  // `memory` is BAR `bar`'s; both outlive this.
  static absl::StatusOr<std::unique_ptr<MappedRegisters>> Create(
      models::DeviceModel* model, pci::BarIndex bar, const BarMemory* memory);
  ~MappedRegisters();
  MappedRegisters(const MappedRegisters&) = delete;
  MappedRegisters& operator=(const MappedRegisters&) = delete;

  // Whether anything had been stored.
  bool Sync();

  // The memory shows the registers; what was stored and not taken is lost.
  void Reset();

 private:
  struct Register {
    uint64_t offset = 0;
    bool is_doorbell = false;
    uint32_t shown = 0;
  };

  MappedRegisters(models::DeviceModel* model, pci::BarIndex bar,
                  uint8_t* memory, uint64_t size)
      : model_(model), bar_(bar), memory_(memory), size_(size) {}

  bool TakeStore(Register& reg);
  void Show(Register& reg);

  models::DeviceModel* const model_;
  const pci::BarIndex bar_;
  uint8_t* const memory_;
  const uint64_t size_;
  std::vector<Register> registers_;  // From the highest offset down.
};

}  // namespace passthru::fake

#endif  // PASSTHRU_TESTING_VFIO_MAPPED_REGISTERS_H_
