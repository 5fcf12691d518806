// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_VMM_EXPLAIN_EXPLAIN_TEXT_H_
#define PASSTHRU_VMM_EXPLAIN_EXPLAIN_TEXT_H_

#include <string>

#include "passthru/vmm/explain/explain_report.pb.h"

namespace passthru::explain {

// Returns the report as text for people, in lines of at most 100 columns. Of
// the registers it has those that differ, or all of them.
std::string RenderText(const Report& report, bool all_registers);

}  // namespace passthru::explain

#endif  // PASSTHRU_VMM_EXPLAIN_EXPLAIN_TEXT_H_
