// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_VMM_DEMO_DEMO_TEXT_H_
#define PASSTHRU_VMM_DEMO_DEMO_TEXT_H_

#include <string>

#include "passthru/vmm/report/run_report.pb.h"

namespace passthru::vmm {

// Returns the report as text for people. It is at most 100 columns wide, and
// about a screen and a half long for one device.
std::string RenderText(const RunReport& report);

}  // namespace passthru::vmm

#endif  // PASSTHRU_VMM_DEMO_DEMO_TEXT_H_
