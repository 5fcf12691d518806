// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_DEVICES_VFIO_PCI_INTERRUPT_MODE_H_
#define PASSTHRU_DEVICES_VFIO_PCI_INTERRUPT_MODE_H_

#include <cstdint>
#include <functional>
#include <utility>

#include "passthru/devices/interrupts/msix_vector_group.h"
#include "passthru/devices/kernel/failure_log.h"
#include "passthru/devices/vfio_pci/interrupt_kind.h"
#include "passthru/devices/vfio_pci/intx_line.h"

namespace passthru::vfio_pci {

// The kind of interrupt that a device uses, and the transitions between kinds.
// The kernel refuses to enable one kind while another is on, and forces the
// device's MSI enable bit to zero unless MSI is on (vfio_msi_config_write()).
// The order of steps is therefore fixed:
//   on   INTx off, SET_IRQS, the device's enable bit
//   off  the device's enable bit, SET_IRQS, INTx on
//
// A step that fails is recorded in the failure log. The guest's registers
// change all the same, as they would on hardware.
//
// Thread-compatible. Callers hold the device's control mutex.
class InterruptMode {
 public:
  struct Options {
    kernel::FailureLog* failures = nullptr;
    // A kind that the guest is not shown is null.
    interrupts::MsixVectorGroup* msi = nullptr;
    interrupts::MsixVectorGroup* msix = nullptr;
    IntxLine* intx = nullptr;
    // Writes the device's own enable bit.
    std::function<void(InterruptKind kind, bool enable)> set_enable_bit;
  };
  explicit InterruptMode(Options options) : options_(std::move(options)) {}

  // The interrupts that the guest's registers request.
  struct Desired {
    bool msi = false;
    uint16_t msi_vectors = 1;
    bool msix = false;
    bool function_masked = false;
    // Whether to use INTx when neither MSI nor MSI-X is on. False silences the
    // device then.
    bool intx = true;
  };
  // Switches to the desired interrupts. If MSI and MSI-X are both requested,
  // which the specification forbids, the one that is on stays.
  void Apply(const Desired& desired);

  // Tries again what could not be turned on when it was desired. Makes no call
  // if everything is on.
  void Retry();

  InterruptKind kind() const { return kind_; }

 private:
  InterruptKind Choose(const Desired& desired) const;
  void Leave();
  void Enter(InterruptKind kind, const Desired& desired);
  void CheckIntx(const absl::Status& status, const char* what);

  const Options options_;
  InterruptKind kind_ = InterruptKind::kNone;
  uint16_t msi_vectors_ = 0;
};

}  // namespace passthru::vfio_pci

#endif  // PASSTHRU_DEVICES_VFIO_PCI_INTERRUPT_MODE_H_
