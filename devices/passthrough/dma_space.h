// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_DEVICES_PASSTHROUGH_DMA_SPACE_H_
#define PASSTHRU_DEVICES_PASSTHROUGH_DMA_SPACE_H_

#include <memory>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "passthru/devices/vfio/vfio_device.h"
#include "passthru/pci/bdf.h"

namespace passthru::passthrough {

// Where the DMA of devices goes: an I/O address space in which guest memory is
// mapped, and into which host devices are put. It knows how the kernel does so,
// which its users need not. GroupDmaSpace does it with VFIO groups and a type 1
// container.
//
// The address space exists in the kernel only while a device is in it.
//
// Implementations are thread-safe, but a caller must not put a device in and
// take it out at the same time.
class DmaSpace {
 public:
  virtual ~DmaSpace() = default;

  // Puts the host's `device` into the address space and opens it, with the
  // `vf_token` of VfioDevice::Open(), or an empty one. Its DMA reaches guest
  // memory when this returns. After a failure nothing of it is left open.
  virtual absl::StatusOr<std::unique_ptr<vfio::VfioDevice>> Open(
      pci::Bdf device, std::string_view vf_token) = 0;
  absl::StatusOr<std::unique_ptr<vfio::VfioDevice>> Open(pci::Bdf device) {
    return Open(device, "");
  }

  // Takes out a device that Open() put in. The caller must have destroyed the
  // VfioDevice. Continues after a failure and returns the first one.
  virtual absl::Status Release(pci::Bdf device) = 0;
};

}  // namespace passthru::passthrough

#endif  // PASSTHRU_DEVICES_PASSTHROUGH_DMA_SPACE_H_
