// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/journal/journal.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <iterator>
#include <map>
#include <ostream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/synchronization/mutex.h"
#include "passthru/testing/journal/call.h"

namespace passthru::journal {
namespace {

using ValueText = absl::FunctionRef<std::string(CallField::Kind, int64_t)>;

std::string PlainValue(CallField::Kind kind, int64_t number) {
  return kind == CallField::Kind::kHex || kind == CallField::Kind::kHostAddress
             ? absl::StrFormat("0x%x", static_cast<uint64_t>(number))
             : absl::StrCat(number);
}

std::string FormatResult(const JournalEntry& entry, ValueText value) {
  if (entry.error == 0) return value(entry.call.result_kind, entry.result);
  const char* const name = ::strerrorname_np(entry.error);
  return name == nullptr ? absl::StrCat("errno ", entry.error) : name;
}

std::string Format(const JournalEntry& entry, ValueText value) {
  std::string text = entry.kind == JournalEntry::Kind::kEvent
                         ? absl::StrCat("* ", entry.call.name)
                         : entry.call.name;
  std::string separator = "(";
  if (!entry.call.subject.empty()) {
    absl::StrAppend(&text, separator, entry.call.subject);
    separator = ", ";
  }
  for (const CallField& field : entry.call.fields) {
    absl::StrAppend(&text, separator, field.name, "=",
                    field.kind == CallField::Kind::kText
                        ? field.text
                        : value(field.kind, field.number));
    separator = ", ";
  }
  absl::StrAppend(&text, separator == "(" ? "()" : ")");
  if (entry.kind == JournalEntry::Kind::kCall) {
    absl::StrAppend(&text, " = ", FormatResult(entry, value));
  }
  return text;
}

}  // namespace

int64_t JournalEntry::Number(std::string_view field, int64_t otherwise) const {
  const CallField* const found = call.Find(field);
  return found == nullptr || found->kind == CallField::Kind::kText
             ? otherwise
             : found->number;
}

std::string_view JournalEntry::Text(std::string_view field) const {
  const CallField* const found = call.Find(field);
  return found == nullptr ? std::string_view() : found->text;
}

std::string JournalEntry::ToString() const { return Format(*this, PlainValue); }

std::ostream& operator<<(std::ostream& out, const JournalEntry& entry) {
  return out << '#' << entry.sequence << ' ' << entry.ToString();
}

std::string JournalText::Names::NameOf(int64_t value) {
  const auto [found, inserted] = names_.try_emplace(value);
  if (inserted) found->second = absl::StrCat(prefix_, "#", ++given_);
  return found->second;
}

std::string JournalText::Value(CallField::Kind kind, int64_t number) {
  // -1 and null have a meaning and stay unchanged.
  if (kind == CallField::Kind::kFd && number >= 0) return fds_.NameOf(number);
  if (kind == CallField::Kind::kHostAddress && number != 0) {
    return addresses_.NameOf(number);
  }
  return PlainValue(kind, number);
}

std::string JournalText::Line(const JournalEntry& entry) {
  std::string line =
      Format(entry, [this](CallField::Kind kind, int64_t number) {
        return Value(kind, number);
      });
  if (entry.error != 0) return line;
  if (entry.call.name == "close") fds_.Forget(entry.Number("fd"));
  if (entry.call.name == "munmap") addresses_.Forget(entry.Number("addr"));
  return line;
}

void Journal::RecordCall(Call call, int64_t result, int error) {
  if (!uses_entries()) {
    CountCall(call.name);
    return;
  }
  const absl::MutexLock lock(&mutex_);
  ++call_counts_[call.name];
  Record({.kind = JournalEntry::Kind::kCall,
          .call = std::move(call),
          .result = result,
          .error = error});
}

void Journal::CountCall(std::string_view name) {
  const absl::MutexLock lock(&mutex_);
  ++next_sequence_;
  const auto found = call_counts_.find(name);
  if (found != call_counts_.end()) {
    ++found->second;
  } else {
    call_counts_.emplace(name, 1);
  }
}

void Journal::RecordEvent(Call event) {
  const absl::MutexLock lock(&mutex_);
  ++event_counts_[event.name];
  Record({.kind = JournalEntry::Kind::kEvent, .call = std::move(event)});
}

void Journal::Record(JournalEntry entry) {
  entry.sequence = next_sequence_++;
  if (sink_ != nullptr) sink_(entry);
  if (keep_entries_) entries_.push_back(std::move(entry));
}

std::vector<JournalEntry> Journal::Entries() const {
  const absl::MutexLock lock(&mutex_);
  return entries_;
}

std::vector<JournalEntry> Journal::EntriesNamed(
    std::initializer_list<std::string_view> names) const {
  const std::vector<std::string_view> wanted(names);
  return EntriesWhere([&wanted](const JournalEntry& entry) {
    return std::find(wanted.begin(), wanted.end(), entry.call.name) !=
           wanted.end();
  });
}

std::vector<JournalEntry> Journal::EntriesWhere(
    const Predicate& predicate) const {
  const absl::MutexLock lock(&mutex_);
  std::vector<JournalEntry> found;
  std::copy_if(entries_.begin(), entries_.end(), std::back_inserter(found),
               predicate);
  return found;
}

size_t Journal::Count(std::string_view name) const {
  const absl::MutexLock lock(&mutex_);
  size_t count = 0;
  for (const auto* counts : {&call_counts_, &event_counts_}) {
    const auto found = counts->find(name);
    if (found != counts->end()) count += found->second;
  }
  return count;
}

size_t Journal::CountWhere(const Predicate& predicate) const {
  const absl::MutexLock lock(&mutex_);
  return static_cast<size_t>(
      std::count_if(entries_.begin(), entries_.end(), predicate));
}

std::map<std::string, size_t> Journal::CallCounts() const {
  const absl::MutexLock lock(&mutex_);
  return {call_counts_.begin(), call_counts_.end()};
}

std::map<std::string, size_t> Journal::EventCounts() const {
  const absl::MutexLock lock(&mutex_);
  return {event_counts_.begin(), event_counts_.end()};
}

void Journal::Clear() {
  const absl::MutexLock lock(&mutex_);
  entries_.clear();
  call_counts_.clear();
  event_counts_.clear();
}

void Journal::set_sink(std::function<void(const JournalEntry&)> sink) {
  const absl::MutexLock lock(&mutex_);
  sink_ = std::move(sink);
  has_sink_ = sink_ != nullptr;
}

std::string Journal::NormalizedText() const {
  JournalText writer;
  std::string text;
  for (const JournalEntry& entry : Entries()) {
    absl::StrAppend(&text, writer.Line(entry), "\n");
  }
  return text;
}

}  // namespace passthru::journal
