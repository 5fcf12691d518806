// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_MODELS_DEVICE_PLATFORM_H_
#define PASSTHRU_TESTING_MODELS_DEVICE_PLATFORM_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/types/span.h"

namespace passthru::models {

// How a function may signal, as its configuration space stands now.
enum class InterruptMode { kIntx, kMsi, kMsix };

// The platform as the hardware behind one PCI function sees it: what it can do
// upstream of its own registers. The fake VFIO implements this for a fixture's
// device; a test implements it over flat memory.
//
// Contract with the implementation:
//  - Memory is reached by I/O virtual address. An access is refused, whole,
//    when any byte of it is not mapped, is mapped without the permission, or
//    when COMMAND.BusMaster is clear. A refused read leaves `data` unspecified:
//    models must not use it.
//  - Interrupts are requests: what becomes of one (masked, pending, dropped
//    because its capability is off or BusMaster is clear) is decided by the
//    interrupt state that the host's kernel programmed, not by the model.
//  - Nothing here calls back into the model that called.
//
// Called only by the model's own calls (see DeviceModel), so an implementation
// needs no lock beyond the one it holds while it calls the model.
class DevicePlatform {
 public:
  virtual ~DevicePlatform() = default;

  DevicePlatform() = default;
  DevicePlatform(const DevicePlatform&) = delete;
  DevicePlatform& operator=(const DevicePlatform&) = delete;

  virtual absl::Status DmaRead(uint64_t iova, absl::Span<uint8_t> data) = 0;
  virtual absl::Status DmaWrite(uint64_t iova,
                                absl::Span<const uint8_t> data) = 0;

  // One message of the MSI-X table, or one of the enabled MSI messages.
  virtual void RaiseMsix(uint16_t vector) = 0;
  virtual void RaiseMsi(uint16_t vector) = 0;

  // The level of the function's INTx pin, before COMMAND.InterruptDisable.
  virtual void SetIntx(bool asserted) = 0;

  // Reads the function's physical configuration space, not the view that VFIO
  // gives of it. `width` is 1, 2 or 4; outside the space reads all ones.
  virtual uint32_t ReadConfig(uint16_t offset, unsigned width) = 0;

  // Which mechanism the MSI-X and MSI enable bits select (PCI Local Bus 3.0,
  // 6.8: while either is set the function must not use its pin). MSI-X is
  // looked for first; software may not enable both.
  InterruptMode ReadInterruptMode();
};

// A slot with nothing behind it: DMA is refused, interrupts go nowhere and the
// configuration space reads all ones. What a model has before set_host().
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
