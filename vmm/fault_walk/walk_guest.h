// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_VMM_FAULT_WALK_WALK_GUEST_H_
#define PASSTHRU_VMM_FAULT_WALK_WALK_GUEST_H_

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "passthru/pci/bdf.h"
#include "passthru/testing/guest/drivers/guest_edu.h"
#include "passthru/testing/guest/guest_cpu.h"
#include "passthru/testing/guest/linux/guest_machine.h"
#include "passthru/testing/guest/linux/linux_pci_device.h"

namespace passthru::vmm {

// The guest of a fault walk, with the drivers of its two devices. It knows
// nothing of the VMM or of the failure that the walk injects. The bystander is
// an edu whose driver must always work. The subject is an NVMe controller whose
// driver may fail.
//
// Used by the guest's thread only.
class WalkGuest {
 public:
  // `cpu`, which must outlive this, belongs to a machine with the layout of
  // vmm/guest_layout.h and `ram_size` bytes of RAM. `raise` makes the subject's
  // hardware raise the MSI-X vector that it is given.
  WalkGuest(guest::GuestCpu* cpu, uint64_t ram_size,
            std::function<void(uint16_t vector)> raise);
  WalkGuest(const WalkGuest&) = delete;
  WalkGuest& operator=(const WalkGuest&) = delete;

  // Starts the driver of the bystander, which is at `bdf`.
  absl::Status StartBystander(pci::Bdf bdf);
  // Lets the bystander compute and copy, and verifies the results.
  absl::Status UseBystander();
  absl::Status ShutDownBystander();

  // Runs the driver of the subject, which is at `bdf`, and returns its failure.
  // The driver brings the device up, writes and verifies blocks, moves the
  // memory BARs, and writes and verifies again. Then it shuts down, and
  // interrupts arrive while the guest masks and unmasks the vectors. The
  // vectors stay enabled for the unplug.
  absl::Status RunSubject(pci::Bdf bdf);

  // Checks that the guest sees the unplugged subject as absent hardware.
  // Accesses the places of its BARs only if `check_bars`.
  void CheckUnplugged(pci::Bdf bdf, bool check_bars);

  // Returns what was wrong since the last call. Failures of drivers are not
  // among it, because the methods above return them.
  std::vector<std::string> TakeProblems() {
    return std::exchange(problems_, {});
  }

 private:
  static constexpr uint16_t kVectors = 4;

  void Expect(bool condition, const char* problem) {
    if (!condition) problems_.push_back(problem);
  }

  // Raises interrupts while the guest masks and unmasks the vectors, and checks
  // that none is lost and none comes twice.
  absl::Status StormMasks(guest::LinuxPciDevice& device);
  void Raise(uint16_t vector);
  // Waits until the guest has taken every interrupt that was raised.
  absl::Status TakeAll();

  const std::function<void(uint16_t vector)> raise_;
  std::array<uint64_t, kVectors> raised_ = {};
  std::array<uint64_t, kVectors> taken_ = {};
  std::vector<std::string> problems_;

  guest::GuestMachine machine_;
  std::unique_ptr<guest::LinuxPciDevice> bystander_device_;
  std::unique_ptr<guest::GuestEdu> bystander_;
};

}  // namespace passthru::vmm

#endif  // PASSTHRU_VMM_FAULT_WALK_WALK_GUEST_H_
