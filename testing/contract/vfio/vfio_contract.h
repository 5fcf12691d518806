// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_CONTRACT_VFIO_VFIO_CONTRACT_H_
#define PASSTHRU_TESTING_CONTRACT_VFIO_VFIO_CONTRACT_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "passthru/devices/kernel/syscalls.h"
#include "passthru/testing/contract/observation.h"

namespace passthru::contract {

// Asks a device bound to vfio-pci everything that the fake must answer as Linux
// does: container, group, DMA mapping, device, interrupts, access,
// configuration masks, reset, power states, KVM, order of closing; and edu also
// for interrupts and DMA that happen and that must not. The same questions go
// to the fake and to a real kernel; the answers of both are held against a
// transcript (contract/transcript.h). The device is reset and its registers are
// changed; nothing is left open.
//
// The transcripts are of QEMU's e1000e, NVMe controller and edu, behind a
// 48-bit Intel IOMMU with interrupt remapping.
std::vector<Observation> ObserveVfio(kernel::Syscalls* syscalls,
                                     const std::string& bdf, uint32_t group);

// Asks a group of two devices, of which `bdf` is bound to vfio-pci and `other`
// to a driver of the host's, before and after `release` takes it from that.
std::vector<Observation> ObserveGroup(kernel::Syscalls* syscalls,
                                      const std::string& bdf,
                                      const std::string& other, uint32_t group,
                                      const std::function<void()>& release);

}  // namespace passthru::contract

#endif  // PASSTHRU_TESTING_CONTRACT_VFIO_VFIO_CONTRACT_H_
