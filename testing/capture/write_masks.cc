// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/capture/write_masks.h"

#include <linux/pci_regs.h>

#include <algorithm>
#include <cstddef>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_format.h"
#include "passthru/devices/kernel/status_macros.h"
#include "passthru/pci/capabilities.h"
#include "passthru/pci/capability_id.h"
#include "passthru/pci/capability_length.h"

namespace passthru::capture {
namespace {

using pci::CapabilityId;
using pci::ExtendedCapabilityId;

// Collects the bits that a measurement may write. Capabilities of a broken
// device may overlap, so a bit that one of them forbids stays forbidden.
class Measurable {
 public:
  Measurable(absl::Span<const uint8_t> config, MaskMeasurement measurement)
      : config_(config),
        allowed_(config.size(),
                 measurement == MaskMeasurement::kAll ? 0xff : 0),
        forbidden_(config.size(), 0) {}

  void AddHeader();
  void Add(const pci::Capability& capability);
  void Add(const pci::ExtendedCapability& capability);

  std::vector<uint8_t> Finish() && {
    for (size_t i = 0; i < allowed_.size(); ++i) {
      allowed_[i] = static_cast<uint8_t>(allowed_[i] & ~forbidden_[i]);
    }
    return std::move(allowed_);
  }

 private:
  // Selects the structure for the calls below, which do not go beyond its end.
  void Begin(size_t offset, size_t length) {
    begin_ = offset;
    end_ = std::min(offset + length, allowed_.size());
  }
  void AllowAll() {
    for (size_t i = begin_; i < end_; ++i) allowed_[i] = 0xff;
  }
  void Forbid(size_t offset, size_t length) {
    for (size_t i = 0; i < length; ++i) ForbidBits(offset + i, 0xff);
  }
  void ForbidBits(size_t offset, uint16_t bits) {
    for (size_t i = begin_ + offset; bits != 0 && i < end_; ++i, bits >>= 8) {
      forbidden_[i] = static_cast<uint8_t>(forbidden_[i] | (bits & 0xff));
    }
  }

  const absl::Span<const uint8_t> config_;
  std::vector<uint8_t> allowed_;
  std::vector<uint8_t> forbidden_;
  size_t begin_ = 0;
  size_t end_ = 0;
};

void Measurable::AddHeader() {
  Begin(0, PCI_STD_HEADER_SIZEOF);
  AllowAll();
  Forbid(PCI_STATUS, 2);  // Writing one clears.
  Forbid(PCI_BIST, 1);
  // Sizes are known, and a value between two writes would be an address.
  Forbid(PCI_BASE_ADDRESS_0, 4 * PCI_STD_NUM_BARS);
  Forbid(PCI_ROM_ADDRESS, 4);
}

void Measurable::Add(const pci::Capability& capability) {
  constexpr size_t kHeader = 2;
  const size_t length =
      pci::StandardCapabilityLength(config_, capability).value_or(kHeader);
  Begin(capability.offset, length);
  switch (capability.id) {
    case CapabilityId::kPowerManagement: {
      AllowAll();
      // The power state, and PME_Status, which a write of 1 clears even if 1 is
      // its old value.
      ForbidBits(PCI_PM_CTRL, PCI_PM_CTRL_STATE_MASK | PCI_PM_CTRL_PME_ENABLE |
                                  PCI_PM_CTRL_PME_STATUS);
      const size_t status = capability.offset + size_t{PCI_PM_CTRL} + 1;
      if (status < config_.size() &&
          (config_[status] & PCI_PM_CTRL_PME_STATUS >> 8) != 0) {
        Forbid(PCI_PM_CTRL + 1, 1);
      }
      return;
    }
    case CapabilityId::kMsi:
      AllowAll();
      ForbidBits(PCI_MSI_FLAGS, PCI_MSI_FLAGS_ENABLE);
      return;
    case CapabilityId::kMsix:
      AllowAll();
      ForbidBits(PCI_MSIX_FLAGS,
                 PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL);
      return;
    case CapabilityId::kPciExpress:
      AllowAll();
      // Sizes of transactions that may be under way, and the reset.
      ForbidBits(PCI_EXP_DEVCTL,
                 PCI_EXP_DEVCTL_PAYLOAD | PCI_EXP_DEVCTL_PHANTOM |
                     PCI_EXP_DEVCTL_READRQ | PCI_EXP_DEVCTL_BCR_FLR);
      Forbid(PCI_EXP_DEVSTA, 2);
      // Link, slot and root port have retraining, link down and bits that a
      // write of one clears.
      Forbid(PCI_EXP_LNKCTL, 4);
      Forbid(PCI_EXP_SLTCTL, 4);
      Forbid(PCI_EXP_RTCTL, 8);
      ForbidBits(PCI_EXP_DEVCTL2, PCI_EXP_DEVCTL2_ARI);
      Forbid(PCI_EXP_DEVSTA2, 2);
      Forbid(PCI_EXP_LNKCTL2, 4);
      Forbid(PCI_EXP_SLTCTL2, 4);
      return;
    case CapabilityId::kBridgeSubsystemId:
      AllowAll();
      return;
    case CapabilityId::kVendorSpecific:
      return;  // Only kAll measures these.
    default:
      Forbid(kHeader, length - kHeader);
      return;
  }
}

void Measurable::Add(const pci::ExtendedCapability& capability) {
  constexpr size_t kHeader = 4;
  // For a capability that declares no length.
  constexpr size_t kLongest = 0x40;
  const size_t length =
      pci::ExtendedCapabilityLength(config_, capability).value_or(kLongest);
  Begin(capability.offset, length);
  switch (capability.id) {
    case ExtendedCapabilityId::kAdvancedErrorReporting:
      AllowAll();
      // Writing one clears.
      Forbid(PCI_ERR_UNCOR_STATUS, 4);
      Forbid(PCI_ERR_COR_STATUS, 4);
      return;
    case ExtendedCapabilityId::kDeviceSerialNumber:
    case ExtendedCapabilityId::kLatencyToleranceReporting:
      AllowAll();
      return;
    case ExtendedCapabilityId::kNull:
    case ExtendedCapabilityId::kVendorSpecific:
      return;  // As above.
    default:
      Forbid(kHeader, length - kHeader);
      return;
  }
}

absl::StatusOr<uint8_t> WriteAndRead(const PhysicalConfig& physical,
                                     size_t offset, unsigned value) {
  const uint16_t at = static_cast<uint16_t>(offset);
  PASSTHRU_RETURN_IF_ERROR(physical.Write(at, static_cast<uint8_t>(value)));
  return physical.Read(at);
}

// Makes bits unknown that do not have their old value again, and notes them.
absl::Status NoteWhatIsLost(const PhysicalConfig& physical,
                            absl::Span<const uint8_t> before,
                            fixture::ConfigImage& image,
                            std::vector<std::string>& notes) {
  const auto after = physical.ReadAll(before.size());
  if (!after.ok()) return after.status();
  for (size_t i = 0; i < before.size(); ++i) {
    const auto lost = static_cast<uint8_t>((*after)[i] ^ before[i]);
    if (lost == 0) continue;
    notes.push_back(absl::StrFormat(
        "Byte 0x%03x of the configuration space was 0x%02x, and 0x%02x after "
        "write masks were measured; its bits 0x%02x are unknown.",
        i, before[i], (*after)[i], lost));
    image.unknown[i] = static_cast<uint8_t>(image.unknown[i] | lost);
    image.writable[i] = static_cast<uint8_t>(image.writable[i] & ~lost);
  }
  return absl::OkStatus();
}

}  // namespace

fixture::ConfigImage SpecifiedMasks(absl::Span<const uint8_t> config) {
  fixture::ConfigImage image{
      .bytes = std::vector<uint8_t>(config.begin(), config.end()),
      .writable = std::vector<uint8_t>(config.size(), 0),
      .unknown = std::vector<uint8_t>(config.size(), 0xff),
      .write_one_to_clear = std::vector<uint8_t>(config.size(), 0),
  };
  const auto read_only = [&](size_t offset, size_t length) {
    for (size_t i = offset; i < std::min(offset + length, config.size()); ++i) {
      image.unknown[i] = 0;
    }
  };
  // PCI 3.0 6.2.1, 6.2.4, 6.7.
  read_only(PCI_VENDOR_ID, 4);
  read_only(PCI_CLASS_REVISION, 4);
  read_only(PCI_HEADER_TYPE, 1);
  read_only(PCI_SUBSYSTEM_VENDOR_ID, 4);
  read_only(PCI_CAPABILITY_LIST, 1);
  read_only(PCI_INTERRUPT_PIN, 3);
  for (const pci::Capability& capability :
       pci::WalkCapabilities(config).entries) {
    read_only(capability.offset, 2);
  }
  for (const pci::ExtendedCapability& capability :
       pci::WalkExtendedCapabilities(config).entries) {
    read_only(capability.offset, 4);
  }
  return image;
}

std::vector<uint8_t> MeasurableBits(absl::Span<const uint8_t> config,
                                    MaskMeasurement measurement) {
  if (measurement == MaskMeasurement::kNone) {
    return std::vector<uint8_t>(config.size(), 0);
  }
  Measurable measurable(config, measurement);
  measurable.AddHeader();
  for (const pci::Capability& capability :
       pci::WalkCapabilities(config).entries) {
    measurable.Add(capability);
  }
  for (const pci::ExtendedCapability& capability :
       pci::WalkExtendedCapabilities(config).entries) {
    measurable.Add(capability);
  }
  return std::move(measurable).Finish();
}

absl::Status MeasureWriteMasks(const PhysicalConfig& physical,
                               MaskMeasurement measurement,
                               fixture::ConfigImage& image,
                               std::vector<std::string>& notes) {
  const std::vector<uint8_t> bits = MeasurableBits(image.bytes, measurement);
  PASSTHRU_ASSIGN_OR_RETURN(const auto before, physical.ReadAll(bits.size()));
  for (size_t i = 0; i < bits.size(); ++i) {
    if (bits[i] == 0) continue;
    const uint8_t old = before[i];
    const auto changed = WriteAndRead(physical, i, old ^ bits[i]);
    if (!changed.ok()) {
      // The old value is restored whatever the error was.
      (void)physical.Write(static_cast<uint16_t>(i), old);
      return changed.status();
    }
    image.unknown[i] = static_cast<uint8_t>(image.unknown[i] & ~bits[i]);
    // A byte that did not change is not written again, because that could clear
    // status bits that no specification describes.
    if (*changed == old) continue;
    image.writable[i] = static_cast<uint8_t>((*changed ^ old) & bits[i]);
    PASSTHRU_RETURN_IF_ERROR(physical.Write(static_cast<uint16_t>(i), old));
  }
  return NoteWhatIsLost(physical, before, image, notes);
}

}  // namespace passthru::capture
