// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_MODELS_NVME_NVME_COMMAND_OUTCOME_H_
#define PASSTHRU_TESTING_MODELS_NVME_NVME_COMMAND_OUTCOME_H_

#include <cstdint>

#include "passthru/testing/models/device_platform.h"
#include "passthru/testing/models/nvme/nvme_spec.h"

namespace passthru::models::nvme {

// The result of a command.
struct Outcome {
  Status status;
  uint32_t result = 0;
  // Whether the controller holds the command and completes it only when there
  // is an event to report.
  bool parked = false;
};

// What a command may use besides its own bytes.
struct CommandContext {
  DevicePlatform& host;
  uint64_t page_size;      // CC.MPS.
  bool message_signalled;  // Whether MSI-X or MSI is enabled.
};

}  // namespace passthru::models::nvme

#endif  // PASSTHRU_TESTING_MODELS_NVME_NVME_COMMAND_OUTCOME_H_
