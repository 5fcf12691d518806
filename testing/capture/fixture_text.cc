// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/capture/fixture_text.h"

#include <linux/pci_regs.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "passthru/pci/bar_index.h"
#include "passthru/pci/describe.h"
#include "passthru/testing/fixture/fixture_bytes.h"

namespace passthru::capture {
namespace {

constexpr size_t kColumns = 80;

// Wraps words into lines of at most `width`, each after `prefix`.
std::string Wrap(std::string_view text, std::string_view prefix, size_t width) {
  std::string out(prefix);
  size_t column = prefix.size();
  bool line_is_empty = true;
  for (const std::string_view word :
       absl::StrSplit(text, ' ', absl::SkipEmpty())) {
    if (!line_is_empty && column + 1 + word.size() > width) {
      absl::StrAppend(&out, "\n", prefix);
      column = prefix.size();
      line_is_empty = true;
    }
    if (!line_is_empty) {
      out += ' ';
      ++column;
    }
    out += word;
    column += word.size();
    line_is_empty = false;
  }
  return out + "\n";
}

// Replaces control characters, which not even a comment may hold. A note may
// quote a device or a text of unknown origin.
std::string Printable(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (absl::ascii_iscntrl(static_cast<unsigned char>(c))) c = '?';
  }
  return out;
}

// Returns the text as between double quotes.
std::string Quoted(std::string_view text) {
  return absl::StrReplaceAll(absl::Utf8SafeCEscape(text), {{"\\'", "'"}});
}

// Appends a string field, in as many literals as it needs.
void AppendString(std::string* out, std::string_view indent,
                  std::string_view field, std::string_view value) {
  if (value.empty()) return;
  const std::string escaped = Quoted(value);
  if (indent.size() + field.size() + escaped.size() + 4 <= kColumns) {
    absl::StrAppend(out, indent, field, ": \"", escaped, "\"\n");
    return;
  }
  absl::StrAppend(out, indent, field, ":\n");
  // Each piece is indented further and in quotes, and ends with a space of the
  // text.
  const size_t width = kColumns - indent.size() - 5;
  for (std::string_view rest = escaped; !rest.empty();) {
    size_t space = std::string_view::npos;
    if (rest.size() > width) {
      space = rest.rfind(' ', width);
      if (space == std::string_view::npos) space = rest.find(' ', width);
    }
    const std::string_view piece = rest.substr(
        0, space == std::string_view::npos ? rest.size() : space + 1);
    absl::StrAppend(out, indent, "  \"", piece, "\"\n");
    rest.remove_prefix(piece.size());
  }
}

// Appends each row on its own line, as `config {offset: 0x000 bytes: "…"}`.
void AppendRows(
    std::string* out, std::string_view indent, std::string_view field,
    const google::protobuf::RepeatedPtrField<fixture::ByteRow>& rows) {
  for (const fixture::ByteRow& row : rows) {
    absl::StrAppendFormat(out, "%s%s {offset: 0x%03x bytes: \"%s\"}\n", indent,
                          field, row.offset(), row.bytes());
  }
}

void AppendWriteMasks(std::string* out, const fixture::PciDevice& device) {
  if (device.write_masks().empty()) return;
  *out += "\n# Bits that no row names were not measured.\n";
  for (const fixture::WriteMask& row : device.write_masks()) {
    absl::StrAppendFormat(out, "write_masks { offset: 0x%03x", row.offset());
    if (row.length() != 0)
      absl::StrAppendFormat(out, " length: 0x%x", row.length());
    absl::StrAppendFormat(out, " writable: \"%s\"", row.writable());
    if (!row.unknown().empty()) {
      absl::StrAppendFormat(out, " unknown: \"%s\"", row.unknown());
    }
    if (!row.write_one_to_clear().empty()) {
      absl::StrAppendFormat(out, " write_one_to_clear: \"%s\"",
                            row.write_one_to_clear());
    }
    *out += " }\n";
  }
}

void AppendGroup(std::string* out, const fixture::IommuGroup& group) {
  if (group.siblings().empty()) {
    absl::StrAppend(out, "iommu_group { number: ", group.number(), " }\n");
    return;
  }
  absl::StrAppend(out, "iommu_group {\n  number: ", group.number(), "\n");
  for (const fixture::Sibling& sibling : group.siblings()) {
    absl::StrAppend(out, "  siblings { bdf: \"", Quoted(sibling.bdf()),
                    "\" driver: \"", Quoted(sibling.driver()), "\" }\n");
  }
  *out += "}\n";
}

void AppendCapability(std::string* out,
                      const fixture::RegionCapability& capability) {
  switch (capability.capability_case()) {
    case fixture::RegionCapability::kSparseMmap:
      *out += "  capabilities {\n    sparse_mmap {\n";
      for (const fixture::SparseMmap::Area& area :
           capability.sparse_mmap().areas()) {
        absl::StrAppendFormat(out, "      areas { offset: 0x%x size: 0x%x }\n",
                              area.offset(), area.size());
      }
      *out += "    }\n  }\n";
      return;
    case fixture::RegionCapability::kType:
      absl::StrAppendFormat(
          out, "  capabilities { type { type: 0x%x subtype: 0x%x } }\n",
          capability.type().type(), capability.type().subtype());
      return;
    case fixture::RegionCapability::kMsixMappable:
      *out += "  capabilities { msix_mappable {} }\n";
      return;
    case fixture::RegionCapability::kUnknown:
      absl::StrAppendFormat(
          out,
          "  capabilities { unknown { id: %d version: %d bytes: \"%s\" } }\n",
          capability.unknown().id(), capability.unknown().version(),
          capability.unknown().bytes());
      return;
    case fixture::RegionCapability::CAPABILITY_NOT_SET:
      *out += "  capabilities {}\n";
      return;
  }
}

void AppendRegions(std::string* out, const fixture::PciDevice& device) {
  for (const fixture::Region& region : device.regions()) {
    absl::StrAppendFormat(
        out, "\nregions {\n  index: %d\n  size: 0x%x\n  flags: 0x%x\n",
        region.index(), region.size(), region.flags());
    for (const fixture::RegionCapability& capability : region.capabilities()) {
      AppendCapability(out, capability);
    }
    AppendRows(out, "  ", "contents", region.contents());
    *out += "}\n";
  }
  if (device.has_expansion_rom()) {
    absl::StrAppendFormat(out, "\nexpansion_rom {\n  bar_size: 0x%x\n",
                          device.expansion_rom().bar_size());
    AppendRows(out, "  ", "image", device.expansion_rom().image());
    *out += "}\n";
  }
}

void AppendInterrupts(std::string* out, const fixture::PciDevice& device) {
  *out += "\n";
  for (const fixture::Irq& irq : device.irqs()) {
    absl::StrAppendFormat(out, "irqs { index: %d count: %d flags: 0x%x }\n",
                          irq.index(), irq.count(), irq.flags());
  }
  for (const fixture::MsixTableEntry& entry : device.msix_table()) {
    absl::StrAppendFormat(
        out,
        "msix_table { vector: %d address: 0x%x data: 0x%x control: 0x%x }\n",
        entry.vector(), entry.address(), entry.data(), entry.control());
  }
}

void AppendReset(std::string* out, const fixture::Reset& reset) {
  if (reset.ByteSizeLong() == 0) {
    *out += "\nreset {}\n";
    return;
  }
  *out += "\nreset {\n";
  for (const int method : reset.methods()) {
    absl::StrAppend(out, "  methods: ",
                    fixture::Reset::Method_Name(
                        static_cast<fixture::Reset::Method>(method)),
                    "\n");
  }
  if (reset.hot_reset_listed()) *out += "  hot_reset_listed: true\n";
  if (reset.hot_reset_errno() != 0) {
    absl::StrAppend(out, "  hot_reset_errno: ", reset.hot_reset_errno(), "\n");
  }
  for (const std::string& bdf : reset.hot_reset_also_affects()) {
    AppendString(out, "  ", "hot_reset_also_affects", bdf);
  }
  *out += "}\n";
}

void AppendRest(std::string* out, const fixture::PciDevice& device) {
  if (!device.vpd().empty()) *out += "\n";
  AppendRows(out, "", "vpd", device.vpd());
  if (device.is_virtual_function()) *out += "\nis_virtual_function: true\n";
  if (!device.model().empty()) {
    absl::StrAppend(out, "\nmodel: \"", Quoted(device.model()), "\"\n");
  }
  if (!device.host_resources().empty()) *out += "\n";
  for (const fixture::HostResource& resource : device.host_resources()) {
    absl::StrAppendFormat(
        out, "host_resources { start: 0x%x end: 0x%x flags: 0x%x }\n",
        resource.start(), resource.end(), resource.flags());
  }
  if (!device.redactions().empty()) *out += "\n";
  for (const fixture::Redaction& redaction : device.redactions()) {
    absl::StrAppend(out, "redactions {\n  space: ",
                    fixture::Redaction::Space_Name(redaction.space()), "\n");
    if (redaction.region_index() != 0) {
      absl::StrAppend(out, "  region_index: ", redaction.region_index(), "\n");
    }
    absl::StrAppendFormat(out, "  offset: 0x%x\n  length: 0x%x\n",
                          redaction.offset(), redaction.length());
    AppendString(out, "  ", "what", redaction.what());
    *out += "}\n";
  }
}

std::string Decoded(const fixture::PciDevice& device) {
  std::array<uint64_t, pci::BarIndex::kCount> sizes = {};
  for (const fixture::Region& region : device.regions()) {
    if (region.index() < sizes.size()) sizes[region.index()] = region.size();
  }
  sizes[pci::BarIndex::kRomValue] = device.expansion_rom().bar_size();
  std::vector<uint8_t> config = fixture::ExpandConfig(device).bytes;
  if (device.is_virtual_function()) {
    // The host and VFIO show ids and BARs that its own registers do not have.
    const auto put = [&config](size_t offset, unsigned width, uint32_t value) {
      for (unsigned i = 0; i < width && offset + i < config.size(); ++i) {
        config[offset + i] = static_cast<uint8_t>(value >> (8 * i));
      }
    };
    put(PCI_VENDOR_ID, 2, device.identity().vendor_id());
    put(PCI_DEVICE_ID, 2, device.identity().device_id());
    const fixture::BarRegisters bars = fixture::AssignedBars(device, config);
    for (size_t i = 0; i < bars.size(); ++i) {
      put(PCI_BASE_ADDRESS_0 + 4 * i, 4, bars[i]);
    }
  }
  std::string out;
  for (const std::string& line : pci::DescribeDevice(config, sizes)) {
    absl::StrAppend(&out, "#   ", line, "\n");
  }
  return out;
}

}  // namespace

std::string FixtureText(const fixture::PciDevice& device,
                        const std::vector<std::string>& notes) {
  std::string out =
      "# SPDX-License-Identifier: Apache-2.0\n"
      "#\n"
      "# proto-file: testing/fixture/device.proto\n"
      "# proto-message: passthru.fixture.PciDevice\n"
      "#\n";
  out += Decoded(device);
  for (const std::string& note : notes) {
    absl::StrAppend(&out, "#\n", Wrap(Printable(note), "# ", kColumns));
  }
  absl::StrAppend(&out, "\nschema_version: ", device.schema_version(),
                  "\nname: \"", Quoted(device.name()), "\"\n");
  const fixture::Provenance& provenance = device.provenance();
  out += "provenance {\n";
  AppendString(&out, "  ", "comment", provenance.comment());
  AppendString(&out, "  ", "device", provenance.device());
  AppendString(&out, "  ", "platform", provenance.platform());
  AppendString(&out, "  ", "kernel", provenance.kernel());
  AppendString(&out, "  ", "tool", provenance.tool());
  AppendString(&out, "  ", "date", provenance.date());
  const fixture::Identity& identity = device.identity();
  absl::StrAppendFormat(
      &out,
      "}\nidentity {\n  vendor_id: 0x%04x\n  device_id: 0x%04x\n"
      "  revision_id: 0x%02x\n  class_code: 0x%06x\n"
      "  subsystem_vendor_id: 0x%04x\n  subsystem_id: 0x%04x\n}\n",
      identity.vendor_id(), identity.device_id(), identity.revision_id(),
      identity.class_code(), identity.subsystem_vendor_id(),
      identity.subsystem_id());
  absl::StrAppend(&out, "bdf: \"", Quoted(device.bdf()), "\"\n");
  AppendGroup(&out, device.iommu_group());
  absl::StrAppend(&out, "\nconfig_space_size: ", device.config_space_size(),
                  "\n");
  AppendRows(&out, "", "config", device.config());
  AppendWriteMasks(&out, device);
  AppendRegions(&out, device);
  AppendInterrupts(&out, device);
  AppendReset(&out, device.reset());
  AppendRest(&out, device);
  return out;
}

}  // namespace passthru::capture
