// SPDX-License-Identifier: Apache-2.0

#ifndef PASSTHRU_DEVICES_MEMORY_GUEST_ADDRESS_H_
#define PASSTHRU_DEVICES_MEMORY_GUEST_ADDRESS_H_

#include "passthru/devices/memory/address.h"

namespace passthru::memory {

// A guest physical address. The guest's page tables lead to such addresses, and
// KVM uses them for its slots and exits. It is not an Iova, though a VMM
// without a virtual IOMMU maps the two one to one.
class GuestAddress : public Address<GuestAddress> {
 public:
  using Address::Address;
};

}  // namespace passthru::memory

#endif  // PASSTHRU_DEVICES_MEMORY_GUEST_ADDRESS_H_
