// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_VMM_GUEST_AGENT_LAYOUT_H_
#define PASSTHRU_VMM_GUEST_AGENT_LAYOUT_H_

#include <cstddef>
#include <cstdint>

namespace passthru::vmm {

// The contract between agent.S, which runs in the guest, and AgentCpu, which
// commands it. The addresses are guest-physical. All are below kAgentReserved,
// and guest programs must not use the memory there.

inline constexpr uint64_t kAgentMailbox = 0x1000;
inline constexpr uint64_t kAgentGdt = 0x2000;
inline constexpr uint64_t kAgentIdt = 0x3000;
inline constexpr uint64_t kAgentCode = 0x4000;
inline constexpr uint64_t kAgentStackTop = 0x8000;
inline constexpr uint64_t kAgentPageTables = 0x10000;
inline constexpr uint64_t kAgentReserved = 0x200000;

// The agent writes these ports to request its next command, to report the
// vector of an exception, after which it halts, and to report its end.
inline constexpr uint16_t kAgentCommandPort = 0x510;
inline constexpr uint16_t kAgentExceptionPort = 0x514;
inline constexpr uint16_t kAgentStopPort = 0x518;

enum class AgentOp : uint32_t {
  kLoad = 1,
  kStore = 2,
  kIn = 3,
  kOut = 4,
  // Halts until an interrupt has arrived, and answers its vector.
  kWait = 5,
  // Writes kAgentStopPort and halts. The host does not enter the guest again.
  kStop = 6,
};

// One command with its answer, and the ring of the vectors taken. The host
// writes it only while the agent's OUT to kAgentCommandPort is in progress.
struct AgentMailbox {
  static constexpr size_t kRingSize = 256;

  uint32_t op = 0;
  uint32_t width = 0;  // In bytes: 1, 2, 4 or, for memory only, 8.
  uint64_t address = 0;
  uint64_t value = 0;
  // The number of vectors taken. The next one's slot is ring_head % kRingSize.
  uint32_t ring_head = 0;
  // The number of vectors that kWait has answered.
  uint32_t ring_tail = 0;
  uint8_t reserved[0xe0] = {};
  uint8_t ring[kRingSize] = {};
};
static_assert(offsetof(AgentMailbox, address) == 0x08);
static_assert(offsetof(AgentMailbox, value) == 0x10);
static_assert(offsetof(AgentMailbox, ring_head) == 0x18);
static_assert(offsetof(AgentMailbox, ring_tail) == 0x1c);
static_assert(offsetof(AgentMailbox, ring) == 0x100);

}  // namespace passthru::vmm

#endif  // PASSTHRU_VMM_GUEST_AGENT_LAYOUT_H_
