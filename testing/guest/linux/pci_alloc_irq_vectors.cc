// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/guest/linux/pci_alloc_irq_vectors.h"

#include <algorithm>
#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "passthru/testing/guest/linux/linux_irq_vectors.h"
#include "passthru/testing/guest/linux/linux_msi.h"
#include "passthru/testing/guest/linux/linux_msix.h"
#include "passthru/testing/guest/linux/linux_pci_device.h"

namespace passthru::guest {

absl::StatusOr<std::unique_ptr<LinuxIrqVectors>> PciAllocIrqVectors(
    const IrqContext& context, LinuxPciDevice& device, uint16_t minimum,
    uint16_t maximum) {
  const uint16_t msix = MsixVectorCount(device);
  if (msix >= minimum && msix > 0) {
    return LinuxMsix::Enable(context, device, std::min(msix, maximum));
  }
  const uint16_t msi = MsiVectorCount(device);
  if (msi >= minimum && msi > 0) {
    return LinuxMsi::Enable(context, device, std::min(msi, maximum));
  }
  return absl::ResourceExhaustedError(absl::StrCat(
      "guest: ", device.name(), ": ", minimum, " message interrupts wanted, ",
      std::max(msix, msi), " there"));
}

}  // namespace passthru::guest
