// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/regression/call_lines.h"

#include <linux/vfio.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/types/span.h"
#include "passthru/testing/journal/call.h"
#include "passthru/testing/journal/journal.h"
#include "passthru/testing/journal/vfio_offset.h"

namespace passthru::vmm {
namespace {

using journal::CallField;
using journal::JournalEntry;

// The most calls that a folded loop has.
constexpr size_t kMaxPeriod = 12;
// How many irregular values are listed before the list is cut.
constexpr size_t kMaxListed = 4;

constexpr std::string_view kDevice = "vfio-device ";
constexpr std::string_view kConfigRead = "pread(config";

// Returns whether the entry is a message whose call is an entry too.
bool IsEcho(const JournalEntry& entry) {
  return entry.kind == JournalEntry::Kind::kEvent &&
         entry.Text("cause") == "KVM_SIGNAL_MSI";
}

bool IsShown(const CallField& field) {
  switch (field.kind) {
    case CallField::Kind::kFd:
      // "No descriptor" means something. The first of a list is enough.
      return field.number < 0 &&
             (field.name == "fd[0]" || !absl::StartsWith(field.name, "fd["));
    case CallField::Kind::kHostAddress:
      return false;
    default:
      return field.name != "argsz";
  }
}

// A call or an event, split into what must be the same in two turns of a loop
// and the fields, whose numbers may differ.
struct Item {
  std::string shape;
  std::vector<CallField> fields;  // only those that are shown
  std::string before;             // "* name(subject"
  std::string after;              // " = EBUSY"
};

std::string ResultText(const JournalEntry& entry) {
  if (entry.kind == JournalEntry::Kind::kEvent) return "";
  if (entry.error != 0) {
    const char* const name = ::strerrorname_np(entry.error);
    return name == nullptr ? absl::StrCat(" = errno ", entry.error)
                           : absl::StrCat(" = ", name);
  }
  // Success is not printed, and neither is a transfer of full length.
  if (entry.call.result_kind != CallField::Kind::kNumber || entry.result == 0 ||
      entry.result == entry.Number("count") || entry.call.name == "readdir" ||
      entry.call.name == "readlink") {
    return "";
  }
  return absl::StrCat(" = ", entry.result);
}

Item MakeItem(const JournalEntry& entry) {
  Item item;
  std::string subject = entry.call.subject;
  const bool on_device = absl::StartsWith(subject, kDevice);
  if (on_device) subject = "device";
  for (CallField field : entry.call.fields) {
    if (!IsShown(field)) continue;
    if (on_device && field.name == "offset") {
      const auto at = static_cast<uint64_t>(field.number);
      const uint32_t region = journal::RegionOf(at);
      subject = region == VFIO_PCI_CONFIG_REGION_INDEX
                    ? "config"
                    : absl::StrCat("region ", region);
      field.number = static_cast<int64_t>(journal::OffsetOf(at));
    }
    item.fields.push_back(std::move(field));
  }
  item.before =
      absl::StrCat(entry.kind == JournalEntry::Kind::kEvent ? "* " : "",
                   entry.call.name, "(", subject);
  item.after = ResultText(entry);
  item.shape = absl::StrCat(item.before, item.after);
  for (const CallField& field : item.fields) {
    absl::StrAppend(&item.shape, ",", field.name, "=", field.text);
  }
  return item;
}

// Returns whether the call has no effect that a device or a guest could see.
bool IsOnlyCounted(const JournalEntry& entry, const Item& item) {
  return entry.call.name == "eventfd" || entry.call.name == "poll" ||
         entry.call.subject == "eventfd" || item.before == kConfigRead;
}

std::string Number(const CallField& field, int64_t value) {
  return field.kind == CallField::Kind::kHex
             ? absl::StrFormat("0x%x", static_cast<uint64_t>(value))
             : absl::StrCat(value);
}

// Returns one field's values over all turns, for example "3", "0..8",
// "0x30..0x70 step 0x10" or "4|16|6|9|...|60".
std::string Values(const CallField& field, absl::Span<const int64_t> values) {
  if (std::ranges::all_of(values,
                          [&](int64_t v) { return v == values.front(); })) {
    return Number(field, values.front());
  }
  // The difference of any two unsigned values is defined.
  const auto step =
      static_cast<uint64_t>(values[1]) - static_cast<uint64_t>(values[0]);
  bool regular = true;
  for (size_t i = 1; i < values.size(); ++i) {
    regular = regular && static_cast<uint64_t>(values[i]) -
                                 static_cast<uint64_t>(values[i - 1]) ==
                             step;
  }
  if (regular && values.size() > 2) {
    std::string range = absl::StrCat(Number(field, values.front()), "..",
                                     Number(field, values.back()));
    if (step != 1 && static_cast<int64_t>(step) > 0) {
      absl::StrAppend(&range, " step ",
                      Number(field, static_cast<int64_t>(step)));
    }
    return range;
  }
  std::string list;
  for (size_t i = 0; i < values.size(); ++i) {
    if (i >= kMaxListed && i + 1 < values.size()) continue;
    if (i > 0) absl::StrAppend(&list, "|");
    if (i > kMaxListed) absl::StrAppend(&list, "...|");
    absl::StrAppend(&list, Number(field, values[i]));
  }
  return list;
}

// Returns the line of one call of a loop, which is items[first] in the first of
// `turns` turns, items[first + period] in the second, and so on.
std::string Line(absl::Span<const Item> items, size_t first, size_t period,
                 size_t turns) {
  const Item& item = items[first];
  std::string line = item.before;
  bool is_first = line.back() == '(';
  for (size_t f = 0; f < item.fields.size(); ++f) {
    const CallField& field = item.fields[f];
    absl::StrAppend(&line, is_first ? "" : ", ", field.name, "=");
    is_first = false;
    if (field.kind == CallField::Kind::kText) {
      absl::StrAppend(&line, field.text);
      continue;
    }
    std::vector<int64_t> values;
    for (size_t turn = 0; turn < turns; ++turn) {
      values.push_back(items[first + turn * period].fields[f].number);
    }
    absl::StrAppend(&line, Values(field, values));
  }
  return absl::StrCat(line, ")", item.after);
}

// Returns how many turns a loop of `period` calls has that begins at `first`.
size_t Turns(absl::Span<const Item> items, size_t first, size_t period) {
  size_t end = first + period;
  while (end < items.size() && items[end].shape == items[end - period].shape) {
    ++end;
  }
  return end > items.size() ? 0 : (end - first) / period;
}

}  // namespace

std::vector<std::string> CallLines(
    const std::vector<journal::JournalEntry>& entries) {
  std::vector<Item> items;
  std::map<std::string, int> counts;
  for (const JournalEntry& entry : entries) {
    if (entry.call.Waits() || IsEcho(entry)) continue;
    Item item = MakeItem(entry);
    if (IsOnlyCounted(entry, item)) {
      const std::string name = item.before == kConfigRead
                                   ? absl::StrCat(kConfigRead, ")")
                                   : entry.call.name;
      ++counts[absl::StrCat(name, item.after)];
    } else {
      items.push_back(std::move(item));
    }
  }
  std::vector<std::string> lines;
  size_t first = 0;
  while (first < items.size()) {
    // Take the loop that covers most calls, and the shortest of several.
    size_t period = 1;
    size_t turns = 1;
    for (size_t candidate = 1; candidate <= kMaxPeriod; ++candidate) {
      const size_t count = Turns(items, first, candidate);
      if (count > 1 && count * candidate > turns * period) {
        period = candidate;
        turns = count;
      }
    }
    if (period == 1) {
      const std::string times = turns == 1 ? "" : absl::StrCat(turns, "x ");
      lines.push_back(absl::StrCat(times, Line(items, first, 1, turns)));
    } else {
      lines.push_back(absl::StrCat(turns, "x"));
      for (size_t i = 0; i < period; ++i) {
        lines.push_back(
            absl::StrCat("  ", Line(items, first + i, period, turns)));
      }
    }
    first += period * turns;
  }
  if (!counts.empty()) {
    lines.push_back(
        absl::StrJoin(counts, ", ", [](std::string* out, const auto& call) {
          absl::StrAppend(out, call.second, " ", call.first);
        }));
  }
  return lines;
}

size_t CallCount(const std::vector<JournalEntry>& entries) {
  return std::ranges::count_if(entries, [](const JournalEntry& entry) {
    return entry.kind == JournalEntry::Kind::kCall && !entry.call.Waits();
  });
}

}  // namespace passthru::vmm
