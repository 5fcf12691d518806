// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_JOURNAL_FAULT_INJECTOR_H_
#define PASSTHRU_TESTING_JOURNAL_FAULT_INJECTOR_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "passthru/testing/journal/call.h"

namespace passthru::journal {

// How a call fails. It either returns an error without being carried out, or it
// transfers fewer bytes than the caller asked for.
struct Fault {
  int error = 0;                      // An errno.
  std::optional<size_t> short_count;  // For read, write, pread, pwrite.
};

// Makes chosen calls fail as the kernel might: the nth of all calls, the nth
// call of a name, or the calls that a predicate picks. A failed call has no
// effect. The exception is close(2), which Linux carries out even when it
// reports an error.
//
// Each rule counts matching calls from 1, beginning when the rule is added. A
// one-shot rule disarms when it fires. A sticky rule fails every later match
// too.
//
// FailNth() counts only the calls whose failure a caller must expect. It leaves
// out close and munmap, after whose failure a caller can do nothing, and the
// calls that wait (KVM_RUN, poll, epoll_wait). Rules by name or predicate reach
// every call.
//
// Thread-safe.
class FaultInjector {
 public:
  using Predicate = std::function<bool(const Call&)>;
  enum class Mode { kOneShot, kSticky };

  FaultInjector() = default;
  FaultInjector(const FaultInjector&) = delete;
  FaultInjector& operator=(const FaultInjector&) = delete;

  void FailNth(size_t n, int error, Mode mode = Mode::kOneShot);
  // `name` is the name in the journal, such as "KVM_IRQFD" or "mmap".
  void FailNthOf(std::string_view name, size_t n, int error,
                 Mode mode = Mode::kOneShot);
  void FailWhen(Predicate predicate, int error, Mode mode = Mode::kOneShot);
  // Shows `choose` every call until Clear(). It decides which calls fail and
  // how.
  using Chooser = std::function<std::optional<Fault>(const Call&)>;
  void FailAsChosen(Chooser choose);
  // Ends the nth call of `name` (read, write, pread or pwrite) after `count`
  // bytes if the call asked for more.
  void ShortenNthOf(std::string_view name, size_t n, size_t count,
                    Mode mode = Mode::kOneShot);

  void Clear();

  // Return how many failures were injected, and how many calls FailNth() would
  // count, since construction or Clear(). A loop over n can end when a run
  // injects no failure.
  size_t injected() const;
  size_t counted_calls() const;

  // Returns whether there are rules that may still fire. These may look at
  // every part of a call.
  bool has_rules() const { return has_rules_; }

  // Returns how `call` must fail, if it must. The kernel calls this before it
  // carries out a call.
  std::optional<Fault> OnCall(const Call& call);
  // Does the same for a call that none of the rules can make fail, because
  // there are none (see has_rules()).
  void CountCall(std::string_view name);

  // Returns whether FailNth() counts calls of this name.
  static bool CountsAmongAll(std::string_view name);

 private:
  struct Rule {
    Chooser choose;  // If set, the other members are unused.
    Predicate matches;
    size_t remaining = 1;  // The rule fires when a match brings it to 0.
    Mode mode = Mode::kOneShot;
    Fault fault;
    bool spent = false;
  };

  void AddRule(Predicate matches, size_t n, Mode mode, Fault fault);

  mutable absl::Mutex mutex_;
  std::vector<Rule> rules_ ABSL_GUARDED_BY(mutex_);
  size_t injected_ ABSL_GUARDED_BY(mutex_) = 0;
  // These are read without the mutex, because most kernels have no rules.
  std::atomic<bool> has_rules_ = false;
  std::atomic<size_t> counted_calls_ = 0;
};

}  // namespace passthru::journal

#endif  // PASSTHRU_TESTING_JOURNAL_FAULT_INJECTOR_H_
