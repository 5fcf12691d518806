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

// Asks a device that is bound to vfio-pci every question that the fake must
// answer as Linux does. The questions are about container, group, DMA mapping,
// device, interrupts, access, configuration masks, reset, power states, KVM and
// the order of closing. edu is also asked for interrupts and DMA that must
// happen and that must not. The fake and the real kernel get the same
// questions, and tests compare both with the stored answers
// (testing/contract/answers.h). This resets the device, changes its
// registers, and leaves nothing open.
//
// The stored answers are those of QEMU's e1000e, NVMe controller and edu,
// behind a 48-bit Intel IOMMU with interrupt remapping.
std::vector<Observation> ObserveVfio(kernel::Syscalls* syscalls,
                                     const std::string& bdf, uint32_t group);

// Asks about a group of two devices, before and after `release` unbinds `other`
// from its host driver. `bdf` is bound to vfio-pci.
std::vector<Observation> ObserveGroup(kernel::Syscalls* syscalls,
                                      const std::string& bdf,
                                      const std::string& other, uint32_t group,
                                      const std::function<void()>& release);

}  // namespace passthru::contract

#endif  // PASSTHRU_TESTING_CONTRACT_VFIO_VFIO_CONTRACT_H_
