// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_GUEST_DRIVERS_GUEST_DRIVER_H_
#define PASSTHRU_TESTING_GUEST_DRIVERS_GUEST_DRIVER_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "passthru/testing/guest/drivers/guest_edu.h"
#include "passthru/testing/guest/drivers/guest_nvme.h"
#include "passthru/testing/guest/guest_cpu.h"
#include "passthru/testing/guest/guest_layout.h"
#include "passthru/testing/guest/linux/interrupt_table.h"
#include "passthru/testing/guest/linux/linux_pci_device.h"
#include "passthru/testing/guest/linux/linux_pci_probe.h"
#include "passthru/testing/guest/linux/msi_allocator.h"

namespace passthru::guest {

struct GuestBarMove {
  int bar = 0;
  uint64_t from = 0;
  uint64_t to = 0;
};

// What became of one function.
struct GuestDeviceReport {
  // As it is at the end: addresses are those after the last move.
  GuestPciInfo pci;
  // "nvme", "edu", "generic", or "none" for bridges.
  std::string driver;
  absl::Status status;
  std::vector<GuestBarMove> moves;
  std::optional<GuestNvmeReport> nvme;
  std::optional<GuestEduReport> edu;
  // Of the generic driver: "MSI-X" with 4 vectors, say.
  std::string interrupt_kind;
  uint16_t interrupt_vectors = 0;
};

// What a run of the guest found and did. Filled as far as the guest came.
struct GuestReport {
  std::vector<GuestDeviceReport> devices;
  // Every message that had a handler, with how often it came.
  std::vector<InterruptTable::Line> interrupts;
  // Messages that came without one: always a defect somewhere.
  std::vector<GuestMessage> unexpected_interrupts;
};

// The parts of a run. Each is gone through by all devices that are bound to a
// driver before the next begins, so they are in use at the same time.
enum class GuestPhase : uint8_t {
  kEnumerate,
  kBringUp,
  kWork,
  kMoveBars,
  kWorkAgain,
  kShutDown,
};
std::string_view Name(GuestPhase phase);

struct GuestOptions {
  GuestLayout layout;
  ProbeOptions probe;
  // Moves each memory BAR once while its driver is quiet, and works on.
  bool move_bars = true;
  GuestNvme::Options nvme;
  // Written, read back and verified (see GuestNvme::Options::read_only), once
  // before the BAR moves and once after.
  uint64_t nvme_blocks = 256;
  // Called on the guest's thread when a phase begins, for those who count.
  std::function<void(GuestPhase)> on_phase = [](GuestPhase) {};
  // The generic driver asks for up to this many interrupt vectors.
  uint16_t generic_vectors = 4;
};

// The whole guest program: enumerates bus 0, places the BARs, binds a driver to
// each function by class or identity, and runs it from probe to remove. A
// function that no driver knows gets a generic one, which enables it, moves its
// BARs, and enables and disables its message interrupts.
//
// Returns the first failure of any device, having tried them all.
absl::Status RunGuest(GuestCpu& cpu, const GuestOptions& options,
                      GuestReport& report);

}  // namespace passthru::guest

#endif  // PASSTHRU_TESTING_GUEST_DRIVERS_GUEST_DRIVER_H_
