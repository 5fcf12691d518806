// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/vfio/config_permissions.h"

#include <linux/pci_regs.h>

#include <algorithm>
#include <optional>

#include "passthru/testing/fixture/fixture_bytes.h"
#include "passthru/testing/vfio/config_capability_length.h"

namespace passthru::fake {
namespace {

constexpr uint16_t kHeaderId = 0;
constexpr size_t kStandardEnd = 256;

// The rules of one kind of structure.
struct Permissions {
  ConfigByteAccess access = ConfigByteAccess::kDirect;
  std::vector<uint8_t> virt;
  std::vector<uint8_t> write;

  void Allow(size_t offset, unsigned width, uint32_t virt_bits,
             uint32_t write_bits) {
    access = ConfigByteAccess::kMasked;
    const size_t end = offset + width;
    if (virt.size() < end) virt.resize(end, 0);
    if (write.size() < end) write.resize(end, 0);
    for (unsigned i = 0; i < width; ++i) {
      virt[offset + i] = static_cast<uint8_t>(virt_bits >> (8 * i));
      write[offset + i] = static_cast<uint8_t>(write_bits >> (8 * i));
    }
  }
};

constexpr uint32_t kAll = ~uint32_t{0};
constexpr uint32_t kNone = 0;

// The next pointer of a standard capability is always the kernel's copy.
Permissions StandardCapability() {
  Permissions permissions;
  permissions.Allow(PCI_CAP_LIST_NEXT, 1, kAll, kNone);
  return permissions;
}

// Returns the rules of the standard header. These registers are virtual:
//   - the identity, because a virtual function has none
//   - INTx disable, because the kernel uses the real bit itself
//   - the BARs, because the real ones belong to the host
//   - the capability pointer and the interrupt pin, so that the kernel can hide
//     capabilities and INTx
Permissions Header() {
  Permissions permissions;
  permissions.Allow(PCI_VENDOR_ID, 4, kAll, kNone);
  permissions.Allow(PCI_COMMAND, 2, PCI_COMMAND_INTX_DISABLE, kAll);
  permissions.Allow(PCI_STATUS, 2, PCI_STATUS_CAP_LIST, kNone);
  permissions.Allow(PCI_CACHE_LINE_SIZE, 1, kNone, kAll);
  permissions.Allow(PCI_LATENCY_TIMER, 1, kNone, kAll);
  permissions.Allow(PCI_BIST, 1, kNone, kAll);
  for (unsigned bar = 0; bar < 6; ++bar) {
    permissions.Allow(PCI_BASE_ADDRESS_0 + 4 * bar, 4, kAll, kAll);
  }
  permissions.Allow(PCI_ROM_ADDRESS, 4, kAll, kAll);
  permissions.Allow(PCI_CAPABILITY_LIST, 1, kAll, kNone);
  permissions.Allow(PCI_INTERRUPT_LINE, 1, kAll, kAll);
  permissions.Allow(PCI_INTERRUPT_PIN, 1, kAll, kNone);
  return permissions;
}

Permissions PowerManagement() {
  Permissions permissions = StandardCapability();
  permissions.Allow(PCI_PM_PMC, 2, PCI_PM_CAP_PME_MASK, kNone);
  constexpr uint32_t kPme = PCI_PM_CTRL_PME_ENABLE | PCI_PM_CTRL_PME_STATUS;
  // The kernel changes the state itself when the user writes it.
  permissions.Allow(PCI_PM_CTRL, 4, kPme,
                    ~(kPme | uint32_t{PCI_PM_CTRL_STATE_MASK}));
  return permissions;
}

Permissions Vpd() {
  Permissions permissions = StandardCapability();
  permissions.Allow(PCI_VPD_ADDR, 2, kAll, kAll);
  permissions.Allow(PCI_VPD_DATA, 4, kAll, kAll);
  return permissions;
}

Permissions Pcix() {
  Permissions permissions = StandardCapability();
  permissions.Allow(PCI_X_CMD, 2, kNone, kAll);
  permissions.Allow(PCI_X_ECC_CSR, 4, kNone, kAll);
  return permissions;
}

Permissions Express() {
  Permissions permissions = StandardCapability();
  permissions.Allow(
      PCI_EXP_DEVCTL, 2,
      PCI_EXP_DEVCTL_BCR_FLR | PCI_EXP_DEVCTL_PAYLOAD | PCI_EXP_DEVCTL_READRQ,
      ~uint32_t{PCI_EXP_DEVCTL_PHANTOM});
  permissions.Allow(PCI_EXP_DEVCTL2, 2, kNone, ~uint32_t{PCI_EXP_DEVCTL2_ARI});
  return permissions;
}

Permissions AdvancedFeatures() {
  Permissions permissions = StandardCapability();
  permissions.Allow(PCI_AF_CTRL, 1, PCI_AF_CTRL_FLR, PCI_AF_CTRL_FLR);
  return permissions;
}

Permissions Msi(uint16_t flags) {
  Permissions permissions = StandardCapability();
  permissions.Allow(PCI_MSI_FLAGS, 1, kAll, kAll);
  permissions.Allow(PCI_MSI_ADDRESS_LO, 4, kAll, kAll);
  const bool wide = (flags & PCI_MSI_FLAGS_64BIT) != 0;
  if (wide) permissions.Allow(PCI_MSI_ADDRESS_HI, 4, kAll, kAll);
  permissions.Allow(wide ? PCI_MSI_DATA_64 : PCI_MSI_DATA_32, 2, kAll, kAll);
  if ((flags & PCI_MSI_FLAGS_MASKBIT) != 0) {
    permissions.Allow(wide ? PCI_MSI_MASK_64 : PCI_MSI_MASK_32, 4, kNone, kAll);
    permissions.Allow(wide ? PCI_MSI_PENDING_64 : PCI_MSI_PENDING_32, 4, kNone,
                      kAll);
  }
  return permissions;
}

Permissions AdvancedErrorReporting() {
  Permissions permissions;
  permissions.Allow(0, 4, kAll, kNone);
  constexpr uint32_t kUncorrectable =
      PCI_ERR_UNC_UND | PCI_ERR_UNC_DLP | PCI_ERR_UNC_SURPDN |
      PCI_ERR_UNC_POISON_TLP | PCI_ERR_UNC_FCP | PCI_ERR_UNC_COMP_TIME |
      PCI_ERR_UNC_COMP_ABORT | PCI_ERR_UNC_UNX_COMP | PCI_ERR_UNC_RX_OVER |
      PCI_ERR_UNC_MALF_TLP | PCI_ERR_UNC_ECRC | PCI_ERR_UNC_UNSUP |
      PCI_ERR_UNC_ACSV | PCI_ERR_UNC_INTN | PCI_ERR_UNC_MCBTLP |
      PCI_ERR_UNC_ATOMEG | PCI_ERR_UNC_TLPPRE;
  permissions.Allow(PCI_ERR_UNCOR_STATUS, 4, kNone, kUncorrectable);
  permissions.Allow(PCI_ERR_UNCOR_MASK, 4, kNone, kUncorrectable);
  permissions.Allow(PCI_ERR_UNCOR_SEVER, 4, kNone, kUncorrectable);
  constexpr uint32_t kCorrectable =
      PCI_ERR_COR_RCVR | PCI_ERR_COR_BAD_TLP | PCI_ERR_COR_BAD_DLLP |
      PCI_ERR_COR_REP_ROLL | PCI_ERR_COR_REP_TIMER | PCI_ERR_COR_ADV_NFAT |
      PCI_ERR_COR_INTERNAL | PCI_ERR_COR_LOG_OVER;
  permissions.Allow(PCI_ERR_COR_STATUS, 4, kNone, kCorrectable);
  permissions.Allow(PCI_ERR_COR_MASK, 4, kNone, kCorrectable);
  permissions.Allow(PCI_ERR_CAP, 4, kNone,
                    PCI_ERR_CAP_ECRC_GENE | PCI_ERR_CAP_ECRC_CHKE);
  return permissions;
}

Permissions PowerBudgeting() {
  Permissions permissions;
  permissions.Allow(0, 4, kAll, kNone);
  permissions.Allow(PCI_PWR_DATA, 1, kNone, kAll);
  return permissions;
}

Permissions PermissionsOf(uint16_t id, bool extended, uint16_t msi_flags) {
  if (extended) {
    switch (id) {
      case PCI_EXT_CAP_ID_ERR:
        return AdvancedErrorReporting();
      case PCI_EXT_CAP_ID_PWR:
        return PowerBudgeting();
      case PCI_EXT_CAP_ID_VNDR:
      case PCI_EXT_CAP_ID_DVSEC:
        return {.access = ConfigByteAccess::kDirectWritable};
      default:
        return {};
    }
  }
  switch (id) {
    case kHeaderId:
      return Header();
    case PCI_CAP_ID_PM:
      return PowerManagement();
    case PCI_CAP_ID_VPD:
      return Vpd();
    case PCI_CAP_ID_MSI:
      return Msi(msi_flags);
    case PCI_CAP_ID_PCIX:
      return Pcix();
    case PCI_CAP_ID_VNDR:
      return {.access = ConfigByteAccess::kDirectWritable};
    case PCI_CAP_ID_EXP:
      return Express();
    case PCI_CAP_ID_AF:
      return AdvancedFeatures();
    default:
      return {};
  }
}

// The capability that each byte belongs to, or nullopt for none.
using Owners = std::vector<std::optional<uint16_t>>;

class LayoutBuilder {
 public:
  LayoutBuilder(absl::Span<const uint8_t> config,
                const ConfigLayoutOptions& options)
      : config_(config),
        options_(options),
        owners_(config.size(), std::nullopt),
        vconfig_(config.size(), 0) {}

  ConfigLayout Build() {
    Claim(kHeaderId, 0, PCI_STD_HEADER_SIZEOF);
    if (options_.is_virtual_function) {
      Store16(PCI_VENDOR_ID, options_.vendor_id);
      Store16(PCI_DEVICE_ID, options_.device_id);
    }
    if (options_.is_virtual_function || options_.hide_interrupt_pin) {
      vconfig_[PCI_INTERRUPT_PIN] = 0;
    }
    WalkStandard();
    if (extended_) WalkExtended();
    return {.bytes = Bytes(), .vconfig = std::move(vconfig_)};
  }

 private:
  void Store16(size_t offset, uint16_t value) {
    vconfig_[offset] = static_cast<uint8_t>(value);
    vconfig_[offset + 1] = static_cast<uint8_t>(value >> 8);
  }

  // Where capabilities overlap, the later claim wins. The kernel does the same
  // and only warns.
  void Claim(uint16_t id, size_t at, size_t length) {
    const size_t end = std::min(at + length, config_.size());
    for (size_t i = at; i < end; ++i) {
      owners_[i] = id;
      vconfig_[i] = config_[i];
    }
  }

  void WalkStandard() {
    if ((fixture::ReadLe16(config_, PCI_STATUS) & PCI_STATUS_CAP_LIST) == 0)
      return;
    size_t previous = PCI_CAPABILITY_LIST;
    size_t at = config_[PCI_CAPABILITY_LIST];
    bool any = false;
    int loops = (kStandardEnd - PCI_STD_HEADER_SIZEOF) / PCI_CAP_SIZEOF;
    while (at != 0 && at + 1 < kStandardEnd && loops-- > 0) {
      const uint8_t id = config_[at];
      const uint8_t next = config_[at + PCI_CAP_LIST_NEXT];
      const size_t length = StandardCapabilityLength(config_, id, at);
      if (length == 0) {
        vconfig_[previous] = next;
        at = next;
        continue;
      }
      NoteExtendedSpace(id, at);
      // The device itself gives some lengths, which may reach beyond the space.
      Claim(id, at, std::min(length, kStandardEnd - at));
      if (id == PCI_CAP_ID_MSI && !msi_seen_) {
        msi_seen_ = true;
        msi_flags_ = fixture::ReadLe16(config_, at + PCI_MSI_FLAGS);
      }
      if (id == PCI_CAP_ID_PM) HidePowerManagementEvents(at);
      previous = at + PCI_CAP_LIST_NEXT;
      at = next;
      any = true;
    }
    if (!any) {
      vconfig_[PCI_STATUS] =
          static_cast<uint8_t>(vconfig_[PCI_STATUS] & ~PCI_STATUS_CAP_LIST);
    }
  }

  // The kernel looks for extended capabilities only in PCI Express and PCI-X 2.
  void NoteExtendedSpace(uint8_t id, size_t at) {
    if (config_.size() <= kStandardEnd) return;
    if (id == PCI_CAP_ID_EXP ||
        (id == PCI_CAP_ID_PCIX &&
         PCI_X_CMD_VERSION(fixture::ReadLe16(config_, at + PCI_X_CMD)) != 0)) {
      extended_ = fixture::ReadLe32(config_, kStandardEnd) != 0;
    }
  }

  void HidePowerManagementEvents(size_t at) {
    Store16(at + PCI_PM_PMC,
            static_cast<uint16_t>(fixture::ReadLe16(vconfig_, at + PCI_PM_PMC) &
                                  ~PCI_PM_CAP_PME_MASK));
    Store16(at + PCI_PM_CTRL,
            static_cast<uint16_t>(
                fixture::ReadLe16(vconfig_, at + PCI_PM_CTRL) &
                ~(PCI_PM_CTRL_PME_ENABLE | PCI_PM_CTRL_PME_STATUS)));
  }

  void WalkExtended() {
    constexpr uint32_t kNextMask = 0xffcu << 20;
    std::optional<size_t> previous;
    size_t at = kStandardEnd;
    bool any = false;
    size_t loops = (config_.size() - kStandardEnd) / PCI_CAP_SIZEOF;
    while (loops-- > 0 && at >= kStandardEnd && at + 4 <= config_.size()) {
      const uint32_t header = fixture::ReadLe32(config_, at);
      const uint16_t id = PCI_EXT_CAP_ID(header);
      const uint16_t next = PCI_EXT_CAP_NEXT(header);
      const size_t length = ExtendedCapabilityLength(config_, id, at);
      if (length == 0 && previous.has_value()) {
        const uint32_t link = fixture::ReadLe32(vconfig_, *previous);
        Store32(*previous, (link & ~kNextMask) | uint32_t{next} << 20);
        at = next;
        continue;
      }
      // The kernel cannot skip the first capability of the list. It stays as an
      // anchor without id and version.
      Claim(id, at, length == 0 ? PCI_CAP_SIZEOF : length);
      if (length == 0) {
        Store32(at, fixture::ReadLe32(vconfig_, at) & kNextMask);
      } else {
        any = true;
      }
      previous = at;
      at = next;
    }
    if (!any) Store32(kStandardEnd, 0);
  }

  void Store32(size_t offset, uint32_t value) {
    Store16(offset, static_cast<uint16_t>(value));
    Store16(offset + 2, static_cast<uint16_t>(value >> 16));
  }

  // Like vfio_find_cap_start(), takes adjacent capabilities of the same id for
  // one. The header begins at 0, whatever has claimed bytes of it.
  bool BeginsStructure(size_t position) const {
    if (position < PCI_STD_HEADER_SIZEOF) return position == 0;
    return position == PCI_STD_HEADER_SIZEOF || position == kStandardEnd ||
           owners_[position - 1] != owners_[position];
  }

  std::vector<ConfigByte> Bytes() const {
    std::vector<ConfigByte> bytes(config_.size());
    Permissions permissions;
    size_t start = 0;
    for (size_t i = 0; i < bytes.size(); ++i) {
      bytes[i].start = static_cast<uint16_t>(i);
      if (!owners_[i].has_value()) continue;
      if (BeginsStructure(i)) {
        permissions = PermissionsOf(*owners_[i], i >= kStandardEnd, msi_flags_);
        start = i;
      }
      const size_t offset = i - start;
      bytes[i] = {
          .access = permissions.access,
          .start = static_cast<uint16_t>(start),
          .id = *owners_[i],
          .extended = i >= kStandardEnd,
          .virt = offset < permissions.virt.size() ? permissions.virt[offset]
                                                   : uint8_t{0},
          .write = offset < permissions.write.size() ? permissions.write[offset]
                                                     : uint8_t{0},
      };
    }
    return bytes;
  }

  const absl::Span<const uint8_t> config_;
  const ConfigLayoutOptions options_;
  Owners owners_;
  std::vector<uint8_t> vconfig_;
  bool extended_ = false;
  bool msi_seen_ = false;
  uint16_t msi_flags_ = 0;
};

}  // namespace

ConfigLayout MakeConfigLayout(absl::Span<const uint8_t> config,
                              const ConfigLayoutOptions& options) {
  return LayoutBuilder(config, options).Build();
}

}  // namespace passthru::fake
