// SPDX-License-Identifier: Apache-2.0
#ifndef CLOCK_H_
#define CLOCK_H_

#include <algorithm>
#include <cstdint>
#include <string_view>

#include "passthru/passthru.h"

namespace example {

// A device of the VMM. A read of its port ticks, and a write signals an event.
class Clock final : public passthru::bus::BusDevice {
 public:
  explicit Clock(passthru::kernel::EventFd* event) : event_(event) {}

  std::string_view name() const override { return "clock"; }
  absl::Status Read(uint64_t, absl::Span<uint8_t> data) override {
    std::fill(data.begin(), data.end(), ++ticks_);
    return absl::OkStatus();
  }
  absl::Status Write(uint64_t, absl::Span<const uint8_t>) override {
    return event_->Signal();
  }

 private:
  passthru::kernel::EventFd* const event_;
  uint8_t ticks_ = 0;
};

}  // namespace example

#endif  // CLOCK_H_
