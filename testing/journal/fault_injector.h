// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_JOURNAL_FAULT_INJECTOR_H_
#define PASSTHRU_TESTING_JOURNAL_FAULT_INJECTOR_H_

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

// What is done to a call instead of (an error), or before (a shorter count),
// carrying it out.
struct Fault {
  int error = 0;                      // errno.
  std::optional<size_t> short_count;  // read, write, pread, pwrite.
};

// Makes chosen calls fail as the kernel might: the nth of all, the nth of a
// kind, or whichever a predicate picks. A call that fails has no effect, with
// one exception, close(2), which Linux carries out also when it reports an
// error.
//
// Rules are numbered from 1 and count from when they are added. One-shot rules
// disarm when they fire; sticky rules go on failing every later match.
//
// "The nth of all" counts the calls that a caller must expect to fail: close
// and munmap, whose failure nobody can act on, are not among them, nor are the
// waits (KVM_RUN, poll, epoll_wait). Rules by name or predicate reach every
// call.
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
  // `name` as the journal shows it: "KVM_IRQFD", "mmap".
  void FailNthOf(std::string_view name, size_t n, int error,
                 Mode mode = Mode::kOneShot);
  void FailWhen(Predicate predicate, int error, Mode mode = Mode::kOneShot);
  // `choose` is shown every call until Clear() and says which fail, and how.
  using Chooser = std::function<std::optional<Fault>(const Call&)>;
  void FailAsChosen(Chooser choose);
  // The nth read, write, pread or pwrite (of that name) stops after `count`
  // bytes if it was longer.
  void ShortenNthOf(std::string_view name, size_t n, size_t count,
                    Mode mode = Mode::kOneShot);

  void Clear();

  // How many faults were injected, and how many calls "of all" were seen, since
  // construction or Clear(): a loop over n ends when a run injects none.
  size_t injected() const;
  size_t counted_calls() const;

  // The kernel's question before it carries out a call.
  std::optional<Fault> OnCall(const Call& call);

  // Whether FailNth() counts calls of this name.
  static bool CountsAmongAll(std::string_view name);

 private:
  struct Rule {
    Chooser choose;  // If set, the rest is not used.
    Predicate matches;
    size_t remaining = 1;  // Fires when a match brings it to 0.
    Mode mode = Mode::kOneShot;
    Fault fault;
    bool spent = false;
  };

  void AddRule(Predicate matches, size_t n, Mode mode, Fault fault);

  mutable absl::Mutex mutex_;
  std::vector<Rule> rules_ ABSL_GUARDED_BY(mutex_);
  size_t injected_ ABSL_GUARDED_BY(mutex_) = 0;
  size_t counted_calls_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace passthru::journal

#endif  // PASSTHRU_TESTING_JOURNAL_FAULT_INJECTOR_H_
