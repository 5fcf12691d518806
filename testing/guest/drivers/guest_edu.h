// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_GUEST_DRIVERS_GUEST_EDU_H_
#define PASSTHRU_TESTING_GUEST_DRIVERS_GUEST_EDU_H_

#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "passthru/testing/guest/linux/guest_machine.h"
#include "passthru/testing/guest/linux/linux_irq_vectors.h"
#include "passthru/testing/guest/linux/linux_pci_device.h"

namespace passthru::guest {

struct GuestEduReport {
  uint32_t identification = 0;
  bool alive = false;  // The liveness register read the inverse.
  uint32_t factorial_of = 0;
  uint32_t factorial = 0;
  uint64_t bytes_copied = 0;  // To the device and back, by DMA.
  uint64_t bytes_verified = 0;
  uint64_t interrupts = 0;
};

// A driver for QEMU's educational device with MSI, written from the device's
// documentation. It polls nothing for which the device has an interrupt.
//
// Only the guest's thread may use it. `machine` and `device` must outlive it.
// The caller must call Shutdown() before destruction, like a driver's remove
// function.
class GuestEdu {
 public:
  // Starts the driver. The device's BARs must have been placed. On failure,
  // interrupts and bus mastering are off again.
  static absl::StatusOr<std::unique_ptr<GuestEdu>> Start(
      GuestMachine* machine, LinuxPciDevice* device);

  // Computes n! modulo 2^32 and waits for the interrupt.
  absl::StatusOr<uint32_t> Factorial(uint32_t n);

  // Copies `size` bytes (1 to 4096) of a pattern from guest RAM into the device
  // and from there to other guest RAM, with an interrupt each, and compares.
  // Returns DataLoss if they differ.
  absl::Status CopyAndVerify(uint64_t size, uint8_t seed);

  absl::Status Shutdown();

  const GuestEduReport& report() const { return report_; }

 private:
  GuestEdu(GuestMachine* machine, LinuxPciDevice* device)
      : machine_(machine), device_(device) {}

  absl::Status Enable();
  // Frees the interrupts and turns bus mastering off.
  void Release();
  absl::Status Transfer(uint64_t source, uint64_t destination, uint64_t size,
                        uint64_t command);
  // Waits until the interrupt status has shown all of `bits`.
  absl::Status WaitForCause(uint32_t bits, const char* what);
  void HandleInterrupt();

  uint32_t Read(uint64_t offset);
  void Write(uint64_t offset, uint32_t value);
  void Write64(uint64_t offset, uint64_t value);

  GuestMachine* const machine_;
  LinuxPciDevice* const device_;
  std::unique_ptr<LinuxIrqVectors> vectors_;
  uint64_t source_ = 0;
  uint64_t destination_ = 0;
  // Causes that interrupts reported and WaitForCause() has not consumed yet.
  uint32_t causes_ = 0;
  GuestEduReport report_;
};

}  // namespace passthru::guest

#endif  // PASSTHRU_TESTING_GUEST_DRIVERS_GUEST_EDU_H_
