// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_CONTRACT_GUEST_GUEST_QUESTIONS_H_
#define PASSTHRU_TESTING_CONTRACT_GUEST_GUEST_QUESTIONS_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "passthru/pci/bdf.h"
#include "passthru/testing/contract/guest/guest_contract.h"
#include "passthru/testing/contract/observation.h"
#include "passthru/testing/guest/guest_cpu.h"
#include "passthru/testing/guest/linux/config_access.h"
#include "passthru/testing/guest/linux/guest_ram.h"

namespace passthru::contract {

// The common part of the guest contract's sections. It holds the CPU, the ways
// to configuration space, and the list to which the sections write.
//
// Only the guest's thread may use it.
class GuestQuestions {
 public:
  GuestQuestions(guest::GuestCpu* cpu, const GuestContractOptions* options,
                 std::vector<Observation>* observations);

  guest::GuestCpu& cpu() { return *cpu_; }
  guest::GuestRam& ram() { return ram_; }
  guest::PortConfigAccess& ports() { return ports_; }
  guest::EcamConfigAccess& ecam() { return ecam_; }
  const GuestContractOptions& options() const { return *options_; }

  void Section(std::string_view name) { section_ = name; }
  void Note(std::string_view question, std::string_view answer);
  void Note(std::string_view question, uint64_t value);

  // Make one access and note the value of a load and the exits.
  void Load(std::string_view question, uint64_t address, unsigned width);
  void Store(std::string_view question, uint64_t address, unsigned width,
             uint64_t value);
  // Runs `action` and returns its exits, as "1 port write, 1 port read" or "no
  // exit".
  std::string ExitsOf(absl::FunctionRef<void()> action);

  // Writes COMMAND.Memory, by ECAM.
  void SetMemoryDecode(pci::Bdf bdf, bool on);
  // Returns the address in a 64-bit memory BAR.
  uint64_t BarAddress(pci::Bdf bdf, int bar);
  void SetBarAddress(pci::Bdf bdf, int bar, uint64_t address);

 private:
  guest::GuestCpu* const cpu_;
  const GuestContractOptions* const options_;
  std::vector<Observation>* const observations_;
  guest::GuestRam ram_;
  guest::PortConfigAccess ports_;
  guest::EcamConfigAccess ecam_;
  std::string section_;
};

// Asks about interrupts and related registers of the NVMe controller, whose
// memory decode is on. Returns an error if it cannot continue.
absl::Status ObserveNvme(GuestQuestions& observer);

}  // namespace passthru::contract

#endif  // PASSTHRU_TESTING_CONTRACT_GUEST_GUEST_QUESTIONS_H_
