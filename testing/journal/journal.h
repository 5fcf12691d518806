// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_JOURNAL_JOURNAL_H_
#define PASSTHRU_TESTING_JOURNAL_JOURNAL_H_

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

// One line of the journal: a system call with what it answered, or an event,
// something that the kernel or the hardware did without being called (an
// interrupt delivered, a DMA refused).
struct JournalEntry {
  enum class Kind { kCall, kEvent };

  uint64_t sequence = 0;
  Kind kind = Kind::kCall;
  Call call;
  int64_t result = 0;  // Of a call that succeeded.
  int error = 0;       // errno, 0 on success.

  // The field's number, or `otherwise` when there is no such field.
  int64_t Number(std::string_view field, int64_t otherwise = -1) const;
  // The field's text, or empty.
  std::string_view Text(std::string_view field) const;

  // "KVM_IRQFD(vm, fd=7, gsi=24, flags=0x0) = 0".
  std::string ToString() const;
};

std::ostream& operator<<(std::ostream& out, const JournalEntry& entry);

// Writes entries as lines in which the values that differ from run to run have
// names, in order of appearance: descriptors fd#1, fd#2, host addresses addr#1.
// A descriptor or a mapping that is given back loses its name, for its number
// comes again as something else. Two runs that did the same give the same text.
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

// Everything the code under test asked of the kernel, in order. Calls made by
// several threads are in the order in which the fake carried them out; a call
// that blocks is recorded when it returns.
//
// Thread-safe.
class Journal {
 public:
  using Predicate = std::function<bool(const JournalEntry&)>;

  Journal() = default;
  Journal(const Journal&) = delete;
  Journal& operator=(const Journal&) = delete;

  void RecordCall(Call call, int64_t result, int error);
  void RecordEvent(Call event);

  std::vector<JournalEntry> Entries() const;
  // Only those whose name is one of `names`, in order.
  std::vector<JournalEntry> EntriesNamed(
      std::initializer_list<std::string_view> names) const;
  std::vector<JournalEntry> EntriesWhere(const Predicate& predicate) const;

  // How many calls and events of that name, kept or only counted.
  size_t Count(std::string_view name) const;
  size_t CountWhere(const Predicate& predicate) const;
  // By name, calls and events apart.
  std::map<std::string, size_t> CallCounts() const;
  std::map<std::string, size_t> EventCounts() const;

  // Forgets the entries and the counts; sequence numbers go on.
  void Clear();

  // Off: entries are only counted (storms of millions of calls).
  void set_keep_entries(bool keep);

  // Every entry as a line of JournalText.
  std::string NormalizedText() const;

 private:
  void Record(JournalEntry entry) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  mutable absl::Mutex mutex_;
  std::vector<JournalEntry> entries_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, size_t> call_counts_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, size_t> event_counts_ ABSL_GUARDED_BY(mutex_);
  uint64_t next_sequence_ ABSL_GUARDED_BY(mutex_) = 1;
  bool keep_entries_ ABSL_GUARDED_BY(mutex_) = true;
};

}  // namespace passthru::journal

#endif  // PASSTHRU_TESTING_JOURNAL_JOURNAL_H_
