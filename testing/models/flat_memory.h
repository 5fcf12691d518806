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

// A platform without an IOMMU, a kernel or masks, for unit tests of models:
// memory is one range of I/O virtual addresses, part of which may be made
// read-only, and every interrupt is recorded as it is raised.
//
// Thread-compatible.
class FlatMemory final : public DevicePlatform {
 public:
  FlatMemory(uint64_t base, uint64_t size);

  // Bytes of memory, for the test to fill and to look at. [address, address +
  // size) must lie inside the memory.
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
  // Refuses everything while false, as COMMAND.BusMaster does.
  void set_bus_master(bool enabled) { bus_master_ = enabled; }
  // Lets `count` more accesses through and refuses those after them.
  void FailDmaAfter(int count) { dma_budget_ = count; }

  // Puts one capability into the configuration space, with its enable bit.
  void SetInterruptMode(InterruptMode mode);

  absl::Status DmaRead(uint64_t iova, absl::Span<uint8_t> data) override;
  absl::Status DmaWrite(uint64_t iova, absl::Span<const uint8_t> data) override;
  void RaiseMsix(uint16_t vector) override { msix_.push_back(vector); }
  void RaiseMsi(uint16_t vector) override { msi_.push_back(vector); }
  void SetIntx(bool asserted) override { intx_ = asserted; }
  uint32_t ReadConfig(uint16_t offset, unsigned width) override;

  // Vectors in the order in which they were raised.
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
  int dma_budget_ = -1;  // Negative: unlimited.
  int dma_reads_ = 0;
  int dma_writes_ = 0;
  std::vector<uint8_t> config_;
  std::vector<uint16_t> msix_;
  std::vector<uint16_t> msi_;
  bool intx_ = false;
};

}  // namespace passthru::models

#endif  // PASSTHRU_TESTING_MODELS_FLAT_MEMORY_H_
