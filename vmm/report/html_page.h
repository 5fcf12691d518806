// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_VMM_REPORT_HTML_PAGE_H_
#define PASSTHRU_VMM_REPORT_HTML_PAGE_H_

#include <string>
#include <string_view>

#include "passthru/vmm/report/timeline.h"

namespace passthru::vmm {

// Returns one page of HTML with all that it needs, which shows a report and a
// timeline. `report_json` is a RunReport (vmm/report/run_report.proto) in JSON
// with the field names of the proto.
//
// The page loads nothing from elsewhere, and its policy (CSP) forbids it. Text
// that a device or a file chose is data in it, and never markup.
std::string HtmlPage(std::string_view report_json,
                     const TimelineData& timeline);

}  // namespace passthru::vmm

#endif  // PASSTHRU_VMM_REPORT_HTML_PAGE_H_
