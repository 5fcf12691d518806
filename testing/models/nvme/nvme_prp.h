// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_MODELS_NVME_NVME_PRP_H_
#define PASSTHRU_TESTING_MODELS_NVME_NVME_PRP_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "passthru/testing/models/device_platform.h"
#include "passthru/testing/models/nvme/nvme_spec.h"

namespace passthru::models::nvme {

// A contiguous part of a command's data buffer.
struct Segment {
  uint64_t address;
  uint64_t length;
  friend bool operator==(const Segment&, const Segment&) = default;
};

// Finds the buffer that a command's PRP entries describe (NVMe 1.4, 4.3). Entry
// 1 may have an offset into its page. Entry 2 is the second page or a list of
// pages, whose last entry may point to a further list.
//
// The caller must bound `length` (MDTS). The walk reads at most one list page
// for each page of data and one more. Fills `segments` on success.
Status ResolvePrps(DevicePlatform& host, const Command& command,
                   uint64_t length, uint64_t page_size,
                   std::vector<Segment>& segments);

// Move `data` to or from the buffer of the command. They return Data Transfer
// Error if the platform refuses any of it, and may have moved a part by then.
Status WriteToHost(DevicePlatform& host, const Command& command,
                   uint64_t page_size, absl::Span<const uint8_t> data);
Status ReadFromHost(DevicePlatform& host, const Command& command,
                    uint64_t page_size, absl::Span<uint8_t> data);

}  // namespace passthru::models::nvme

#endif  // PASSTHRU_TESTING_MODELS_NVME_NVME_PRP_H_
