// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_DEVICES_VFIO_PCI_CAPABILITY_POLICY_H_
#define PASSTHRU_DEVICES_VFIO_PCI_CAPABILITY_POLICY_H_

#include <cstdint>
#include <string_view>

#include "absl/types/span.h"
#include "passthru/pci/capability_id.h"

namespace passthru::vfio_pci {

// What the guest gets to see of a capability.
enum class CapabilityTreatment : uint8_t {
  kPass,        // the device's, as far as VFIO lets it through
  kHide,        // unlinked from its list; its registers read zero
  kVirtualize,  // present, with registers of ours
};
std::string_view Name(CapabilityTreatment treatment);

template <typename Id>
struct CapabilityRule {
  Id id;
  CapabilityTreatment treatment;
  std::string_view reason;  // a clause: "virtual functions are the host's"
};

// Which capabilities of a device are passed, hidden or virtualized. An ID
// without a rule is passed: what vfio-pci itself cannot make safe it hides.
//
// Immutable; the rules must outlive it.
class CapabilityPolicy {
 public:
  using StandardRules = absl::Span<const CapabilityRule<pci::CapabilityId>>;
  using ExtendedRules =
      absl::Span<const CapabilityRule<pci::ExtendedCapabilityId>>;

  struct Decision {
    CapabilityTreatment treatment = CapabilityTreatment::kPass;
    std::string_view reason;
  };

  // The rules of this package (capability_policy.cc).
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
