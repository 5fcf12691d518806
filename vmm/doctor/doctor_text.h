// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_VMM_DOCTOR_DOCTOR_TEXT_H_
#define PASSTHRU_VMM_DOCTOR_DOCTOR_TEXT_H_

#include <string>

#include "passthru/vmm/doctor/doctor_report.pb.h"

namespace passthru::doctor {

// How much of a report to show.
enum class Detail {
  kBrief,   // of devices, what keeps them from being passed through
  kNormal,  // every finding, and how it is known unless it is OK
  kAll,     // how every finding is known
};

// Returns the report as text for people, in lines of at most 100 columns.
// Commands may be longer.
std::string RenderText(const Report& report, Detail detail);

}  // namespace passthru::doctor

#endif  // PASSTHRU_VMM_DOCTOR_DOCTOR_TEXT_H_
