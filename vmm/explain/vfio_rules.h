// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_VMM_EXPLAIN_VFIO_RULES_H_
#define PASSTHRU_VMM_EXPLAIN_VFIO_RULES_H_

#include <string_view>

#include "passthru/pci/register_map.h"

namespace passthru::explain {

// Returns why vfio-pci shows another value of a register than the hardware has,
// as a clause. The rules are those of drivers/vfio/pci/vfio_pci_config.c, which
// virtualizes these registers. Returns kNoRule for a register that it passes,
// whose value then changed between the two reads.
std::string_view WhyVfioDiffers(const pci::NamedRegister& reg,
                                bool is_virtual_function);

inline constexpr std::string_view kNoRule = "it changed between the two reads";

}  // namespace passthru::explain

#endif  // PASSTHRU_VMM_EXPLAIN_VFIO_RULES_H_
