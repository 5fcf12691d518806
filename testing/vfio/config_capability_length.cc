// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/vfio/config_capability_length.h"

#include <linux/pci_regs.h>

#include "passthru/testing/fixture/fixture_bytes.h"

namespace passthru::fake {
namespace {

size_t VirtualChannelLength(absl::Span<const uint8_t> config, size_t at) {
  const uint32_t count =
      fixture::ReadLe32(config, at + PCI_VC_PORT_CAP1) & PCI_VC_CAP1_EVCC;
  const uint32_t cap2 = fixture::ReadLe32(config, at + PCI_VC_PORT_CAP2);
  size_t phases = 0;
  if ((cap2 & PCI_VC_CAP2_128_PHASE) != 0) {
    phases = 128;
  } else if ((cap2 & PCI_VC_CAP2_64_PHASE) != 0) {
    phases = 64;
  } else if ((cap2 & PCI_VC_CAP2_32_PHASE) != 0) {
    phases = 32;
  }
  size_t length =
      PCI_CAP_VC_BASE_SIZEOF + (1 + count) * PCI_CAP_VC_PER_VC_SIZEOF;
  if (phases != 0) length = (length + 15) / 16 * 16 + phases * 4 / 8;
  return length;
}

size_t AccessControlLength(absl::Span<const uint8_t> config, size_t at) {
  if ((fixture::ReadLe16(config, at + PCI_ACS_CAP) & PCI_ACS_EC) == 0) return 8;
  const size_t vector =
      fixture::ReadLe16(config, at + PCI_ACS_EGRESS_BITS) & 0xff;
  const size_t bits = vector != 0 ? (vector + 31) / 32 * 32 : 256;
  return 8 + bits / 8;
}

}  // namespace

size_t StandardCapabilityLength(absl::Span<const uint8_t> config, uint8_t id,
                                size_t at) {
  switch (id) {
    case PCI_CAP_ID_PM:
      return PCI_PM_SIZEOF;
    case PCI_CAP_ID_AGP:
      return PCI_AGP_SIZEOF;
    case PCI_CAP_ID_VPD:
      return PCI_CAP_VPD_SIZEOF;
    case PCI_CAP_ID_MSI: {
      const uint16_t flags = fixture::ReadLe16(config, at + PCI_MSI_FLAGS);
      return 10u + ((flags & PCI_MSI_FLAGS_64BIT) != 0 ? 4u : 0u) +
             ((flags & PCI_MSI_FLAGS_MASKBIT) != 0 ? 10u : 0u);
    }
    case PCI_CAP_ID_PCIX:
      return PCI_X_CMD_VERSION(fixture::ReadLe16(config, at + PCI_X_CMD)) != 0
                 ? PCI_CAP_PCIX_SIZEOF_V2
                 : PCI_CAP_PCIX_SIZEOF_V0;
    case PCI_CAP_ID_HT:
      return (fixture::ReadLe16(config, at + 3) & HT_3BIT_CAP_MASK) != 0
                 ? HT_CAP_SIZEOF_SHORT
                 : HT_CAP_SIZEOF_LONG;
    case PCI_CAP_ID_VNDR:
      return fixture::ReadLe16(config, at + PCI_CAP_FLAGS) & 0xff;
    case PCI_CAP_ID_EXP: {
      const uint16_t flags = fixture::ReadLe16(config, at + PCI_EXP_FLAGS);
      const bool integrated =
          (flags & PCI_EXP_FLAGS_TYPE) >> 4 == PCI_EXP_TYPE_RC_END;
      if ((flags & PCI_EXP_FLAGS_VERS) == 1) {
        return integrated ? 0xc : PCI_CAP_EXP_ENDPOINT_SIZEOF_V1;
      }
      return integrated ? 0x2c : PCI_CAP_EXP_ENDPOINT_SIZEOF_V2;
    }
    case PCI_CAP_ID_MSIX:
      return PCI_CAP_MSIX_SIZEOF;
    case PCI_CAP_ID_SATA:
      return (fixture::ReadLe16(config, at + PCI_SATA_REGS) &
              PCI_SATA_REGS_MASK) == PCI_SATA_REGS_INLINE
                 ? PCI_SATA_SIZEOF_LONG
                 : PCI_SATA_SIZEOF_SHORT;
    case PCI_CAP_ID_AF:
      return PCI_CAP_AF_SIZEOF;
    default:
      return 0;
  }
}

size_t ExtendedCapabilityLength(absl::Span<const uint8_t> config, uint16_t id,
                                size_t at) {
  switch (id) {
    case PCI_EXT_CAP_ID_ERR:
      return PCI_ERR_ROOT_COMMAND;
    case PCI_EXT_CAP_ID_VC:
    case PCI_EXT_CAP_ID_VC9:
    case PCI_EXT_CAP_ID_MFVC:
      return VirtualChannelLength(config, at);
    case PCI_EXT_CAP_ID_DSN:
      return PCI_EXT_CAP_DSN_SIZEOF;
    case PCI_EXT_CAP_ID_PWR:
      return PCI_EXT_CAP_PWR_SIZEOF;
    case PCI_EXT_CAP_ID_VNDR:
      return fixture::ReadLe32(config, at + PCI_VNDR_HEADER) >> 20;
    case PCI_EXT_CAP_ID_DVSEC:
      return fixture::ReadLe32(config, at + PCI_DVSEC_HEADER1) >> 20;
    case PCI_EXT_CAP_ID_ACS:
      return AccessControlLength(config, at);
    case PCI_EXT_CAP_ID_ARI:
      return PCI_EXT_CAP_ARI_SIZEOF;
    case PCI_EXT_CAP_ID_ATS:
      return PCI_EXT_CAP_ATS_SIZEOF;
    case PCI_EXT_CAP_ID_SRIOV:
      return PCI_EXT_CAP_SRIOV_SIZEOF;
    case PCI_EXT_CAP_ID_MCAST:
      return PCI_EXT_CAP_MCAST_ENDPOINT_SIZEOF;
    case PCI_EXT_CAP_ID_PRI:
      return PCI_EXT_CAP_PRI_SIZEOF;
    case PCI_EXT_CAP_ID_REBAR:
      return 4 +
             8 * ((fixture::ReadLe32(config, at + PCI_REBAR_CTRL) & 0xe0) >> 5);
    case PCI_EXT_CAP_ID_DPA:
      return PCI_DPA_BASE_SIZEOF +
             (fixture::ReadLe32(config, at + PCI_DPA_CAP) &
              PCI_DPA_CAP_SUBSTATE_MASK) +
             1;
    case PCI_EXT_CAP_ID_TPH: {
      const uint32_t cap = fixture::ReadLe32(config, at + PCI_TPH_CAP);
      if ((cap & PCI_TPH_CAP_LOC_MASK) != PCI_TPH_LOC_CAP) {
        return PCI_TPH_BASE_SIZEOF;
      }
      return PCI_TPH_BASE_SIZEOF + 2 * ((cap & PCI_TPH_CAP_ST_MASK) >> 16) + 2;
    }
    case PCI_EXT_CAP_ID_LTR:
      return PCI_EXT_CAP_LTR_SIZEOF;
    default:
      return 0;
  }
}

}  // namespace passthru::fake
