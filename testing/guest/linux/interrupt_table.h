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

// The guest's interrupt descriptor table: which handler takes which message,
// and how often each came. A message that nobody registered is kept as
// unexpected, for the report: on hardware it would be a stray interrupt.
//
// Used by the guest's thread only. `cpu` must outlive it.
class InterruptTable {
 public:
  struct Line {
    GuestMessage message;
    std::string name;
    uint64_t count = 0;
  };

  explicit InterruptTable(GuestCpu* cpu) : cpu_(cpu) {}

  // `handler` runs in WaitUntil(), with the message being taken. Fails for a
  // message that is registered.
  absl::Status Register(const GuestMessage& message, std::string_view name,
                        std::function<void()> handler);
  // The line's count stays in lines().
  void Unregister(const GuestMessage& message);

  // Takes interrupts until `done`, which is asked after each of them and not
  // before the first: whoever waits wants an interrupt, not luck. Fails when no
  // more interrupts come; `what` then says what was waited for.
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
  // Of the line with the same index; empty once unregistered.
  std::vector<std::function<void()>> handlers_;
  std::vector<GuestMessage> unexpected_;
};

}  // namespace passthru::guest

#endif  // PASSTHRU_TESTING_GUEST_LINUX_INTERRUPT_TABLE_H_
