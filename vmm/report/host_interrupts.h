// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_VMM_REPORT_HOST_INTERRUPTS_H_
#define PASSTHRU_VMM_REPORT_HOST_INTERRUPTS_H_

#include <cstdint>
#include <map>
#include <string_view>

#include "passthru/pci/bdf.h"

namespace passthru::vmm {

// Returns how often each vector of a device that VFIO has interrupted, summed
// over the host's CPUs, by `text`, which is /proc/interrupts. INTx is vector 0.
// The names of the lines are those of vfio_intx_enable() and
// vfio_msi_set_vector_signal(). Vectors that are not armed have no line.
std::map<uint32_t, uint64_t> HostInterrupts(std::string_view text,
                                            const pci::Bdf& host);

}  // namespace passthru::vmm

#endif  // PASSTHRU_VMM_REPORT_HOST_INTERRUPTS_H_
