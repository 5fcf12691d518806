// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/report/html_page.h"

#include "absl/strings/str_replace.h"
#include "passthru/vmm/report/json_text.h"
#include "passthru/vmm/report/page_text.h"
#include "passthru/vmm/report/trace_events.h"

namespace passthru::vmm {

std::string HtmlPage(std::string_view report_json,
                     const TimelineData& timeline) {
  // One pass, so that no marker in the data is replaced.
  return absl::StrReplaceAll(
      kPageHtml, {{"{{STYLE}}", kPageCss},
                  {"{{SCRIPT}}", kPageJs},
                  {"{{REPORT}}", JsonInHtml(report_json)},
                  {"{{TIMELINE}}", JsonInHtml(TimelineJson(timeline))}});
}

}  // namespace passthru::vmm
