// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_VMM_DEMO_DEMO_TEXT_H_
#define PASSTHRU_VMM_DEMO_DEMO_TEXT_H_

#include <string>

#include "passthru/vmm/demo/demo_report.pb.h"

namespace passthru::vmm {

// The report for people: about a screen and a half, 100 columns at most.
std::string RenderText(const DemoReport& report);

}  // namespace passthru::vmm

#endif  // PASSTHRU_VMM_DEMO_DEMO_TEXT_H_
