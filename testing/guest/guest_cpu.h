// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_GUEST_GUEST_CPU_H_
#define PASSTHRU_TESTING_GUEST_GUEST_CPU_H_

#include <cstdint>
#include <functional>
#include <optional>

#include "absl/status/status.h"

namespace passthru::guest {

// A message-signalled interrupt, identified by the write that carried it to the
// processor. A real processor shows only data[7:0], the vector.
struct GuestInterrupt {
  uint64_t address = 0;
  uint32_t data = 0;

  friend bool operator==(const GuestInterrupt&,
                         const GuestInterrupt&) = default;
};

// One virtual CPU as the code that runs on it sees it. The code can load and
// store guest-physical memory, access ports and wait for an interrupt. The fake
// vCPU implements this interface behind KVM_RUN, and a program in a real KVM
// guest can implement it as well.
//
// `width` is 1, 2, 4 or 8 (1, 2 or 4 for ports), with any alignment. An access
// that crosses a page is made page by page, as KVM's emulator does it.
//
// Once the VM stops (see Stopping()) every load reads all ones, every store is
// dropped and WaitForInterrupt() returns nullopt, as if the platform had been
// unplugged. A program must therefore bound its polling, as a driver does for a
// device that may be unplugged, or check Stopping().
//
// Only one thread at a time, the program's, may use it.
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

  // Executes STI and HLT, and returns the oldest interrupt that arrived and was
  // not taken yet. Blocks for one inside KVM_RUN. Returns nullopt if the VM
  // stops, or if no interrupt comes within the platform's time limit (which a
  // correct test never reaches).
  virtual std::optional<GuestInterrupt> WaitForInterrupt() = 0;

  // Returns whether the VM is stopping, in which case the program should
  // return.
  virtual bool Stopping() const = 0;
};

// The program that runs on a vCPU. When it returns, the guest has ended.
// KVM_RUN exits with KVM_EXIT_SHUTDOWN, and the fake keeps the status for the
// test.
using GuestProgram = std::function<absl::Status(GuestCpu&)>;

}  // namespace passthru::guest

#endif  // PASSTHRU_TESTING_GUEST_GUEST_CPU_H_
