// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/journal/fault_injector.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "absl/synchronization/mutex.h"
#include "passthru/testing/journal/call.h"

namespace passthru::journal {

void FaultInjector::FailNth(size_t n, int error, Mode mode) {
  AddRule([](const Call& call) { return CountsAmongAll(call.name); }, n, mode,
          {.error = error});
}

void FaultInjector::FailNthOf(std::string_view name, size_t n, int error,
                              Mode mode) {
  AddRule([name = std::string(name)](
              const Call& call) { return call.name == name; },
          n, mode, {.error = error});
}

void FaultInjector::FailWhen(Predicate predicate, int error, Mode mode) {
  AddRule(std::move(predicate), 1, mode, {.error = error});
}

void FaultInjector::FailAsChosen(Chooser choose) {
  const absl::MutexLock lock(&mutex_);
  rules_.push_back({.choose = std::move(choose)});
  has_rules_ = true;
}

void FaultInjector::ShortenNthOf(std::string_view name, size_t n, size_t count,
                                 Mode mode) {
  AddRule([name = std::string(name)](
              const Call& call) { return call.name == name; },
          n, mode, {.short_count = count});
}

void FaultInjector::AddRule(Predicate matches, size_t n, Mode mode,
                            Fault fault) {
  const absl::MutexLock lock(&mutex_);
  rules_.push_back({.matches = std::move(matches),
                    .remaining = std::max<size_t>(n, 1),
                    .mode = mode,
                    .fault = fault});
  has_rules_ = true;
}

void FaultInjector::Clear() {
  const absl::MutexLock lock(&mutex_);
  rules_.clear();
  has_rules_ = false;
  injected_ = 0;
  counted_calls_ = 0;
}

size_t FaultInjector::injected() const {
  const absl::MutexLock lock(&mutex_);
  return injected_;
}

size_t FaultInjector::counted_calls() const { return counted_calls_; }

void FaultInjector::CountCall(std::string_view name) {
  if (CountsAmongAll(name)) ++counted_calls_;
}

std::optional<Fault> FaultInjector::OnCall(const Call& call) {
  CountCall(call.name);
  if (!has_rules_) return std::nullopt;
  const absl::MutexLock lock(&mutex_);
  // Every rule counts every call, so that the rules do not depend on each
  // other. The oldest rule that fires decides.
  std::optional<Fault> fault;
  for (Rule& rule : rules_) {
    if (rule.choose != nullptr) {
      const std::optional<Fault> chosen = rule.choose(call);
      if (!fault.has_value()) fault = chosen;
      continue;
    }
    if (rule.spent || !rule.matches(call)) continue;
    if (rule.remaining > 1) {
      --rule.remaining;
      continue;
    }
    rule.spent = rule.mode == Mode::kOneShot;
    if (!fault.has_value()) fault = rule.fault;
  }
  if (fault.has_value()) {
    ++injected_;
    has_rules_ = std::any_of(rules_.begin(), rules_.end(),
                             [](const Rule& rule) { return !rule.spent; });
  }
  return fault;
}

bool FaultInjector::CountsAmongAll(std::string_view name) {
  static constexpr std::array<std::string_view, 5> kExcluded = {
      "close", "munmap", "KVM_RUN", "poll", "epoll_wait"};
  return std::find(kExcluded.begin(), kExcluded.end(), name) == kExcluded.end();
}

}  // namespace passthru::journal
