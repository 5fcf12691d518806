// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_VMM_GUEST_AGENT_IMAGE_H_
#define PASSTHRU_VMM_GUEST_AGENT_IMAGE_H_

#include <linux/kvm.h>

#include <cstdint>

#include "absl/status/status.h"
#include "absl/types/span.h"

namespace passthru::vmm {

// Guest-physical addresses that the agent can reach above 4 GiB, besides the
// first 4 GiB. Both are multiples of 1 GiB.
struct AgentHighWindow {
  uint64_t base = 0;
  uint64_t size = 0;
};

// Writes the agent into guest RAM that starts at guest-physical 0: its code,
// an identity map of the first 4 GiB and of `window` (2 MiB pages, so that no
// CPUID feature is needed), a flat 64-bit GDT and an IDT with all 256 vectors.
// Fails when it does not fit below kAgentReserved or `ram` is smaller.
absl::Status WriteAgentImage(absl::Span<uint8_t> ram, AgentHighWindow window);

// Puts a vCPU at the agent's first instruction, in 64-bit mode with interrupts
// off. `sregs` comes from KVM_GET_SREGS, for what is not the agent's (the APIC
// base).
void SetAgentRegisters(kvm_regs& regs, kvm_sregs& sregs);

}  // namespace passthru::vmm

#endif  // PASSTHRU_VMM_GUEST_AGENT_IMAGE_H_
