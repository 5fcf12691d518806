// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/capture/vital_product_data.h"

#include <linux/pci_regs.h>
#include <linux/vfio.h>

#include <algorithm>
#include <optional>
#include <string_view>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace passthru::capture {
namespace {

constexpr size_t kMaxVpd = size_t{1} << 15;
constexpr uint8_t kLargeResource = 0x80;
constexpr uint8_t kReadOnlyFields = 0x90;
constexpr uint8_t kReadWriteFields = 0x91;
constexpr uint8_t kEndTag = 0x0f << 3;

// A resource, with the place and length of its data.
struct Resource {
  uint8_t tag = 0;  // Without the length of a small one.
  size_t data = 0;
  size_t length = 0;

  size_t end() const { return data + length; }
};

// Returns nullopt if `vpd` ends before its header does.
std::optional<Resource> ResourceAt(absl::Span<const uint8_t> vpd,
                                   size_t offset) {
  if (offset >= vpd.size()) return std::nullopt;
  const uint8_t tag = vpd[offset];
  if ((tag & kLargeResource) == 0) {
    return Resource{.tag = static_cast<uint8_t>(tag & ~7),
                    .data = offset + 1,
                    .length = tag & 7u};
  }
  if (offset + 3 > vpd.size()) return std::nullopt;
  return Resource{.tag = tag,
                  .data = offset + 3,
                  .length = vpd[offset + 1] | size_t{vpd[offset + 2]} << 8};
}

}  // namespace

std::vector<uint8_t> ReadVpd(const vfio::VfioDevice& device, uint8_t offset) {
  std::vector<uint8_t> vpd;
  size_t wanted = 4;
  size_t resource = 0;
  while (vpd.size() < wanted && wanted <= kMaxVpd) {
    const auto address = static_cast<uint16_t>(vpd.size());
    // vfio_vpd_config_write() does the access, and the flag says that it has.
    if (!device
             .WriteConfig<uint16_t>(
                 static_cast<uint16_t>(offset + PCI_VPD_ADDR), address)
             .ok()) {
      return vpd;
    }
    const absl::StatusOr<uint16_t> done = device.ReadConfig<uint16_t>(
        static_cast<uint16_t>(offset + PCI_VPD_ADDR));
    if (!done.ok() || (*done & PCI_VPD_ADDR_F) == 0) return vpd;
    const absl::StatusOr<uint32_t> data = device.ReadConfig<uint32_t>(
        static_cast<uint16_t>(offset + PCI_VPD_DATA));
    if (!data.ok()) return vpd;
    for (int i = 0; i < 4; ++i) {
      vpd.push_back(static_cast<uint8_t>(*data >> (8 * i)));
    }
    // Goes on to the next resource whose header has been read.
    std::optional<Resource> found = ResourceAt(vpd, resource);
    while (found.has_value()) {
      // A tag of zeros or ones means memory that was never written.
      if (found->tag == kEndTag) {
        vpd.resize(std::min(vpd.size(), found->end()));
        return vpd;
      }
      if (vpd[resource] == 0x00 || vpd[resource] == 0xff) return {};
      resource = found->end();
      found = ResourceAt(vpd, resource);
    }
    wanted = resource + 3;
  }
  return vpd;
}

std::vector<VpdField> IdentifyingVpdFields(absl::Span<const uint8_t> vpd) {
  constexpr size_t kFieldHeader = 3;
  std::vector<VpdField> fields;
  for (std::optional<Resource> resource = ResourceAt(vpd, 0);
       resource.has_value() && resource->tag != kEndTag;
       resource = ResourceAt(vpd, resource->end())) {
    if (resource->tag != kReadOnlyFields && resource->tag != kReadWriteFields) {
      continue;
    }
    const size_t end = std::min(resource->end(), vpd.size());
    for (size_t at = resource->data; at + kFieldHeader <= end;) {
      const std::string keyword = {static_cast<char>(vpd[at]),
                                   static_cast<char>(vpd[at + 1])};
      const size_t value = at + kFieldHeader;
      const size_t length = std::min<size_t>(vpd[at + 2], end - value);
      // Part number, engineering change, manufacture, checksum and free space
      // are common to many boards.
      const bool common = keyword == "PN" || keyword == "EC" ||
                          keyword == "MN" || keyword == "RV" || keyword == "RW";
      if (!common && length != 0) {
        fields.push_back(
            {.keyword = keyword, .offset = value, .length = length});
      }
      at = value + length;
    }
  }
  return fields;
}

}  // namespace passthru::capture
