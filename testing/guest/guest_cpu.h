// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_GUEST_GUEST_CPU_H_
#define PASSTHRU_TESTING_GUEST_GUEST_CPU_H_

#include <cstdint>
#include <functional>
#include <optional>

#include "absl/status/status.h"

namespace passthru::guest {

// A message-signalled interrupt as it reached the processor: the write that
// carried it. A real processor shows only data[7:0], the vector.
struct GuestInterrupt {
  uint64_t address = 0;
  uint32_t data = 0;

  friend bool operator==(const GuestInterrupt&,
                         const GuestInterrupt&) = default;
};

// One virtual CPU as code that runs on it sees it: guest-physical loads and
// stores, port accesses, and the wait for an interrupt. The fake vCPU
// implements it behind KVM_RUN; a program in a real KVM guest can as well.
//
// `width` is 1, 2, 4 or 8 (1, 2 or 4 for ports); any alignment. An access may
// cross a page, and then is made page by page as KVM's emulator does.
//
// Once the VM stops (see Stopping()) every load reads all ones, stores go
// nowhere and WaitForInterrupt() returns nullopt, as if the platform had been
// unplugged. A program must therefore bound its polling, as any driver does
// for a device that is gone, or ask Stopping().
//
// Used by one thread at a time, the program's own.
class GuestCpu {
 public:
  virtual ~GuestCpu() = default;

  GuestCpu() = default;
  GuestCpu(const GuestCpu&) = delete;
  GuestCpu& operator=(const GuestCpu&) = delete;

  virtual uint64_t Load(uint64_t address, unsigned width) = 0;
  virtual void Store(uint64_t address, unsigned width, uint64_t value) = 0;

  virtual uint32_t In(uint16_t port, unsigned width) = 0;
  virtual void Out(uint16_t port, unsigned width, uint32_t value) = 0;

  // STI and HLT: the oldest interrupt that arrived and was not taken yet.
  // Blocks for one inside KVM_RUN. Nullopt: the VM stops, or none came within
  // the platform's time limit (which a correct test never reaches).
  virtual std::optional<GuestInterrupt> WaitForInterrupt() = 0;

  // Whether the VM is going away: the program should return.
  virtual bool Stopping() const = 0;
};

// What runs on a vCPU. Returning is the end of the guest: KVM_RUN exits with
// KVM_EXIT_SHUTDOWN, and the status is kept for the test.
using GuestProgram = std::function<absl::Status(GuestCpu&)>;

}  // namespace passthru::guest

#endif  // PASSTHRU_TESTING_GUEST_GUEST_CPU_H_
