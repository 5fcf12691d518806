// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/report/trace_events.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "passthru/vmm/report/json_text.h"

namespace passthru::vmm {
namespace {

constexpr int kProcess = 1;

std::string Microseconds(int64_t nanoseconds) {
  return absl::StrFormat("%.3f", static_cast<double>(nanoseconds) / 1000);
}

std::string Metadata(std::string_view what, size_t thread,
                     std::string_view name) {
  return absl::StrFormat(
      R"({"name":%s,"cat":"__metadata","ph":"M","ts":0,"pid":%d,"tid":%d,)"
      R"("args":{"name":%s}})",
      JsonString(what), kProcess, thread, JsonString(name));
}

std::string Complete(std::string_view name, std::string_view category,
                     int64_t begin, int64_t duration, size_t thread,
                     std::string_view arguments) {
  return absl::StrFormat(
      R"({"name":%s,"cat":%s,"ph":"X","ts":%s,"dur":%s,"pid":%d,"tid":%d,)"
      R"("args":%s})",
      JsonString(name), JsonString(category), Microseconds(begin),
      Microseconds(duration), kProcess, thread, arguments);
}

std::string Instant(std::string_view name, std::string_view category,
                    int64_t at, size_t thread, std::string_view arguments) {
  return absl::StrFormat(
      R"({"name":%s,"cat":%s,"ph":"i","s":"t","ts":%s,"pid":%d,"tid":%d,)"
      R"("args":%s})",
      JsonString(name), JsonString(category), Microseconds(at), kProcess,
      thread, arguments);
}

}  // namespace

std::string TraceEventsJson(const TimelineData& timeline) {
  // Thread 0 has the phases, and each lane the thread after it.
  std::vector<std::string> events = {
      Metadata("process_name", 0, "passthru"),
      Metadata("thread_name", 0, "phases"),
  };
  for (size_t i = 0; i < timeline.lanes.size(); ++i) {
    events.push_back(Metadata("thread_name", i + 1, timeline.lanes[i]));
  }
  if (timeline.gap.left_out != 0) {
    events.push_back(Complete(
        absl::StrCat(timeline.gap.left_out, " events left out"), "gap",
        timeline.gap.begin, timeline.gap.end - timeline.gap.begin, 0, "{}"));
  }
  for (const TimelinePhase& phase : timeline.phases) {
    events.push_back(Complete(phase.name, "phase", phase.begin,
                              phase.end - phase.begin, 0, "{}"));
  }
  for (const TimelineEvent& event : timeline.events) {
    const std::string arguments = absl::StrFormat(
        R"({"detail":%s,"failed":%s})", JsonString(event.detail),
        event.failed ? "true" : "false");
    events.push_back(event.kind == TimelineKind::kInterrupt
                         ? Instant(event.name, Name(event.kind), event.begin,
                                   event.lane + 1, arguments)
                         : Complete(event.name, Name(event.kind), event.begin,
                                    event.duration, event.lane + 1, arguments));
  }
  return absl::StrCat("{\"displayTimeUnit\":\"ns\",\"traceEvents\":[\n",
                      absl::StrJoin(events, ",\n"), "\n]}\n");
}

std::string TimelineJson(const TimelineData& timeline) {
  const auto append_phase = [](std::string* out, const TimelinePhase& phase) {
    absl::StrAppend(out, "[", JsonString(phase.name), ",", phase.begin, ",",
                    phase.end, "]");
  };
  const auto append_lane = [](std::string* out, const std::string& lane) {
    absl::StrAppend(out, JsonString(lane));
  };
  const auto append_event = [](std::string* out, const TimelineEvent& event) {
    absl::StrAppend(out, "[", JsonString(Name(event.kind)), ",", event.lane,
                    ",", event.begin, ",", event.duration, ",",
                    JsonString(event.name), ",", JsonString(event.detail), ",",
                    event.failed ? 1 : 0, "]");
  };
  return absl::StrCat(
      "{\"lanes\":[", absl::StrJoin(timeline.lanes, ",", append_lane),
      "],\"phases\":[", absl::StrJoin(timeline.phases, ",", append_phase),
      "],\n\"gap\":[", timeline.gap.left_out, ",", timeline.gap.begin, ",",
      timeline.gap.end, "],\n\"events\":[\n",
      absl::StrJoin(timeline.events, ",\n", append_event), "]}");
}

}  // namespace passthru::vmm
