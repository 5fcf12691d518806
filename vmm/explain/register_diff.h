// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_VMM_EXPLAIN_REGISTER_DIFF_H_
#define PASSTHRU_VMM_EXPLAIN_REGISTER_DIFF_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "passthru/devices/vfio_pci/device_report.h"
#include "passthru/pci/register_map.h"
#include "passthru/vmm/explain/explain_report.pb.h"

namespace passthru::explain {

// The configuration space of a function, as three parties read it.
struct Views {
  std::vector<uint8_t> hardware;  // As much as the user may read.
  std::vector<uint8_t> vfio;
  std::vector<uint8_t> guest;  // As many bytes as `vfio`.
  bool is_virtual_function = false;
};

// Returns the image whose capability lists tell where registers are: the
// hardware's if all of it could be read, because VFIO's list leaves out some.
absl::Span<const uint8_t> BestImage(const Views& views);

// Returns the registers with what each party reads, and why they differ. The
// guest's reasons are those of `report`, the device's own, and the kernel's
// those of vfio_rules.h.
std::vector<Register> CompareViews(const Views& views,
                                   const vfio_pci::DeviceReport& report);

// Return whether VFIO shows another value than the hardware has, and whether
// the guest reads another one than VFIO shows.
bool VfioDiffers(const Register& reg);
bool GuestDiffers(const Register& reg);

}  // namespace passthru::explain

#endif  // PASSTHRU_VMM_EXPLAIN_REGISTER_DIFF_H_
