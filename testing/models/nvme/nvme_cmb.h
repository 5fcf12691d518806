// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_MODELS_NVME_NVME_CMB_H_
#define PASSTHRU_TESTING_MODELS_NVME_NVME_CMB_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "passthru/pci/bar_index.h"
#include "passthru/testing/models/device_platform.h"

namespace passthru::models::nvme {

// The registers of a controller memory buffer (NVMe 1.4, 4.7), which may hold
// submission queues, lists and data. The buffer itself is the memory of a BAR.
//
// Thread-compatible.
class ControllerMemory {
 public:
  static constexpr uint64_t kUnit = uint64_t{1} << 20;
  static constexpr pci::BarIndex kBar{2};  // As in QEMU.

  // `bytes` is a multiple of kUnit, or 0 for none.
  explicit ControllerMemory(uint64_t bytes) : bytes_(bytes) {}

  bool exists() const { return bytes_ != 0; }

  // Access a register as a dword.
  uint32_t Read(uint64_t offset) const;
  void Write(uint64_t offset, uint32_t value);
  // Returns to the state at power-on. A controller reset does not do that
  // (3.1.16).
  void Reset() { control_ = 0; }

  // Returns whether the controller takes these addresses for the buffer's.
  bool Contains(uint64_t address, uint64_t size) const;
  uint64_t base() const;

 private:
  bool overflows() const { return base() + bytes_ < base(); }

  const uint64_t bytes_;
  uint64_t control_ = 0;  // CMBMSC.
};

// The platform as the controller's commands see it, in which the addresses of
// the buffer do not leave the function. Does not own its parts.
class CmbPlatform final : public DevicePlatform {
 public:
  CmbPlatform(DevicePlatform& host, const ControllerMemory& memory)
      : host_(host), memory_(memory) {}

  absl::Status DmaRead(uint64_t iova, absl::Span<uint8_t> data) override;
  absl::Status DmaWrite(uint64_t iova, absl::Span<const uint8_t> data) override;
  void RaiseMsix(uint16_t vector) override { host_.RaiseMsix(vector); }
  void RaiseMsi(uint16_t vector) override { host_.RaiseMsi(vector); }
  void SetIntx(bool asserted) override { host_.SetIntx(asserted); }
  uint32_t ReadConfig(uint16_t offset, unsigned width) override {
    return host_.ReadConfig(offset, width);
  }

 private:
  DevicePlatform& host_;
  const ControllerMemory& memory_;
};

}  // namespace passthru::models::nvme

#endif  // PASSTHRU_TESTING_MODELS_NVME_NVME_CMB_H_
