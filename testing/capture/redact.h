// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_CAPTURE_REDACT_H_
#define PASSTHRU_TESTING_CAPTURE_REDACT_H_

#include "passthru/testing/fixture/device.pb.h"

namespace passthru::capture {

// Replaces by zeros what tells this device from another of its kind, and
// records each replacement in `redactions`. This concerns the Device Serial
// Number capability, serial number and vendor's fields of the Vital Product
// Data, and the expansion ROM behind its signature. Does not look at the
// contents of BARs.
void RedactIdentity(fixture::PciDevice& device);

}  // namespace passthru::capture

#endif  // PASSTHRU_TESTING_CAPTURE_REDACT_H_
