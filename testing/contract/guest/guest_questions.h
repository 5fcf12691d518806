// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_GUEST_GUEST_OBSERVER_H_
#define PASSTHRU_TESTING_GUEST_GUEST_OBSERVER_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "pci/bdf.h"
#include "testing/contract/observation.h"
#include "testing/guest/config_access.h"
#include "testing/guest/guest_contract.h"
#include "testing/guest/guest_ram.h"
#include "testing/guest_cpu.h"

namespace passthru::fake {

// What the parts of the guest contract share: the CPU, the ways to
// configuration space, and the list that they write.
//
// Used by the guest's thread only.
class GuestObserver {
 public:
  GuestObserver(GuestCpu* cpu, const GuestContractOptions* options,
                std::vector<Observation>* observations);

  GuestCpu& cpu() { return *cpu_; }
  GuestRam& ram() { return ram_; }
  PortConfigAccess& ports() { return ports_; }
  EcamConfigAccess& ecam() { return ecam_; }
  const GuestContractOptions& options() const { return *options_; }

  void Section(std::string_view name) { section_ = name; }
  void Note(std::string_view question, std::string_view answer);
  void Note(std::string_view question, uint64_t value);

  // One access: its value, where it has one, and the exits that it took.
  void Load(std::string_view question, uint64_t address, unsigned width);
  void Store(std::string_view question, uint64_t address, unsigned width,
             uint64_t value);
  // "1 port write, 1 port read", or "no exit".
  std::string ExitsOf(absl::FunctionRef<void()> action);

  // COMMAND.Memory, by ECAM.
  void SetMemoryDecode(pci::Bdf bdf, bool on);
  // The address in a 64-bit memory BAR.
  uint64_t BarAddress(pci::Bdf bdf, int bar);
  void SetBarAddress(pci::Bdf bdf, int bar, uint64_t address);

 private:
  GuestCpu* const cpu_;
  const GuestContractOptions* const options_;
  std::vector<Observation>* const observations_;
  GuestRam ram_;
  PortConfigAccess ports_;
  EcamConfigAccess ecam_;
  std::string section_;
};

// Interrupts and what is around them, on the NVMe controller; its memory decode
// is on. Fails when it cannot go on.
absl::Status ObserveNvme(GuestObserver& observer);

}  // namespace passthru::fake

#endif  // PASSTHRU_TESTING_GUEST_GUEST_OBSERVER_H_
