// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_VFIO_VFIO_CONTRACT_H_
#define PASSTHRU_TESTING_VFIO_VFIO_CONTRACT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "devices/kernel/syscalls.h"
#include "testing/kernel_version.h"

namespace passthru::fake {

// One question to VFIO and its answer: "0", "EINVAL", "fd", "0 flags=0x3".
struct VfioObservation {
  std::string section;
  std::string question;
  std::string answer;

  // "irqs: SET_IRQS index=5 -> EINVAL".
  std::string ToString() const;
};

// Asks a device bound to vfio-pci everything that the fake must answer as Linux
// does: container, group, DMA mapping, device, interrupts, access, reset, power
// states, order of closing. The same questions go to the fake and to a real
// kernel; the answers of both are held against VfioTranscript(). The device is
// reset and its registers are changed; nothing is left open.
std::vector<VfioObservation> ObserveVfio(kernel::Syscalls* syscalls,
                                         const std::string& bdf,
                                         uint32_t group);

// The devices that were asked: QEMU's, behind a 48-bit Intel IOMMU with
// interrupt remapping.
enum class ObservedDevice { kE1000e, kNvme, kEdu };

// What kernels of this version were seen to answer for the device (6.1 and
// 6.12: Debian's cloud kernels; 7.2: what differs there), in the order in which
// ObserveVfio() asks.
std::vector<VfioObservation> VfioTranscript(KernelVersion version,
                                            ObservedDevice device);

}  // namespace passthru::fake

#endif  // PASSTHRU_TESTING_VFIO_VFIO_CONTRACT_H_
