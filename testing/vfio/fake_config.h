// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_VFIO_FAKE_CONFIG_H_
#define PASSTHRU_TESTING_VFIO_FAKE_CONFIG_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "absl/types/span.h"
#include "passthru/devices/kernel/syscalls.h"
#include "passthru/testing/vfio/config_permissions.h"
#include "passthru/testing/vfio/hardware_function.h"
#include "passthru/testing/vfio/vfio_irqs.h"

namespace passthru::fake {

// The configuration space of an open device as user space accesses it through
// VFIO, which is drivers/vfio/pci/vfio_pci_config.c over the hardware's
// registers. Some bits are the kernel's own copy, some are the hardware's and
// some are read-only. See config_permissions.h.
//
// Guarded by the fake kernel's mutex (Thread-compatible).
class FakeConfig {
 public:
  struct Options {
    HardwareFunction* hardware = nullptr;
    VfioIrqs* irqs = nullptr;
    ConfigLayoutOptions layout;
    // The sizes of BARs 0 to 5 and the ROM. 0 if the host assigned no address,
    // so that the user sees no BAR.
    std::array<uint64_t, 7> bar_sizes = {};
    // The hardware's registers 0x10 to 0x24.
    std::array<uint32_t, 6> bar_types = {};
    std::vector<uint8_t> vpd;
    // Does the function-level reset that a write to a capability requests.
    std::function<void()> reset_function;
    // Whether a guest reads back what it wrote to Multiple Message Capable, as
    // on Linux. vfio_msi_config_read() is meant to refresh those bits on each
    // read, but changes another word than the control word. If false, this
    // class does what that function means to do.
    bool msi_control_reads_back = true;
  };

  explicit FakeConfig(Options options);
  FakeConfig(const FakeConfig&) = delete;
  FakeConfig& operator=(const FakeConfig&) = delete;

  size_t size() const { return layout_.bytes.size(); }

  // Carry out pread(2) and pwrite(2) of the region. EFAULT unless all bytes are
  // inside.
  kernel::SyscallResult<size_t> Read(uint64_t offset, absl::Span<uint8_t> data);
  kernel::SyscallResult<size_t> Write(uint64_t offset,
                                      absl::Span<const uint8_t> data);

  // Returns whether the memory BARs can be reached. The user must have set
  // COMMAND.MEM, except for a virtual function, and the power state must be D0
  // to D2.
  bool memory_enabled() const;
  // Returns the interrupt pin that the user sees.
  uint8_t interrupt_pin() const;

  // Changes the power state like vfio_pci_set_power_state(). On the way out of
  // D3hot, the state that the function had on its way in comes back, if it
  // loses it there. What the user wrote meanwhile is lost.
  void SetPowerState(unsigned state);

 private:
  // A part of an access that is 1, 2 or 4 bytes long, aligned, and in one
  // structure.
  struct Piece {
    uint16_t position = 0;
    unsigned width = 1;
    uint16_t offset = 0;  // In the structure.
    const ConfigByte* byte = nullptr;
  };
  Piece NextPiece(uint64_t offset, size_t remaining) const;

  uint32_t ReadPiece(const Piece& piece);
  void WritePiece(const Piece& piece, uint32_t value);

  // Apply the rules of ConfigByteAccess.
  uint32_t ReadDirect(const Piece& piece) const;
  uint32_t ReadMasked(const Piece& piece) const;
  void WriteMasked(const Piece& piece, uint32_t value);

  // Handle the structures whose registers have behaviour.
  void WriteHeader(const Piece& piece, uint32_t value);
  void WritePowerManagement(const Piece& piece, uint32_t value);
  void WriteVpd(const Piece& piece, uint32_t value);
  void WriteMsi(const Piece& piece, uint32_t value);
  void WriteExpress(const Piece& piece, uint32_t value);
  void WriteAdvancedFeatures(const Piece& piece, uint32_t value);
  void ReadMsi(const Piece& piece);

  void FixUpBars();
  bool BarsWereLost() const;
  void RestoreBars();
  void SetReadRequestSize(uint16_t control_offset);

  uint32_t Virtual(uint16_t offset, unsigned width) const;
  void SetVirtual(uint16_t offset, unsigned width, uint32_t value);

  Options options_;
  ConfigLayout layout_;
  std::array<uint32_t, 7> real_bars_ = {};  // As at open. Element 6 is the ROM.
  // The hardware's state at the last change to D3hot
  // (vfio_pci_core_device.pm_save). Empty unless a soft reset would lose it.
  std::optional<std::vector<uint8_t>> saved_at_d3_;
};

}  // namespace passthru::fake

#endif  // PASSTHRU_TESTING_VFIO_FAKE_CONFIG_H_
