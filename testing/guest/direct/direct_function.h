// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_GUEST_DIRECT_DIRECT_FUNCTION_H_
#define PASSTHRU_TESTING_GUEST_DIRECT_DIRECT_FUNCTION_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "passthru/testing/guest/linux/msi_allocator.h"
#include "passthru/testing/models/device_model.h"
#include "passthru/testing/models/device_platform.h"

namespace passthru::guest {

// The hardware of one PCI function in a DirectMachine. It has configuration
// bytes behind write masks, BARs, an MSI-X table with its pending bits, MSI,
// reset and power state.
//
// Thread-compatible.
class DirectFunction final : public models::DevicePlatform {
 public:
  struct Bar {
    int index = 0;
    uint64_t size = 0;  // 0 if the BAR is not implemented.
    bool io = false;
    bool is_64bit = false;
  };
  struct Options {
    // Reset values, 256 or 4096 bytes. The function itself decides which bits
    // of the BAR registers and of the known control registers software can
    // write.
    std::vector<uint8_t> config;
    std::vector<Bar> bars;
  };
  // The platform, which provides RAM for DMA and takes messages.
  struct Platform {
    std::function<absl::Span<uint8_t>(uint64_t address, uint64_t size)> ram;
    std::function<void(const GuestMessage&)> deliver;
  };

  DirectFunction(Options options, Platform platform,
                 models::DeviceModel* model);

  uint32_t ConfigRead(uint16_t offset, unsigned width);
  void ConfigWrite(uint16_t offset, unsigned width, uint32_t value);

  // The BAR and offset of an address in a memory BAR that decodes now.
  struct Hit {
    int bar;
    uint64_t offset;
  };
  std::optional<Hit> FindMemory(uint64_t address) const;
  uint64_t BarRead(const Hit& hit, unsigned width);
  void BarWrite(const Hit& hit, unsigned width, uint64_t value);

  bool Step() { return model_ != nullptr && model_->Step(); }
  // Raises a vector at the test's request, as a device would.
  void Raise(uint16_t vector) { RaiseMsix(vector); }
  int resets() const { return resets_; }
  bool intx() const { return intx_; }

  // DevicePlatform:
  absl::Status DmaRead(uint64_t iova, absl::Span<uint8_t> data) override;
  absl::Status DmaWrite(uint64_t iova, absl::Span<const uint8_t> data) override;
  void RaiseMsix(uint16_t vector) override;
  void RaiseMsi(uint16_t vector) override;
  void SetIntx(bool asserted) override { intx_ = asserted; }
  uint32_t ReadConfig(uint16_t offset, unsigned width) override {
    return ConfigRead(offset, width);
  }

 private:
  uint16_t FindCapability(uint8_t id) const;
  uint16_t Word(uint16_t offset) const;
  uint32_t Dword(uint16_t offset) const;
  void AllowWrites(uint16_t offset, uint32_t mask);
  void InitializeMasks();
  void Reset(models::ResetKind kind);
  void DeliverPending();
  bool InTable(const Hit& hit) const;

  const Options options_;
  const Platform platform_;
  models::DeviceModel* const model_;
  std::vector<uint8_t> config_;
  std::vector<uint8_t> mask_;
  uint16_t msi_ = 0;
  uint16_t msix_ = 0;
  uint16_t express_ = 0;
  uint16_t power_ = 0;
  std::vector<uint8_t> msix_table_;
  std::vector<bool> msix_pending_;
  // The contents of each BAR outside of registers.
  std::vector<std::vector<uint8_t>> memory_;
  bool intx_ = false;
  int resets_ = 0;
};

}  // namespace passthru::guest

#endif  // PASSTHRU_TESTING_GUEST_DIRECT_DIRECT_FUNCTION_H_
