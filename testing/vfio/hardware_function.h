// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_VFIO_HARDWARE_FUNCTION_H_
#define PASSTHRU_TESTING_VFIO_HARDWARE_FUNCTION_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "passthru/pci/bar_index.h"
#include "passthru/testing/fixture/device.pb.h"
#include "passthru/testing/fixture/fixture_bytes.h"
#include "passthru/testing/models/device_model.h"
#include "passthru/testing/vfio/bar_memory.h"
#include "passthru/testing/vfio/mapped_registers.h"

namespace passthru::fake {

// The hardware of one PCI function: its configuration registers, the memory of
// its BARs, its MSI-X mask and pending bits, its power state and its reset. A
// write changes a register as the fixture measured it. The class knows nothing
// of VFIO. The host's kernel accesses the function through the same registers
// as on a bus.
//
// The model, if there is one, handles accesses to its part of the BARs. The
// rest is memory.
//
// Guarded by the fake kernel's mutex (Thread-compatible).
class HardwareFunction {
 public:
  // `device` must have passed Validate(). `model` may be null.
  // `mapped_registers` tells whether processors reach mapped BARs directly (see
  // MappedRegisters).
  static absl::StatusOr<std::unique_ptr<HardwareFunction>> Create(
      const fixture::PciDevice& device,
      std::unique_ptr<models::DeviceModel> model, bool mapped_registers);
  HardwareFunction(const HardwareFunction&) = delete;
  HardwareFunction& operator=(const HardwareFunction&) = delete;

  // Access the physical configuration space. `width` is 1, 2 or 4. Bytes
  // outside read as all ones and drop writes.
  size_t config_size() const { return config_.size(); }
  uint32_t ReadConfig(uint16_t offset, unsigned width) const;
  void WriteConfig(uint16_t offset, unsigned width, uint32_t value);

  // Offsets of the capabilities that the simulation acts on.
  struct Capabilities {
    std::optional<uint8_t> power_management;
    std::optional<uint8_t> vpd;
    std::optional<uint8_t> msi;
    std::optional<uint8_t> express;
    std::optional<uint8_t> msix;
    std::optional<uint8_t> advanced_features;
  };
  const Capabilities& capabilities() const { return capabilities_; }

  bool bus_master() const;
  bool memory_enabled() const;  // COMMAND.MEM (unless a VF) and D0.
  bool intx_disabled() const;   // COMMAND.InterruptDisable.
  // Returns whether software can set COMMAND.InterruptDisable (PCI 2.3).
  bool can_disable_intx() const { return can_disable_intx_; }
  bool msi_enabled() const;
  bool msix_enabled() const;  // Enabled, and not masked as a whole.

  // Returns 0 to 3 for D0 to D3hot.
  unsigned power_state() const;
  // Writes the power state field. D3hot to D0 resets the function unless
  // No_Soft_Reset is set (PCI PM 1.2, 5.4.1).
  void SetPowerState(unsigned state);
  // Returns whether going from D3hot to D0 resets the function.
  bool soft_resets() const;
  // Goes to D0 and restores the BARs if a soft reset cleared them, as
  // pci_set_power_state() does.
  void ReturnToD0();

  // Makes the function stop answering at its next reset, as a device does whose
  // firmware does not come up again.
  void DieAtNextReset() { dies_at_reset_ = true; }

  // Resets configuration and memory to their state at power-on, with decoding,
  // bus mastering and interrupts off. Registers that belong to no structure
  // keep their value, as those of QEMU's devices do.
  void Reset(models::ResetKind kind);
  // Save the state, and restore from it the standard header and the control
  // registers of MSI, MSI-X, PCI Express and error reporting, like
  // pci_save_state() and pci_restore_state().
  std::vector<uint8_t> SaveState() const { return config_; }
  void RestoreState(absl::Span<const uint8_t> saved);

  // Returns the size of a BAR by number, or 0 if there is none.
  uint64_t bar_size(unsigned bar) const;
  bool bar_is_io(unsigned bar) const;
  // Returns the BAR register as the host assigned it (see AssignedBars()).
  uint32_t assigned_bar(unsigned bar) const { return assigned_bars_[bar]; }
  BarMemory* bar_memory(unsigned bar) { return bars_[bar].get(); }
  // Carry out one access of 1, 2, 4 or 8 bytes, by the model or in memory.
  void ReadBar(unsigned bar, uint64_t offset, absl::Span<uint8_t> data);
  void WriteBar(unsigned bar, uint64_t offset, absl::Span<const uint8_t> data);
  bool ModelHandles(unsigned bar, uint64_t offset) const;

  // The level of the interrupt pin, which STATUS shows.
  void SetIntxLevel(bool asserted);
  bool intx_level() const { return intx_level_; }

  // MSI's optional mask and pending bits (PCI 3.0, 6.8.1.7-8). They are
  // registers of the capability. When software clears a mask bit, the function
  // sends the pending message.
  bool has_msi_mask_bits() const;
  bool msi_masked(uint16_t vector) const;
  void SetMsiMasked(uint16_t vector, bool masked);
  void SetMsiPending(uint16_t vector);
  void set_on_msi_unmasked(std::function<void(uint16_t)> send) {
    on_msi_unmasked_ = std::move(send);
  }

  // The device's own side of MSI-X (PCI 3.0, 6.8.2.9-10).
  uint16_t msix_vectors() const {
    return static_cast<uint16_t>(msix_masked_.size());
  }
  // Returns whether the BAR exists in which the capability says the table is.
  bool msix_table_has_bar() const;
  bool msix_masked(uint16_t vector) const { return msix_masked_[vector]; }
  // Returns whether unmasking releases a pending message, which the caller
  // sends.
  bool SetMsixMasked(uint16_t vector, bool masked);
  void SetMsixPending(uint16_t vector, bool pending);
  bool msix_pending(uint16_t vector) const { return msix_pending_[vector]; }

  // Sets whether the mapped registers, and the rest of their BARs, are where
  // processors reach them. Where they are not, an access raises SIGBUS.
  void SetBarsReachable(bool reachable);

  models::DeviceModel* model() { return model_.get(); }
  bool Step();

 private:
  static constexpr unsigned kBars = 6;

  HardwareFunction(const fixture::PciDevice& device,
                   std::unique_ptr<models::DeviceModel> model);

  absl::Status CreateBars();
  absl::Status CreateMappedRegisters();
  void FillBars();
  void FillMsixTable();
  void FillUnknownMasks();
  void SetMaskDefault(size_t offset, uint32_t writable, unsigned width,
                      uint32_t write_one_to_clear = 0);
  bool DecodesBar(unsigned bar) const;
  absl::Span<const std::unique_ptr<MappedRegisters>> ReachableRegisters() const;
  uint16_t msi_mask_offset() const;
  // Sends the messages that are pending and not masked.
  void SendPendingMsi();

  const fixture::PciDevice device_;
  fixture::ConfigImage image_;  // Masks, and the bytes at power-on.
  fixture::BarRegisters assigned_bars_;
  std::vector<uint8_t> config_;
  std::vector<bool> undefined_;  // The bytes that belong to no structure.
  Capabilities capabilities_;
  bool dies_at_reset_ = false;
  bool dead_ = false;
  bool can_disable_intx_ = false;
  bool intx_level_ = false;
  std::array<std::unique_ptr<BarMemory>, kBars> bars_;
  std::function<void(uint16_t)> on_msi_unmasked_;
  std::vector<bool> msix_masked_;
  std::vector<bool> msix_pending_;
  std::unique_ptr<models::DeviceModel> model_;
  std::vector<std::unique_ptr<MappedRegisters>> mapped_registers_;
  bool bars_reachable_ = true;
};

}  // namespace passthru::fake

#endif  // PASSTHRU_TESTING_VFIO_HARDWARE_FUNCTION_H_
