// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_VMM_GUEST_AGENT_IMAGE_H_
#define PASSTHRU_VMM_GUEST_AGENT_IMAGE_H_

#include <linux/kvm.h>

#include <cstdint>

#include "absl/status/status.h"
#include "absl/types/span.h"

namespace passthru::vmm {

// The guest-physical addresses above 4 GiB that the agent can reach besides the
// first 4 GiB. Both values are multiples of 1 GiB.
struct AgentHighWindow {
  uint64_t base = 0;
  uint64_t size = 0;
};

// Writes the agent into guest RAM that starts at guest-physical 0. It consists
// of the code, an identity map of the first 4 GiB and of `window`, a flat
// 64-bit GDT and an IDT with all 256 vectors. The map has pages of 2 MiB, which
// need no CPUID feature. Fails if the agent does not fit below kAgentReserved
// or `ram` is smaller than that.
absl::Status WriteAgentImage(absl::Span<uint8_t> ram, AgentHighWindow window);

// Sets the registers of a vCPU to the agent's first instruction, in 64-bit mode
// with interrupts off. `sregs` must come from KVM_GET_SREGS, because this keeps
// what the agent does not decide, such as the APIC base.
void SetAgentRegisters(kvm_regs& regs, kvm_sregs& sregs);

}  // namespace passthru::vmm

#endif  // PASSTHRU_VMM_GUEST_AGENT_IMAGE_H_
