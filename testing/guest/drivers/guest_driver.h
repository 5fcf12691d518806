// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_GUEST_DRIVERS_GUEST_DRIVER_H_
#define PASSTHRU_TESTING_GUEST_DRIVERS_GUEST_DRIVER_H_

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "passthru/pci/bdf.h"
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

// What the guest found and did with one function.
struct GuestDeviceReport {
  // The state at the end, with the addresses after the last move.
  GuestPciInfo pci;
  // "nvme", "edu", "generic", or "none" for bridges.
  std::string driver;
  absl::Status status;
  std::vector<GuestBarMove> moves;
  std::optional<GuestNvmeReport> nvme;
  std::optional<GuestEduReport> edu;
  // Why the function has the generic driver, although there is one for its
  // class. Empty if there is none for the class.
  std::string why_generic;
  // Set by the generic driver, for example "MSI-X" with 4 vectors.
  std::string interrupt_kind;
  uint16_t interrupt_vectors = 0;
};

// What a run of the guest found and did. If the run fails, the report holds
// what the guest did until then.
struct GuestReport {
  std::vector<GuestDeviceReport> devices;
  // Every message that had a handler, with the number of its interrupts.
  std::vector<InterruptTable::Line> interrupts;
  // Messages that came without a handler, which is always a defect. The guest
  // keeps the first 64.
  std::vector<GuestMessage> unexpected_interrupts;
};

// The phases of a run. All devices that are bound to a driver complete a phase
// before the next begins, so they are in use at the same time.
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
  // Whether the guest moves each memory BAR once while its driver is quiet, and
  // works again after that.
  bool move_bars = true;
  GuestNvme::Options nvme;
  // How many blocks the guest writes, reads back and verifies, once before the
  // BAR moves and once after (see GuestNvme::Options::read_only).
  uint64_t nvme_blocks = 256;
  // Called on the guest's thread when a phase begins.
  std::function<void(GuestPhase)> on_phase = [](GuestPhase) {};
  // Functions that get the generic driver whatever their class is, with the
  // reason. They are those whose hardware does not behave as its class.
  std::map<pci::Bdf, std::string> undriven;
  // The number of interrupt vectors that the generic driver requests at most.
  uint16_t generic_vectors = 4;
};

// Runs the whole guest program. It enumerates bus 0, places the BARs, binds a
// driver to each function by class or identity, and runs the driver from probe
// to remove. A function that no driver knows or can drive gets a generic one,
// which enables it, moves its BARs, and enables and disables its message
// interrupts.
//
// Tries all devices, and returns the first failure of any.
absl::Status RunGuest(GuestCpu& cpu, const GuestOptions& options,
                      GuestReport& report);

}  // namespace passthru::guest

#endif  // PASSTHRU_TESTING_GUEST_DRIVERS_GUEST_DRIVER_H_
