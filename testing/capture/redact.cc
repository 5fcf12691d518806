// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/capture/redact.h"

#include <linux/pci_regs.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "passthru/pci/capabilities.h"
#include "passthru/pci/capability_id.h"
#include "passthru/testing/capture/byte_rows.h"
#include "passthru/testing/capture/vital_product_data.h"
#include "passthru/testing/fixture/fixture_bytes.h"

namespace passthru::capture {
namespace {

void AddRedaction(fixture::PciDevice& device, fixture::Redaction::Space space,
                  uint64_t offset, uint64_t length, std::string_view what) {
  fixture::Redaction* const redaction = device.add_redactions();
  redaction->set_space(space);
  redaction->set_offset(offset);
  redaction->set_length(length);
  redaction->set_what(std::string(what));
}

void RedactSerialNumber(fixture::PciDevice& device) {
  constexpr size_t kNumber = 4;
  constexpr size_t kLength = 8;
  fixture::ConfigImage image = fixture::ExpandConfig(device);
  const pci::ExtendedCapabilityList list =
      pci::WalkExtendedCapabilities(image.bytes);
  const pci::ExtendedCapability* const found =
      list.Find(pci::ExtendedCapabilityId::kDeviceSerialNumber);
  if (found == nullptr ||
      found->offset + kNumber + kLength > image.bytes.size()) {
    return;
  }
  const size_t offset = found->offset + kNumber;
  std::fill_n(image.bytes.begin() + static_cast<ptrdiff_t>(offset), kLength,
              uint8_t{0});
  *device.mutable_config() = ToRows(image.bytes);
  AddRedaction(device, fixture::Redaction::CONFIG, offset, kLength,
               "device serial number");
}

void RedactVpd(fixture::PciDevice& device) {
  if (device.vpd().empty()) return;
  constexpr size_t kMaxVpd = size_t{1} << 15;
  std::vector<uint8_t> vpd = fixture::ExpandRows(device.vpd(), kMaxVpd);
  for (const VpdField& field : IdentifyingVpdFields(vpd)) {
    std::fill_n(vpd.begin() + static_cast<ptrdiff_t>(field.offset),
                field.length, uint8_t{0});
    AddRedaction(device, fixture::Redaction::VPD, field.offset, field.length,
                 absl::StrCat("field ", absl::CHexEscape(field.keyword),
                              " of the vital product data"));
  }
  *device.mutable_vpd() = ToRows(vpd);
}

void RedactRom(fixture::PciDevice& device) {
  if (device.expansion_rom().image().empty()) return;
  fixture::ExpansionRom& rom = *device.mutable_expansion_rom();
  // The signature that makes it an image (PCI Firmware Specification 3.2,
  // 5.1.1).
  constexpr uint64_t kSignatureBytes = 2;
  rom.clear_image();
  rom.add_image()->set_bytes("55 aa");
  AddRedaction(device, fixture::Redaction::ROM, kSignatureBytes,
               rom.bar_size() - kSignatureBytes, "expansion ROM");
}

}  // namespace

void RedactIdentity(fixture::PciDevice& device) {
  RedactSerialNumber(device);
  RedactVpd(device);
  RedactRom(device);
}

}  // namespace passthru::capture
