// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_MODELS_EDU_MODEL_H_
#define PASSTHRU_TESTING_MODELS_EDU_MODEL_H_

#include <array>
#include <cstdint>
#include <string_view>

#include "passthru/pci/bar_index.h"
#include "passthru/testing/models/device_model.h"

namespace passthru::models {

// A model of QEMU's educational device, as its docs/specs/edu describes it and
// its hw/misc/edu.c behaves. It has an identification and a liveness register,
// a factorial engine, an interrupt register that software can raise, and a DMA
// engine between system memory and an internal 4 KiB buffer.
//
// All of BAR 0 is registers. Offsets below 0x80 take 4-byte accesses, and the
// others take 4- and 8-byte accesses. A read of another width returns all ones,
// and such a write has no effect. The internal buffer is at 0x40000 in the DMA
// engine's own address space, not in the BAR.
//
// The device signals by MSI message 0 if MSI is enabled, and otherwise by its
// pin.
//
// For a DMA range outside the internal buffer QEMU aborts the machine. This
// model transfers nothing and completes the command, as QEMU does when the
// IOMMU refuses the transfer.
//
// Thread-compatible, as DeviceModel says.
class EduModel final : public DeviceModel {
 public:
  static constexpr uint32_t kIdentification = 0x010000ed;
  static constexpr uint64_t kBufferAddress = 0x40000;
  static constexpr uint64_t kBufferSize = 4096;
  // 28 bits, the default of QEMU's dma_mask property.
  static constexpr uint64_t kDmaMask = (uint64_t{1} << 28) - 1;

  struct Counters {
    uint64_t factorials = 0;
    uint64_t transfers = 0;
    // Commands whose range was outside the buffer or whose DMA was refused.
    uint64_t failed_transfers = 0;
    uint64_t interrupts = 0;
  };

  // `dma_mask` is QEMU's property of that name. It cuts the addresses of DMA.
  explicit EduModel(uint64_t dma_mask = kDmaMask) : dma_mask_(dma_mask) {}

  std::string_view name() const override { return "edu"; }
  bool HandlesBar(pci::BarIndex bar, uint64_t offset) const override;
  bool IsPolled(pci::BarIndex bar, uint64_t offset) const override;
  uint64_t ReadBar(pci::BarIndex bar, uint64_t offset, unsigned width) override;
  void WriteBar(pci::BarIndex bar, uint64_t offset, unsigned width,
                uint64_t value) override;
  // Does one factorial or one transfer.
  bool Step() override;
  void Reset(ResetKind kind) override;

  const Counters& counters() const { return counters_; }

 private:
  struct Dma {
    uint64_t source = 0;
    uint64_t destination = 0;
    uint64_t count = 0;
    uint64_t command = 0;
  };

  uint64_t* DmaRegister(uint64_t offset);
  void WriteDma(uint64_t offset, unsigned width, uint64_t value);
  void RaiseInterrupt(uint32_t bits);
  void LowerInterrupt(uint32_t bits);
  void ComputeFactorial();
  void Transfer();
  bool TransferBytes();

  const uint64_t dma_mask_;
  uint32_t liveness_ = 0;
  uint32_t factorial_ = 0;
  uint32_t status_ = 0;
  uint32_t interrupt_status_ = 0;
  Dma dma_;
  std::array<uint8_t, kBufferSize> buffer_{};
  Counters counters_;
};

}  // namespace passthru::models

#endif  // PASSTHRU_TESTING_MODELS_EDU_MODEL_H_
