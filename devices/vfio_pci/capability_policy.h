// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_DEVICES_VFIO_PCI_CAPABILITY_POLICY_H_
#define PASSTHRU_DEVICES_VFIO_PCI_CAPABILITY_POLICY_H_

#include <cstdint>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
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
// (vfio_raw_config_read(), vfio_raw_config_write()), unless the VMM makes them
// read-only (WithUnlistedReadOnly()).
//
// A default object has the rules of this package (capability_policy.cc). A VMM
// adds rules of its own, which take precedence over them:
//
//   options.policy = CapabilityPolicy().With(
//       pci::CapabilityId::kVitalProductData, CapabilityTreatment::kHide,
//       "serial numbers stay on the host");
//
// MSI, MSI-X and PCI Express are emulated or hidden, never passed, because
// their registers work only together with the VMM. A rule that passes one of
// them counts as one that virtualizes it. No other capability has an emulation,
// so a rule that virtualizes another one counts as one that passes it.
//
// A PCI Express capability of a type that has no place on the guest's bus is
// hidden (config_shadow.h), unless the VMM has a rule that shows it.
class CapabilityPolicy {
 public:
  struct Decision {
    CapabilityTreatment treatment = CapabilityTreatment::kPass;
    std::string_view reason;
    bool by_vmm = false;  // by a rule of the VMM's own
  };

  // Return this policy with one more rule, which overrides earlier ones for
  // `id`. `reason` is a clause for the device's report, and must be a literal
  // or otherwise outlive the policy and the device.
  CapabilityPolicy With(pci::CapabilityId id, CapabilityTreatment treatment,
                        std::string_view reason) const;
  CapabilityPolicy With(pci::ExtendedCapabilityId id,
                        CapabilityTreatment treatment,
                        std::string_view reason) const;

  // Returns this policy, and makes the extended configuration space that
  // belongs to no listed capability read-only to the guest. Capabilities that
  // vfio-pci hides are there, such as L1 PM Substates, and by default the guest
  // writes their registers. Drivers of some devices need to write registers
  // there that the device puts into no capability.
  CapabilityPolicy WithUnlistedReadOnly() const;
  bool unlisted_read_only() const { return unlisted_read_only_; }

  // Returns kInvalidArgument if a rule of the VMM's own makes no sense. It is
  // then for the ID 0, which stands for no capability, or hides without a
  // reason.
  absl::Status Check() const;

  Decision For(pci::CapabilityId id) const;
  Decision For(pci::ExtendedCapabilityId id) const;

 private:
  std::vector<CapabilityRule<pci::CapabilityId>> standard_;
  std::vector<CapabilityRule<pci::ExtendedCapabilityId>> extended_;
  bool unlisted_read_only_ = false;
};

}  // namespace passthru::vfio_pci

#endif  // PASSTHRU_DEVICES_VFIO_PCI_CAPABILITY_POLICY_H_
