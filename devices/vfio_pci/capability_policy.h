// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_DEVICES_VFIO_PCI_CAPABILITY_POLICY_H_
#define PASSTHRU_DEVICES_VFIO_PCI_CAPABILITY_POLICY_H_

#include <cstdint>
#include <string_view>

#include "absl/types/span.h"
#include "passthru/pci/capability_id.h"

namespace passthru::vfio_pci {

// How the guest sees a capability.
enum class CapabilityTreatment : uint8_t {
  kPass,        // the device's own, as far as VFIO lets it through
  kHide,        // unlinked from its list, and its registers read zero
  kVirtualize,  // present, with emulated registers
};
std::string_view Name(CapabilityTreatment treatment);

template <typename Id>
struct CapabilityRule {
  Id id;
  CapabilityTreatment treatment;
  std::string_view reason;  // a clause, e.g. "the link is the host's"
};

// The rules for which capabilities of a device are passed, hidden or
// virtualized. An ID without a rule is passed. No rule applies to a capability
// that vfio-pci itself hides (vfio_cap_init(), vfio_ecap_init()), because it is
// in no list. Its bytes stay readable and writable at their offset
// (vfio_raw_config_read(), vfio_raw_config_write()).
//
// Immutable. The rules must outlive it.
class CapabilityPolicy {
 public:
  using StandardRules = absl::Span<const CapabilityRule<pci::CapabilityId>>;
  using ExtendedRules =
      absl::Span<const CapabilityRule<pci::ExtendedCapabilityId>>;

  struct Decision {
    CapabilityTreatment treatment = CapabilityTreatment::kPass;
    std::string_view reason;
  };

  // Uses the rules of this package (capability_policy.cc).
  CapabilityPolicy();
  CapabilityPolicy(StandardRules standard, ExtendedRules extended)
      : standard_(standard), extended_(extended) {}

  Decision For(pci::CapabilityId id) const;
  Decision For(pci::ExtendedCapabilityId id) const;

 private:
  StandardRules standard_;
  ExtendedRules extended_;
};

}  // namespace passthru::vfio_pci

#endif  // PASSTHRU_DEVICES_VFIO_PCI_CAPABILITY_POLICY_H_
