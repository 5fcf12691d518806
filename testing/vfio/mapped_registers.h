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

// A model's registers as memory, for guests on a real KVM, which reach a mapped
// BAR without an exit. Sync() passes to the model what the guest stored since
// the last call, and then updates the memory with the registers' current
// values.
//
// Memory is less than hardware, because it keeps only the last store. If one
// Sync() finds several stores, it cannot know their order, so it takes the one
// with the highest address first (so that an NVMe controller's queues come
// before its enable bit). It does not notice a store of the value that a
// register already has. Doorbells (DeviceModel::IsDoorbell()) are the
// exception, because they read as all ones between stores. A register is four
// bytes.
//
// While the memory is not reachable (BarMemory::SetReachable()), no function
// may be called. Reset() is the first one afterwards.
//
// Thread-compatible. The memory is shared with every mapping of it.
class MappedRegisters {
 public:
  // `memory` belongs to BAR `bar`. `model` and `memory` must outlive this
  // object.
  static absl::StatusOr<std::unique_ptr<MappedRegisters>> Create(
      models::DeviceModel* model, pci::BarIndex bar, const BarMemory* memory);
  ~MappedRegisters();
  MappedRegisters(const MappedRegisters&) = delete;
  MappedRegisters& operator=(const MappedRegisters&) = delete;

  // Returns whether the guest had stored anything.
  bool Sync();

  // Makes the memory show what the model has changed since Sync(). Keeps the
  // stores that Sync() has not taken.
  void Show();

  // Makes the memory show the registers. Stores that Sync() has not taken are
  // lost.
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
