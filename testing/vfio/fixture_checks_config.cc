// SPDX-License-Identifier: Apache-2.0
// Identity, configuration space and write masks of a fixture.
#include <algorithm>
#include <array>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "pci/bdf.h"
#include "testing/vfio/fixture_checks.h"

namespace passthru::fake {
namespace {

constexpr uint32_t kSchemaVersion = 1;
constexpr size_t kMaxProblems = 20;

bool IsName(std::string_view name) {
  return !name.empty() && std::all_of(name.begin(), name.end(), [](char c) {
    return absl::ascii_islower(c) || absl::ascii_isdigit(c) || c == '-' ||
           c == '_';
  });
}

void CheckBdf(std::string_view text, std::string_view field,
              FixtureProblems& problems) {
  if (!pci::Bdf::Parse(text).ok()) {
    problems.Add(field, absl::StrCat("\"", text,
                                     "\" is not an address like "
                                     "\"0000:02:00.0\""));
  }
}

// `label` is "writable", "unknown" or "write_one_to_clear".
std::vector<uint8_t> MaskBytes(std::string_view text, std::string_view field,
                               std::string_view label, bool& ok,
                               FixtureProblems& problems) {
  absl::StatusOr<std::vector<uint8_t>> bytes = ParseHexBytes(text);
  if (!bytes.ok()) {
    problems.Add(absl::StrCat(field, ".", label), bytes.status().message());
    ok = false;
    return {};
  }
  return *std::move(bytes);
}

bool CheckWriteMask(const WriteMask& row, std::string_view field,
                    uint64_t previous_end, uint64_t config_size,
                    FixtureProblems& problems) {
  bool ok = true;
  const std::vector<uint8_t> writable =
      MaskBytes(row.writable(), field, "writable", ok, problems);
  const std::vector<uint8_t> unknown =
      MaskBytes(row.unknown(), field, "unknown", ok, problems);
  const std::vector<uint8_t> clear = MaskBytes(
      row.write_one_to_clear(), field, "write_one_to_clear", ok, problems);
  if (!ok) return false;
  const auto add = [&](std::string_view label, std::string_view reason) {
    problems.Add(absl::StrCat(field, ".", label), reason);
    ok = false;
  };
  if (writable.empty()) {
    add("writable", "is empty; write \"00\" for a byte that cannot be written");
    return false;
  }
  if (!unknown.empty() && unknown.size() != writable.size()) {
    add("unknown", absl::StrCat("has ", unknown.size(), " bytes, `writable` ",
                                writable.size()));
  }
  if (!clear.empty() && clear.size() != writable.size()) {
    add("write_one_to_clear",
        absl::StrCat("has ", clear.size(), " bytes, `writable` ",
                     writable.size()));
  }
  if (!ok) return false;
  for (size_t i = 0; i < writable.size(); ++i) {
    const uint8_t not_known = unknown.empty() ? 0 : unknown[i];
    const uint8_t clears = clear.empty() ? 0 : clear[i];
    if ((writable[i] & not_known) != 0) {
      add("unknown", absl::StrFormat("byte %d claims bits that `writable` says "
                                     "were measured (0x%02x)",
                                     i, writable[i] & not_known));
    }
    if ((writable[i] & clears) != 0) {
      add("write_one_to_clear",
          absl::StrFormat("byte %d claims bits that are writable (0x%02x)", i,
                          writable[i] & clears));
    }
  }
  const uint64_t length = row.length() == 0 ? writable.size() : row.length();
  if (length % writable.size() != 0) {
    add("length", absl::StrCat(length, " is not a multiple of the ",
                               writable.size(), " bytes of `writable`"));
  }
  if (row.offset() < previous_end) {
    add("offset", absl::StrFormat("0x%x is not above the row before, which "
                                  "ends at 0x%x",
                                  row.offset(), previous_end));
  }
  if (row.offset() + length > config_size) {
    add("offset",
        absl::StrFormat("the row ends at 0x%x, beyond config_space_size "
                        "0x%x",
                        row.offset() + length, config_size));
  }
  return ok;
}

}  // namespace

void FixtureProblems::Add(std::string_view field, std::string_view reason) {
  problems_.push_back(absl::StrCat(file_, ": ", field, ": ", reason));
}

absl::Status FixtureProblems::ToStatus() const {
  if (problems_.empty()) return absl::OkStatus();
  std::vector<std::string> shown(
      problems_.begin(),
      problems_.begin() + std::min(problems_.size(), kMaxProblems));
  if (problems_.size() > kMaxProblems) {
    shown.push_back(absl::StrCat(
        file_, ": and ", problems_.size() - kMaxProblems, " more problems"));
  }
  return absl::InvalidArgumentError(absl::StrJoin(shown, "\n"));
}

bool CheckRows(const google::protobuf::RepeatedPtrField<ByteRow>& rows,
               std::string_view field, uint64_t size,
               FixtureProblems& problems) {
  bool ok = true;
  uint64_t previous_end = 0;
  for (int i = 0; i < rows.size(); ++i) {
    const ByteRow& row = rows[i];
    const auto add = [&](std::string_view label, std::string_view reason) {
      problems.Add(absl::StrCat(field, "[", i, "].", label), reason);
      ok = false;
    };
    absl::StatusOr<std::vector<uint8_t>> bytes = ParseHexBytes(row.bytes());
    if (!bytes.ok()) {
      add("bytes", bytes.status().message());
      continue;
    }
    if (bytes->empty()) add("bytes", "is empty");
    const uint64_t end = uint64_t{row.offset()} + bytes->size();
    if (row.offset() < previous_end) {
      add("offset", absl::StrFormat("0x%x is not above the row before, which "
                                    "ends at 0x%x",
                                    row.offset(), previous_end));
    }
    if (end > size) {
      add("offset", absl::StrFormat("the row ends at 0x%x, beyond the 0x%x "
                                    "bytes that there are",
                                    end, size));
    }
    previous_end = std::max(previous_end, end);
  }
  return ok;
}

bool CheckConfig(const PciDevice& device, FixtureProblems& problems) {
  if (device.schema_version() != kSchemaVersion) {
    problems.Add("schema_version",
                 absl::StrCat("is ", device.schema_version(),
                              "; this program reads version ", kSchemaVersion));
    return false;
  }
  if (!IsName(device.name())) {
    problems.Add("name", absl::StrCat("\"", device.name(),
                                      "\" is not a name of lower case letters, "
                                      "digits, '-' and '_'"));
  }
  CheckBdf(device.bdf(), "bdf", problems);
  if (device.config_space_size() != 256 && device.config_space_size() != 4096) {
    problems.Add("config_space_size",
                 absl::StrCat("is ", device.config_space_size(),
                              "; it is 256 or 4096 bytes"));
    return false;
  }
  if (device.config().empty()) {
    problems.Add("config", "has no row; a function has at least its header");
    return false;
  }
  bool ok = CheckRows(device.config(), "config", device.config_space_size(),
                      problems);
  uint64_t previous_end = 0;
  for (int i = 0; i < device.write_masks().size(); ++i) {
    const WriteMask& row = device.write_masks(i);
    ok &= CheckWriteMask(row, absl::StrCat("write_masks[", i, "]"),
                         previous_end, device.config_space_size(), problems);
    const uint64_t pattern = (row.writable().size() + 1) / 3;
    previous_end = std::max(
        previous_end,
        uint64_t{row.offset()} + (row.length() == 0 ? pattern : row.length()));
  }
  return ok;
}

void CheckIdentity(const PciDevice& device, const ConfigImage& config,
                   FixtureProblems& problems) {
  constexpr size_t kHeaderType = 0x0e;
  if ((config.bytes[kHeaderType] & 0x7f) != 0) {
    problems.Add("config",
                 absl::StrFormat("header type (register 0x0e) is 0x%02x; only "
                                 "endpoints, type 0, are passed through",
                                 config.bytes[kHeaderType] & 0x7f));
  }
  const Identity& identity = device.identity();
  if (!device.has_identity()) {
    problems.Add("identity", "is missing");
    return;
  }
  struct Register {
    std::string_view field;
    uint32_t stated;
    size_t offset;
    size_t width;
  };
  const std::array<Register, 6> registers = {{
      {"vendor_id", identity.vendor_id(), 0x00, 2},
      {"device_id", identity.device_id(), 0x02, 2},
      {"revision_id", identity.revision_id(), 0x08, 1},
      {"class_code", identity.class_code(), 0x09, 3},
      {"subsystem_vendor_id", identity.subsystem_vendor_id(), 0x2c, 2},
      {"subsystem_id", identity.subsystem_id(), 0x2e, 2},
  }};
  for (const Register& reg : registers) {
    // SR-IOV 3.4.1.1: both read 0xffff in a virtual function; the real ones
    // are known only through the physical function.
    if (device.is_virtual_function() && reg.offset < 4) {
      if (ReadLe16(config.bytes, reg.offset) != 0xffff) {
        problems.Add(absl::StrCat("identity.", reg.field),
                     absl::StrFormat("is_virtual_function is set but register "
                                     "0x%02x is not 0xffff",
                                     reg.offset));
      }
      continue;
    }
    const uint32_t mask = (1u << (8 * reg.width)) - 1;
    const uint32_t found = ReadLe32(config.bytes, reg.offset) & mask;
    if (found != reg.stated) {
      problems.Add(absl::StrCat("identity.", reg.field),
                   absl::StrFormat("is 0x%0*x, but register 0x%02x of `config` "
                                   "is 0x%0*x",
                                   2 * reg.width, reg.stated, reg.offset,
                                   2 * reg.width, found));
    }
  }
  if (!device.model().empty() && device.model() != "nvme" &&
      device.model() != "edu") {
    problems.Add("model", absl::StrCat("\"", device.model(),
                                       "\" is not a device model; there are "
                                       "\"nvme\" and \"edu\", or none"));
  }
  for (int i = 0; i < device.iommu_group().siblings().size(); ++i) {
    CheckBdf(device.iommu_group().siblings(i).bdf(),
             absl::StrCat("iommu_group.siblings[", i, "].bdf"), problems);
  }
  for (int i = 0; i < device.host_resources().size(); ++i) {
    const HostResource& resource = device.host_resources(i);
    if (resource.end() < resource.start()) {
      problems.Add(absl::StrCat("host_resources[", i, "].end"),
                   absl::StrFormat("0x%x is below start 0x%x", resource.end(),
                                   resource.start()));
    }
  }
}

}  // namespace passthru::fake
