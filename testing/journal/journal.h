// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_JOURNAL_JOURNAL_H_
#define PASSTHRU_TESTING_JOURNAL_JOURNAL_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <map>
#include <ostream>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "passthru/testing/journal/call.h"

namespace passthru::journal {

// One line of the journal. It is a system call with its result, or an event. An
// event is something that the kernel or the hardware did without a call, such
// as the delivery of an interrupt or the refusal of a DMA access.
struct JournalEntry {
  enum class Kind { kCall, kEvent };

  uint64_t sequence = 0;
  Kind kind = Kind::kCall;
  Call call;
  int64_t result = 0;  // Of a successful call.
  int error = 0;       // An errno, or 0 on success.

  // Returns the number of `field`, or `otherwise` if there is no such field.
  int64_t Number(std::string_view field, int64_t otherwise = -1) const;
  // Returns the text of `field`, or an empty string.
  std::string_view Text(std::string_view field) const;

  // Returns a string like "KVM_IRQFD(vm, fd=7, gsi=24, flags=0x0) = 0".
  std::string ToString() const;
};

std::ostream& operator<<(std::ostream& out, const JournalEntry& entry);

// Writes entries as lines in which the values that differ from run to run are
// renamed in order of appearance: descriptors to fd#1 and fd#2, host addresses
// to addr#1. A closed descriptor and an unmapped address lose their name,
// because the kernel may reuse the number for another object. Two runs that
// make the same calls give the same text.
//
// Thread-compatible.
class JournalText {
 public:
  std::string Line(const JournalEntry& entry);

 private:
  class Names {
   public:
    explicit Names(std::string_view prefix) : prefix_(prefix) {}
    std::string NameOf(int64_t value);
    void Forget(int64_t value) { names_.erase(value); }

   private:
    const std::string prefix_;
    size_t given_ = 0;
    std::map<int64_t, std::string> names_;
  };

  std::string Value(CallField::Kind kind, int64_t number);

  Names fds_{"fd"};
  Names addresses_{"addr"};
};

// Records every call that the code under test made to the kernel, in order.
// Calls of several threads are in the order in which the fake carried them out.
// A call that blocks is recorded when it returns.
//
// Thread-safe.
class Journal {
 public:
  using Predicate = std::function<bool(const JournalEntry&)>;

  Journal() = default;
  Journal(const Journal&) = delete;
  Journal& operator=(const Journal&) = delete;

  void RecordCall(Call call, int64_t result, int error);
  // Counts a call of whose entry nothing becomes (see uses_entries()).
  void CountCall(std::string_view name);
  void RecordEvent(Call event);

  std::vector<JournalEntry> Entries() const;
  // Returns only the entries whose name is one of `names`, in order.
  std::vector<JournalEntry> EntriesNamed(
      std::initializer_list<std::string_view> names) const;
  std::vector<JournalEntry> EntriesWhere(const Predicate& predicate) const;

  // Returns the number of calls and events of that name, including those whose
  // entries were not kept.
  size_t Count(std::string_view name) const;
  size_t CountWhere(const Predicate& predicate) const;
  // Return the counts by name.
  std::map<std::string, size_t> CallCounts() const;
  std::map<std::string, size_t> EventCounts() const;

  // Forgets the entries and the counts. Sequence numbers continue.
  void Clear();

  // Sets whether to keep entries. If false, the journal only counts them, which
  // suits tests with millions of calls.
  void set_keep_entries(bool keep) { keep_entries_ = keep; }
  // Returns whether anything becomes of an entry, here or in a sink.
  bool uses_entries() const { return keep_entries_ || has_sink_; }

  // Sets a function that is called with every later entry, or null for none. It
  // must not call the journal.
  void set_sink(std::function<void(const JournalEntry&)> sink);

  // Returns every entry as a line of JournalText.
  std::string NormalizedText() const;

 private:
  void Record(JournalEntry entry) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  mutable absl::Mutex mutex_;
  std::vector<JournalEntry> entries_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, size_t, std::less<>> call_counts_
      ABSL_GUARDED_BY(mutex_);
  std::map<std::string, size_t, std::less<>> event_counts_
      ABSL_GUARDED_BY(mutex_);
  uint64_t next_sequence_ ABSL_GUARDED_BY(mutex_) = 1;
  std::function<void(const JournalEntry&)> sink_ ABSL_GUARDED_BY(mutex_);
  std::atomic<bool> keep_entries_ = true;
  std::atomic<bool> has_sink_ = false;
};

}  // namespace passthru::journal

#endif  // PASSTHRU_TESTING_JOURNAL_JOURNAL_H_
