// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_DEVICES_KVM_VCPU_EXIT_H_
#define PASSTHRU_DEVICES_KVM_VCPU_EXIT_H_

#include <cstdint>
#include <variant>

#include "absl/types/span.h"
#include "passthru/devices/memory/guest_address.h"

namespace passthru::kvm {

// Why KVM_RUN returned: `struct kvm_run`, checked and typed. Spans lie in the
// vCPU's shared mapping and are valid until its next Run(); what an access
// reads is written there before.

// KVM_EXIT_IO: `count` accesses (REP INS/OUTS) of `width` bytes each to the
// same port; `data` holds them all.
struct IoExit {
  uint16_t port = 0;
  uint8_t width = 0;  // 1, 2 or 4
  uint32_t count = 0;
  bool is_write = false;
  absl::Span<uint8_t> data;
};

// KVM_EXIT_MMIO: no memory at this address, or not writable.
struct MmioExit {
  memory::GuestAddress address;
  bool is_write = false;
  absl::Span<uint8_t> data;  // 1 to 8 bytes
};

// KVM_EXIT_HLT. Only without an in-kernel interrupt controller.
struct HaltExit {};

// KVM_EXIT_SHUTDOWN: a triple fault.
struct ShutdownExit {};

// A signal, an immediate exit, or a vCPU that is not ready to run (EINTR,
// EAGAIN, KVM_EXIT_INTR): look whether there is something to do, run again.
struct InterruptedExit {};

// KVM_EXIT_SYSTEM_EVENT: KVM_SYSTEM_EVENT_*.
struct SystemEventExit {
  uint32_t type = 0;
};

// KVM_EXIT_FAIL_ENTRY and KVM_EXIT_INTERNAL_ERROR: the vCPU cannot go on.
struct FailEntryExit {
  uint64_t hardware_reason = 0;
};
struct InternalErrorExit {
  uint32_t suberror = 0;
};

// An exit that nothing here asked for.
struct UnknownExit {
  uint32_t reason = 0;  // KVM_EXIT_*
};

using VcpuExit = std::variant<IoExit, MmioExit, HaltExit, ShutdownExit,
                              InterruptedExit, SystemEventExit, FailEntryExit,
                              InternalErrorExit, UnknownExit>;

}  // namespace passthru::kvm

#endif  // PASSTHRU_DEVICES_KVM_VCPU_EXIT_H_
