// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_DEVICES_KVM_VCPU_EXIT_H_
#define PASSTHRU_DEVICES_KVM_VCPU_EXIT_H_

#include <cstdint>
#include <variant>

#include "absl/types/span.h"
#include "passthru/devices/memory/guest_address.h"

namespace passthru::kvm {

// The reasons why KVM_RUN returned, as checked and typed contents of `struct
// kvm_run`. Spans lie in the vCPU's shared mapping and are valid until its next
// Run(). Before that, the VMM must write the result of a read to its span.

// KVM_EXIT_IO. The guest made `count` accesses (REP INS/OUTS) of `width` bytes
// each to the same port. `data` holds the data of all of them.
struct IoExit {
  uint16_t port = 0;
  uint8_t width = 0;  // 1, 2 or 4
  uint32_t count = 0;
  bool is_write = false;
  absl::Span<uint8_t> data;
};

// KVM_EXIT_MMIO. The guest accessed an address without memory, or wrote to
// read-only memory.
struct MmioExit {
  memory::GuestAddress address;
  bool is_write = false;
  absl::Span<uint8_t> data;  // 1 to 8 bytes
};

// KVM_EXIT_HLT. Occurs only without an interrupt controller in the kernel.
struct HaltExit {};

// KVM_EXIT_SHUTDOWN. The guest had a triple fault.
struct ShutdownExit {};

// A signal or RequestImmediateExit() ended the run, or the vCPU is not ready
// (EINTR, EAGAIN, KVM_EXIT_INTR). The VMM should do any pending work and run
// the vCPU again.
struct InterruptedExit {};

// KVM_EXIT_SYSTEM_EVENT. `type` is KVM_SYSTEM_EVENT_*.
struct SystemEventExit {
  uint32_t type = 0;
};

// KVM_EXIT_FAIL_ENTRY and KVM_EXIT_INTERNAL_ERROR. The vCPU cannot continue.
struct FailEntryExit {
  uint64_t hardware_reason = 0;
};
struct InternalErrorExit {
  uint32_t suberror = 0;
};

// Any other exit. Nothing in this code enables one.
struct UnknownExit {
  uint32_t reason = 0;  // KVM_EXIT_*
};

using VcpuExit = std::variant<IoExit, MmioExit, HaltExit, ShutdownExit,
                              InterruptedExit, SystemEventExit, FailEntryExit,
                              InternalErrorExit, UnknownExit>;

}  // namespace passthru::kvm

#endif  // PASSTHRU_DEVICES_KVM_VCPU_EXIT_H_
