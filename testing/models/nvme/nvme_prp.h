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

// Finds the buffer that a command's PRP entries describe (NVMe 1.4, 4.3):
// entry 1 with an offset into its page, then entry 2 as the second page or as
// a list of pages, whose last entry leads to a further list.
//
// `length` must be bounded by the caller (MDTS): the walk reads at most one
// list page for each page of data and one more. Fills `segments` on success.
Status ResolvePrps(DevicePlatform& host, const Command& command,
                   uint64_t length, uint64_t page_size,
                   std::vector<Segment>& segments);

// Moves `data` to or from the buffer of the command. Data Transfer Error when
// the platform refuses any of it; some of it may have been moved by then.
Status WriteToHost(DevicePlatform& host, const Command& command,
                   uint64_t page_size, absl::Span<const uint8_t> data);
Status ReadFromHost(DevicePlatform& host, const Command& command,
                    uint64_t page_size, absl::Span<uint8_t> data);

}  // namespace passthru::models::nvme

#endif  // PASSTHRU_TESTING_MODELS_NVME_NVME_PRP_H_
