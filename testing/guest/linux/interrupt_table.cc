// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/guest/linux/interrupt_table.h"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace passthru::guest {
namespace {

// More than any program here needs in one wait. A device that signals without
// end must not keep the guest forever.
constexpr int kMaxInterruptsPerWait = 100'000;
// More messages would only repeat the first ones.
constexpr size_t kMaxUnexpected = 64;

}  // namespace

absl::Status InterruptTable::Register(const GuestMessage& message,
                                      std::string_view name,
                                      std::function<void()> handler) {
  for (size_t i = 0; i < lines_.size(); ++i) {
    if (lines_[i].message == message && handlers_[i] != nullptr) {
      return absl::AlreadyExistsError(
          absl::StrCat("guest: interrupt vector ", message.data, " of ", name,
                       " belongs to ", lines_[i].name));
    }
  }
  lines_.push_back({message, std::string(name), 0});
  handlers_.push_back(std::move(handler));
  return absl::OkStatus();
}

void InterruptTable::Unregister(const GuestMessage& message) {
  for (size_t i = 0; i < lines_.size(); ++i) {
    if (lines_[i].message == message) handlers_[i] = nullptr;
  }
}

void InterruptTable::Dispatch(const GuestMessage& message) {
  for (size_t i = 0; i < lines_.size(); ++i) {
    if (lines_[i].message != message || handlers_[i] == nullptr) continue;
    ++lines_[i].count;
    // This is a copy, because the handler may unregister itself.
    const std::function<void()> handler = handlers_[i];
    handler();
    return;
  }
  if (unexpected_.size() < kMaxUnexpected) unexpected_.push_back(message);
}

absl::Status InterruptTable::WaitUntil(std::string_view what,
                                       const std::function<bool()>& done) {
  for (int i = 0; i < kMaxInterruptsPerWait; ++i) {
    const std::optional<GuestInterrupt> interrupt = cpu_->WaitForInterrupt();
    if (!interrupt.has_value()) {
      return absl::DeadlineExceededError(
          absl::StrCat("guest: no interrupt came while waiting for ", what));
    }
    Dispatch(*interrupt);
    if (done()) return absl::OkStatus();
  }
  return absl::ResourceExhaustedError(absl::StrCat(
      "guest: ", kMaxInterruptsPerWait, " interrupts, none of them ", what));
}

uint64_t InterruptTable::count(const GuestMessage& message) const {
  uint64_t total = 0;
  for (const Line& line : lines_) {
    if (line.message == message) total += line.count;
  }
  return total;
}

}  // namespace passthru::guest
