// SPDX-License-Identifier: Apache-2.0
//
// The guest contract except for interrupts, which are in
// guest_contract_nvme.cc.
#include "passthru/testing/contract/guest/guest_contract.h"

#include <linux/pci_regs.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "passthru/devices/kernel/status_macros.h"
#include "passthru/testing/contract/guest/guest_questions.h"

namespace passthru::contract {
namespace {

constexpr uint16_t kStandardHeader = 0x40;
constexpr uint16_t kPortsReach = 0x100;
// QEMU's host bridge, which is the VMM's own function.
constexpr pci::Bdf kHostBridge(0, 0, 0, 0);
constexpr pci::Bdf kNobody(0, 0, 31, 7);

// Notes one function's header, and whether both mechanisms show it at every
// width and alignment.
void ObserveHeader(GuestQuestions& observer, std::string_view name,
                   pci::Bdf bdf) {
  for (uint16_t at = 0; at < kStandardHeader; at += 4) {
    observer.Note(absl::StrFormat("%s %02x by port", name, at),
                  observer.ports().Read(bdf, at, 4));
  }
  int compared = 0;
  int differ = 0;
  for (uint16_t at = 0; at < kPortsReach; at += 4) {
    const uint32_t dword = observer.ecam().Read(bdf, at, 4);
    for (const unsigned width : {1u, 2u, 4u}) {
      for (unsigned byte = 0; byte < 4; byte += width) {
        const auto offset = static_cast<uint16_t>(at + byte);
        const uint32_t expected =
            (dword >> (8 * byte)) & (~uint32_t{0} >> (32 - 8 * width));
        differ += observer.ports().Read(bdf, offset, width) != expected;
        differ += observer.ecam().Read(bdf, offset, width) != expected;
        compared += 2;
      }
    }
  }
  observer.Note(absl::StrCat(name, " reads of every width that differ"),
                absl::StrCat(differ, " of ", compared));
}

// Interrupt Line is a scratch register, so a written value reads back by both
// mechanisms. The rest of its dword is read-only.
void ObserveConfigWrites(GuestQuestions& observer, pci::Bdf bdf) {
  guest::PortConfigAccess& ports = observer.ports();
  guest::EcamConfigAccess& ecam = observer.ecam();
  const uint32_t before = ecam.Read(bdf, PCI_INTERRUPT_LINE, 1);
  ports.Write(bdf, PCI_INTERRUPT_LINE, 1, 0x5a);
  observer.Note("write 1 by port, read by ECAM",
                ecam.Read(bdf, PCI_INTERRUPT_LINE, 4));
  ecam.Write(bdf, PCI_INTERRUPT_LINE, 2, 0xffa5);
  observer.Note("write 2 by ECAM, read by port",
                ports.Read(bdf, PCI_INTERRUPT_LINE, 4));
  ports.Write(bdf, PCI_INTERRUPT_LINE, 4, 0xffffff3c);
  observer.Note("write 4 by port, read by ECAM",
                ecam.Read(bdf, PCI_INTERRUPT_LINE, 4));
  ecam.Write(bdf, PCI_INTERRUPT_LINE, 1, before);
}

void ObserveConfig(GuestQuestions& observer) {
  observer.Section("config");
  const pci::Bdf nvme = observer.options().nvme;
  ObserveHeader(observer, "nvme", nvme);
  ObserveHeader(observer, "memory", observer.options().memory);
  ObserveConfigWrites(observer, nvme);
  observer.Note("first extended capability",
                observer.ecam().Read(nvme, 0x100, 4));
  observer.Note("host bridge by port",
                observer.ports().Read(kHostBridge, 0, 4));
  observer.Note("absent function by port",
                observer.ports().Read(kNobody, 0, 4));
  observer.Note("absent function by ECAM", observer.ecam().Read(kNobody, 0, 4));
  observer.Note("exits of a read by port",
                observer.ExitsOf([&] { observer.ports().Read(nvme, 0, 4); }));
  observer.Note("exits of a read by ECAM",
                observer.ExitsOf([&] { observer.ecam().Read(nvme, 0, 4); }));
}

// Sizes the BARs with decode off, as PCI 3.0, 6.2.5.1 demands.
void ObserveSizing(GuestQuestions& observer, std::string_view name,
                   pci::Bdf bdf, int bar) {
  const uint64_t address = observer.BarAddress(bdf, bar);
  observer.SetMemoryDecode(bdf, false);
  observer.SetBarAddress(bdf, bar, ~uint64_t{0});
  const auto at = static_cast<uint16_t>(PCI_BASE_ADDRESS_0 + 4 * bar);
  observer.Note(absl::StrCat(name, " BAR", bar, " low"),
                observer.ports().Read(bdf, at, 4));
  observer.Note(absl::StrCat(name, " BAR", bar, " high"),
                observer.ports().Read(bdf, at + 4, 4));
  observer.SetBarAddress(bdf, bar, address);
  observer.SetMemoryDecode(bdf, true);
  observer.Note(absl::StrCat(name, " BAR", bar, " restored"),
                observer.BarAddress(bdf, bar));
}

// Accesses a device's plain memory, which takes every width and alignment.
void ObserveMappedMemory(GuestQuestions& observer) {
  observer.Section("mapped");
  const uint64_t base =
      observer.BarAddress(observer.options().memory, /*bar=*/2);
  observer.Store("memory", base, 8, 0x8877665544332211);
  for (const unsigned width : {1u, 2u, 4u, 8u}) {
    observer.Load("memory", base, width);
  }
  observer.Store("memory+1", base + 1, 1, 0xa1);
  observer.Store("memory+2", base + 2, 2, 0xb2b3);
  observer.Store("memory+4", base + 4, 4, 0xc4c5c6c7);
  observer.Load("memory", base, 8);
  observer.Load("memory+1", base + 1, 1);
  observer.Load("memory+3, unaligned", base + 3, 2);
  observer.Load("memory+1, unaligned", base + 1, 4);
  observer.Store("memory across pages", base + 0xffc, 8, 0x0123456789abcdef);
  observer.Load("memory across pages", base + 0xffc, 8);
  observer.Load("memory before the page's end", base + 0xffc, 4);
  observer.Load("memory behind the page's end", base + 0x1000, 4);
  observer.Store("the last bytes", base + 0x3ffff8, 8, 0x1122334455667788);
  observer.Load("the last bytes", base + 0x3ffffc, 4);
  observer.Load("what is behind the BAR", base + 0x400000, 4);
}

}  // namespace

absl::Status ObserveAsGuest(guest::GuestCpu& cpu,
                            const GuestContractOptions& options,
                            std::vector<Observation>& observations) {
  GuestQuestions observer(&cpu, &options, &observations);
  ObserveConfig(observer);
  observer.Section("sizing");
  ObserveSizing(observer, "nvme", options.nvme, 0);
  ObserveSizing(observer, "memory", options.memory, 2);
  ObserveMappedMemory(observer);
  PASSTHRU_RETURN_IF_ERROR(ObserveNvme(observer));
  observer.SetMemoryDecode(options.memory, false);
  return cpu.Stopping() ? absl::UnavailableError("guest: the platform is gone")
                        : absl::OkStatus();
}

}  // namespace passthru::contract
