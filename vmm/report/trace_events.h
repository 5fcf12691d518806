// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_VMM_REPORT_TRACE_EVENTS_H_
#define PASSTHRU_VMM_REPORT_TRACE_EVENTS_H_

#include <string>

#include "passthru/vmm/report/timeline.h"

namespace passthru::vmm {

// Returns the timeline in the Trace Event Format, as its JSON Object Format,
// which chrome://tracing, Perfetto and other viewers open. A lane is a thread
// of one process. Phases, exits, calls and accesses are complete events ("X"),
// interrupts are instant events ("i"), and the names of the lanes are metadata
// events ("M"). Times are in microseconds.
std::string TraceEventsJson(const TimelineData& timeline);

// Returns the timeline as the page of html_page.h reads it.
std::string TimelineJson(const TimelineData& timeline);

}  // namespace passthru::vmm

#endif  // PASSTHRU_VMM_REPORT_TRACE_EVENTS_H_
