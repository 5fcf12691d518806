// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/models/nvme/nvme_cmb.h"

#include "passthru/testing/models/nvme/nvme_spec.h"

namespace passthru::models::nvme {
namespace {

// CMBLOC: the BAR, and that lists of data may be in the buffer while the data
// is not, and in part.
constexpr uint32_t kCmbloc = 2 | 1u << 5 | 1u << 6;
// CMBSZ: submission queues, lists, read and write data, in units of 1 MiB.
constexpr uint32_t kCmbszWithoutSize =
    1u << 0 | 1u << 2 | 1u << 3 | 1u << 4 | 2u << 8;
constexpr uint32_t kAddressInvalid = 1;  // CMBSTS.CBAI.
constexpr uint64_t kReserved = 0xffc;    // In CMBMSC.

}  // namespace

uint64_t ControllerMemory::base() const { return control_ & ~uint64_t{0xfff}; }

bool ControllerMemory::Contains(uint64_t address, uint64_t size) const {
  return exists() && (control_ & kCmbmscRegistersEnabled) != 0 &&
         (control_ & kCmbmscSpaceEnabled) != 0 && !overflows() &&
         address >= base() && address - base() <= bytes_ &&
         size <= bytes_ - (address - base());
}

uint32_t ControllerMemory::Read(uint64_t offset) const {
  if (!exists()) return 0;
  const bool shown = (control_ & kCmbmscRegistersEnabled) != 0;
  switch (offset) {
    case kRegCmbloc:
      return shown ? kCmbloc : 0;
    case kRegCmbsz:
      return shown ? kCmbszWithoutSize | static_cast<uint32_t>(bytes_ / kUnit)
                                             << 12
                   : 0;
    case kRegCmbmsc:
      return static_cast<uint32_t>(control_);
    case kRegCmbmsc + 4:
      return static_cast<uint32_t>(control_ >> 32);
    case kRegCmbsts:
      return (control_ & kCmbmscSpaceEnabled) != 0 && overflows()
                 ? kAddressInvalid
                 : 0;
    default:
      return 0;
  }
}

void ControllerMemory::Write(uint64_t offset, uint32_t value) {
  if (!exists()) return;
  if (offset == kRegCmbmsc) {
    control_ = (control_ >> 32 << 32) | (value & ~kReserved);
  } else if (offset == kRegCmbmsc + 4) {
    control_ = (control_ & 0xffffffff) | uint64_t{value} << 32;
  }
}

absl::Status CmbPlatform::DmaRead(uint64_t iova, absl::Span<uint8_t> data) {
  if (!memory_.Contains(iova, data.size())) return host_.DmaRead(iova, data);
  host_.ReadBarMemory(ControllerMemory::kBar, iova - memory_.base(), data);
  return absl::OkStatus();
}

absl::Status CmbPlatform::DmaWrite(uint64_t iova,
                                   absl::Span<const uint8_t> data) {
  if (!memory_.Contains(iova, data.size())) return host_.DmaWrite(iova, data);
  host_.WriteBarMemory(ControllerMemory::kBar, iova - memory_.base(), data);
  return absl::OkStatus();
}

}  // namespace passthru::models::nvme
