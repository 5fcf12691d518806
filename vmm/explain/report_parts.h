// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_VMM_EXPLAIN_REPORT_PARTS_H_
#define PASSTHRU_VMM_EXPLAIN_REPORT_PARTS_H_

#include <string>

#include "passthru/pci/bdf.h"
#include "passthru/vmm/explain/attachment.h"
#include "passthru/vmm/explain/explain_report.pb.h"

namespace passthru::explain {

// Converts what was seen of a device to its report, without changes and offers.
Report MakeReport(const Attachment& seen, pci::Bdf device, std::string source);

// Adds the options that would change something of this device.
void AddOffers(const Attachment& seen, Report& report);

}  // namespace passthru::explain

#endif  // PASSTHRU_VMM_EXPLAIN_REPORT_PARTS_H_
