// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_MODELS_FLAT_MEMORY_H_
#define PASSTHRU_TESTING_MODELS_FLAT_MEMORY_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "passthru/pci/little_endian.h"
#include "passthru/testing/models/device_platform.h"

namespace passthru::models {

// A platform for unit tests of models, without an IOMMU, a kernel or masks. Its
// memory is one range of I/O virtual addresses, of which a test can make a part
// read-only. It records every interrupt that the model raises.
//
// Thread-compatible.
class FlatMemory final : public DevicePlatform {
 public:
  FlatMemory(uint64_t base, uint64_t size);

  // Returns bytes of memory that the test may write and read. [address, address
  // + size) must lie inside the memory.
  absl::Span<uint8_t> Bytes(uint64_t address, uint64_t size);
  template <typename T>
  T Load(uint64_t address) {
    return pci::LoadLittleEndian<T>(Bytes(address, sizeof(T)), 0);
  }
  template <typename T>
  void Store(uint64_t address, T value) {
    pci::StoreLittleEndian<T>(Bytes(address, sizeof(T)), 0, value);
  }

  // Refuses writes by the device to [address, address + size).
  void SetReadOnly(uint64_t address, uint64_t size);
  // Refuses all DMA while false, as COMMAND.BusMaster does.
  void set_bus_master(bool enabled) { bus_master_ = enabled; }
  // Allows `count` more accesses and refuses all later ones.
  void FailDmaAfter(int count) { dma_budget_ = count; }

  // Gives the function's BARs, all of which are the same, `size` zero bytes.
  void SetBarMemory(uint64_t size) { bar_memory_.assign(size, 0); }
  absl::Span<uint8_t> bar_memory() { return absl::MakeSpan(bar_memory_); }

  // Puts one capability with its enable bit into the configuration space.
  void SetInterruptMode(InterruptMode mode);

  absl::Status DmaRead(uint64_t iova, absl::Span<uint8_t> data) override;
  absl::Status DmaWrite(uint64_t iova, absl::Span<const uint8_t> data) override;
  void RaiseMsix(uint16_t vector) override { msix_.push_back(vector); }
  void RaiseMsi(uint16_t vector) override { msi_.push_back(vector); }
  void SetIntx(bool asserted) override { intx_ = asserted; }
  uint32_t ReadConfig(uint16_t offset, unsigned width) override;
  void ReadBarMemory(pci::BarIndex bar, uint64_t offset,
                     absl::Span<uint8_t> data) override;
  void WriteBarMemory(pci::BarIndex bar, uint64_t offset,
                      absl::Span<const uint8_t> data) override;

  // The raised vectors, in order.
  const std::vector<uint16_t>& msix() const { return msix_; }
  const std::vector<uint16_t>& msi() const { return msi_; }
  bool intx() const { return intx_; }
  int dma_reads() const { return dma_reads_; }
  int dma_writes() const { return dma_writes_; }

 private:
  bool Contains(uint64_t address, uint64_t size) const;
  absl::Status CheckDma(uint64_t iova, uint64_t size);

  const uint64_t base_;
  std::vector<uint8_t> memory_;
  uint64_t read_only_begin_ = 0;
  uint64_t read_only_end_ = 0;
  bool bus_master_ = true;
  int dma_budget_ = -1;  // Negative means unlimited.
  int dma_reads_ = 0;
  int dma_writes_ = 0;
  std::vector<uint8_t> config_;
  std::vector<uint8_t> bar_memory_;
  std::vector<uint16_t> msix_;
  std::vector<uint16_t> msi_;
  bool intx_ = false;
};

}  // namespace passthru::models

#endif  // PASSTHRU_TESTING_MODELS_FLAT_MEMORY_H_
