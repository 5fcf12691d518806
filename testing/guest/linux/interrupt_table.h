// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_GUEST_LINUX_INTERRUPT_TABLE_H_
#define PASSTHRU_TESTING_GUEST_LINUX_INTERRUPT_TABLE_H_

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "passthru/testing/guest/guest_cpu.h"
#include "passthru/testing/guest/linux/msi_allocator.h"

namespace passthru::guest {

// The guest's interrupt descriptor table. It knows the handler of each message
// and counts how often each came. It keeps a message without a handler as
// unexpected, for the report, because on hardware that would be a stray
// interrupt.
//
// Only the guest's thread may use it. `cpu` must outlive it.
class InterruptTable {
 public:
  struct Line {
    GuestMessage message;
    std::string name;
    uint64_t count = 0;
  };

  explicit InterruptTable(GuestCpu* cpu) : cpu_(cpu) {}

  // Registers `handler`, which WaitUntil() calls when it takes the message.
  // Fails if the message is registered already.
  absl::Status Register(const GuestMessage& message, std::string_view name,
                        std::function<void()> handler);
  // Removes the handler. The line's count stays in lines().
  void Unregister(const GuestMessage& message);

  // Takes interrupts until `done` returns true. It calls `done` after each
  // interrupt and not before the first, because the caller wants an interrupt
  // and not luck. Fails if no more interrupts come or if `done` stays false for
  // very many of them. The error names `what` the caller waited for.
  absl::Status WaitUntil(std::string_view what,
                         const std::function<bool()>& done);

  uint64_t count(const GuestMessage& message) const;
  // In the order of registration.
  const std::vector<Line>& lines() const { return lines_; }
  const std::vector<GuestMessage>& unexpected() const { return unexpected_; }

 private:
  void Dispatch(const GuestMessage& message);

  GuestCpu* const cpu_;
  std::vector<Line> lines_;
  // Has the indices of lines_. An element is empty once it is unregistered.
  std::vector<std::function<void()>> handlers_;
  std::vector<GuestMessage> unexpected_;
};

}  // namespace passthru::guest

#endif  // PASSTHRU_TESTING_GUEST_LINUX_INTERRUPT_TABLE_H_
