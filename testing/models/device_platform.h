// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_MODELS_DEVICE_PLATFORM_H_
#define PASSTHRU_TESTING_MODELS_DEVICE_PLATFORM_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "passthru/pci/bar_index.h"

namespace passthru::models {

// The way in which a function may signal, by its current configuration space.
enum class InterruptMode { kIntx, kMsi, kMsix };

// The platform as the hardware behind one PCI function sees it, which is all
// that the function can do upstream of its own registers. The fake VFIO
// implements this for a fixture's device, and a test implements it over flat
// memory.
//
// Contract with the implementation:
// - Models address memory by I/O virtual address. The platform refuses an
//   access as a whole if any byte of it is not mapped, if the mapping lacks the
//   permission, or if COMMAND.BusMaster is clear. A refused read leaves `data`
//   unspecified, and models must not use it.
// - Interrupts are requests. The interrupt state that the host's kernel
//   programmed decides, and not the model, whether one is delivered, masked,
//   pending, or dropped because its capability is off or BusMaster is clear.
// - No method calls back into the model that called it.
//
// Only the model's own calls use this (see DeviceModel), so an implementation
// needs no lock beyond the one that it holds while it calls the model.
class DevicePlatform {
 public:
  virtual ~DevicePlatform() = default;

  DevicePlatform() = default;
  DevicePlatform(const DevicePlatform&) = delete;
  DevicePlatform& operator=(const DevicePlatform&) = delete;

  virtual absl::Status DmaRead(uint64_t iova, absl::Span<uint8_t> data) = 0;
  virtual absl::Status DmaWrite(uint64_t iova,
                                absl::Span<const uint8_t> data) = 0;

  // Signals one message of the MSI-X table, or one of the enabled MSI messages.
  virtual void RaiseMsix(uint16_t vector) = 0;
  virtual void RaiseMsi(uint16_t vector) = 0;

  // Sets the level of the function's INTx pin, before COMMAND.InterruptDisable.
  virtual void SetIntx(bool asserted) = 0;

  // Reads the function's physical configuration space and not VFIO's view of
  // it. `width` is 1, 2 or 4. Reads outside the space return all ones.
  virtual uint32_t ReadConfig(uint16_t offset, unsigned width) = 0;

  // Access the memory behind a part of a BAR that the model does not handle, as
  // the function itself does, whatever its decode. Outside of it, reads return
  // all ones and writes are dropped.
  virtual void ReadBarMemory(pci::BarIndex bar, uint64_t offset,
                             absl::Span<uint8_t> data);
  virtual void WriteBarMemory(pci::BarIndex, uint64_t,
                              absl::Span<const uint8_t>) {}

  // Returns the mechanism that the MSI-X and MSI enable bits select. While
  // either is set the function must not use its pin (PCI Local Bus 3.0, 6.8).
  // Software may not enable both, and this checks MSI-X first.
  InterruptMode ReadInterruptMode();
};

// The platform of a model before set_host(), like an empty slot. It refuses DMA
// and drops interrupts, and its configuration space reads all ones.
class UnconnectedHost final : public DevicePlatform {
 public:
  absl::Status DmaRead(uint64_t iova, absl::Span<uint8_t> data) override;
  absl::Status DmaWrite(uint64_t iova, absl::Span<const uint8_t> data) override;
  void RaiseMsix(uint16_t) override {}
  void RaiseMsi(uint16_t) override {}
  void SetIntx(bool) override {}
  uint32_t ReadConfig(uint16_t, unsigned) override { return 0xffffffff; }
};

}  // namespace passthru::models

#endif  // PASSTHRU_TESTING_MODELS_DEVICE_PLATFORM_H_
