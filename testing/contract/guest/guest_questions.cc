// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/contract/guest/guest_questions.h"

#include <linux/pci_regs.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"

namespace passthru::contract {

GuestQuestions::GuestQuestions(guest::GuestCpu* cpu,
                               const GuestContractOptions* options,
                               std::vector<Observation>* observations)
    : cpu_(cpu),
      options_(options),
      observations_(observations),
      ram_(cpu, options->layout.dma_memory),
      ports_(cpu),
      ecam_(cpu, options->layout.ecam) {}

void GuestQuestions::Note(std::string_view question, std::string_view answer) {
  observations_->push_back(
      {section_, std::string(question), std::string(answer)});
}

void GuestQuestions::Note(std::string_view question, uint64_t value) {
  Note(question, absl::StrFormat("%#x", value));
}

std::string GuestQuestions::ExitsOf(absl::FunctionRef<void()> action) {
  const GuestExits before = options_->exits();
  action();
  const GuestExits after = options_->exits();
  std::vector<std::string> exits;
  const auto add = [&exits](uint64_t count, std::string_view what) {
    if (count != 0) exits.push_back(absl::StrCat(count, " ", what));
  };
  add(after.mmio_reads - before.mmio_reads, "MMIO read");
  add(after.mmio_writes - before.mmio_writes, "MMIO write");
  add(after.port_reads - before.port_reads, "port read");
  add(after.port_writes - before.port_writes, "port write");
  return exits.empty() ? "no exit" : absl::StrJoin(exits, ", ");
}

void GuestQuestions::Load(std::string_view question, uint64_t address,
                          unsigned width) {
  uint64_t value = 0;
  const std::string exits =
      ExitsOf([&] { value = cpu_->Load(address, width); });
  Note(absl::StrCat("load ", width, " of ", question),
       absl::StrFormat("%#x, %s", value, exits));
}

void GuestQuestions::Store(std::string_view question, uint64_t address,
                           unsigned width, uint64_t value) {
  const std::string exits =
      ExitsOf([&] { cpu_->Store(address, width, value); });
  Note(absl::StrCat("store ", width, " to ", question), exits);
}

void GuestQuestions::SetMemoryDecode(pci::Bdf bdf, bool on) {
  const uint32_t command = ecam_.Read(bdf, PCI_COMMAND, 2);
  ecam_.Write(
      bdf, PCI_COMMAND, 2,
      on ? command | PCI_COMMAND_MEMORY : command & ~PCI_COMMAND_MEMORY);
}

uint64_t GuestQuestions::BarAddress(pci::Bdf bdf, int bar) {
  const auto at = static_cast<uint16_t>(PCI_BASE_ADDRESS_0 + 4 * bar);
  const uint32_t low = ecam_.Read(bdf, at, 4) & ~uint32_t{0xf};
  return uint64_t{ecam_.Read(bdf, at + 4, 4)} << 32 | low;
}

void GuestQuestions::SetBarAddress(pci::Bdf bdf, int bar, uint64_t address) {
  const auto at = static_cast<uint16_t>(PCI_BASE_ADDRESS_0 + 4 * bar);
  ecam_.Write(bdf, at, 4, static_cast<uint32_t>(address));
  ecam_.Write(bdf, at + 4, 4, static_cast<uint32_t>(address >> 32));
}

}  // namespace passthru::contract
