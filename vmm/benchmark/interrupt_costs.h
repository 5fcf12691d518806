// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_VMM_BENCHMARK_INTERRUPT_COSTS_H_
#define PASSTHRU_VMM_BENCHMARK_INTERRUPT_COSTS_H_

#include <array>
#include <cstdint>

namespace passthru::benchmark {

// What the guest does with the vectors after Linux's msix_capability_init(),
// which enables MSI-X with the function masked, programs each entry while it is
// masked, and clears the function mask. request_irq() then writes an entry's
// message once more, for the CPU that will serve it, and unmasks the entry.
enum class Trace : uint8_t {
  kAllThenFire,  // requests all vectors, and then each fires once
  kOneByOne,     // requests a vector, which fires, and then the next
  kNoneFires,    // requests all vectors, and none fires
};
inline constexpr std::array kAllTraces = {Trace::kAllThenFire, Trace::kOneByOne,
                                          Trace::kNoneFires};

// The calls that a trace costs, counted and not timed.
struct InterruptCosts {
  uint64_t set_gsi_routing = 0;
  uint64_t irqfd = 0;
  uint64_t set_irqs = 0;
  uint64_t signal_msi = 0;
  uint64_t eventfd_reads = 0;
  // Entries that KVM_SET_GSI_ROUTING copied, in all calls and in the largest.
  uint64_t entries = 0;
  uint64_t largest_table = 0;

  // The calls that change what is armed and routed.
  uint64_t calls() const { return set_gsi_routing + irqfd + set_irqs; }
};

// Runs a trace on the library's MsixVectorGroup and GsiRouter, with a device of
// `vectors` vectors and the table of a VM with PIC and IOAPIC.
InterruptCosts CountBringUp(uint16_t vectors, Trace trace);

// Returns the most calls() that the trace may cost.
uint64_t Goal(uint16_t vectors, Trace trace);

// What another VMM's calls come to, by reading its source (docs/comparison.md
// has the versions). They do the same in all traces, because they route and
// assign each vector when the guest unmasks it, and so have neither calls of
// KVM_SIGNAL_MSI nor reads of eventfds.
struct PeerCosts {
  const char* name;
  uint64_t set_gsi_routing;
  uint64_t irqfd;
  uint64_t set_irqs;
  uint64_t entries;
  uint64_t calls() const { return set_gsi_routing + irqfd + set_irqs; }
};
std::array<PeerCosts, 5> PeersBringUp(uint16_t vectors);

}  // namespace passthru::benchmark

#endif  // PASSTHRU_VMM_BENCHMARK_INTERRUPT_COSTS_H_
