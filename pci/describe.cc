// SPDX-License-Identifier: Apache-2.0
#include "passthru/pci/describe.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/types/span.h"
#include "passthru/pci/bar.h"
#include "passthru/pci/bar_index.h"
#include "passthru/pci/capabilities.h"
#include "passthru/pci/class_code.h"
#include "passthru/pci/config_reg.h"
#include "passthru/pci/describe_capability.h"
#include "passthru/pci/describe_extended_capability.h"
#include "passthru/pci/registers.h"

namespace passthru::pci {
namespace {

bool IsType0(absl::Span<const uint8_t> config) {
  return HeaderType::kLayout.Get(ReadRegister(config, kHeaderType)) ==
         HeaderType::kLayoutNormal;
}

std::string Identity(absl::Span<const uint8_t> config) {
  const ClassCode code = ClassCode::Read(config);
  std::string line = absl::StrFormat(
      "%04x:%04x rev %02x  %s [%v]", ReadRegister(config, kVendorId),
      ReadRegister(config, kDeviceId), ReadRegister(config, kRevisionId),
      Name(code), code);
  if (IsType0(config)) {
    absl::StrAppendFormat(&line, "  subsystem %04x:%04x",
                          ReadRegister(config, kSubsystemVendorId),
                          ReadRegister(config, kSubsystemId));
  }
  return line;
}

// Appends only what the registers themselves tell.
void AppendBarsWithoutSizes(absl::Span<const uint8_t> config,
                            std::vector<std::string>& lines) {
  for (uint8_t i = 0; i < BarIndex::kCount; ++i) {
    const BarIndex index(i);
    const uint32_t low = ReadRegister(config, RegisterOf(index));
    if (low == 0) continue;
    const BarType type =
        index.is_rom() ? BarType::kMemory32 : DecodeBarType(low);
    uint64_t address = low & ~BarFlagsMask(index, type);
    if (type == BarType::kMemory64 && i + 1 < BarIndex::kRomValue) {
      ++i;
      address |= uint64_t{ReadRegister(config, RegisterOf(BarIndex(i)))} << 32;
    }
    lines.push_back(
        absl::StrFormat("%v: %s at 0x%08x", index, Name(type), address));
  }
}

void AppendBars(absl::Span<const uint8_t> config,
                absl::Span<const uint64_t> sizes,
                std::vector<std::string>& lines) {
  if (sizes.empty()) {
    AppendBarsWithoutSizes(config, lines);
    return;
  }
  const absl::StatusOr<std::vector<Bar>> bars = DecodeBars(config, sizes);
  if (!bars.ok()) {
    lines.push_back(absl::StrCat("BARs malformed: ", bars.status().message()));
    return;
  }
  for (const Bar& bar : *bars) lines.push_back(ToString(bar));
}

}  // namespace

std::vector<std::string> DescribeDevice(absl::Span<const uint8_t> config,
                                        absl::Span<const uint64_t> bar_sizes) {
  std::vector<std::string> lines;
  lines.push_back(Identity(config));
  if (config.size() >= kStandardHeaderSize && IsType0(config)) {
    AppendBars(config, bar_sizes, lines);
  }
  const CapabilityList standard = WalkCapabilities(config);
  for (const Capability& capability : standard.entries) {
    lines.push_back(DescribeCapability(config, capability));
  }
  if (!standard.malformed.empty()) {
    lines.push_back(
        absl::StrCat("capability list malformed: ", standard.malformed));
  }
  const ExtendedCapabilityList extended = WalkExtendedCapabilities(config);
  for (const ExtendedCapability& capability : extended.entries) {
    lines.push_back(DescribeExtendedCapability(config, capability));
  }
  if (!extended.malformed.empty()) {
    lines.push_back(absl::StrCat("extended capability list malformed: ",
                                 extended.malformed));
  }
  return lines;
}

}  // namespace passthru::pci
