// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/vfio_pci/device_report.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "passthru/pci/capabilities.h"
#include "passthru/pci/capability_id.h"
#include "passthru/pci/describe.h"
#include "passthru/pci/describe_capability.h"
#include "passthru/pci/describe_extended_capability.h"

namespace passthru::vfio_pci {
namespace {

using interrupts::VectorReport;
using interrupts::VectorState;

std::string CapabilityName(const CapabilityView& view) {
  return std::string(
      view.extended ? pci::Name(static_cast<pci::ExtendedCapabilityId>(view.id))
                    : pci::Name(static_cast<pci::CapabilityId>(view.id)));
}

std::string Decode(const ConfigShadow& shadow, const CapabilityView& view) {
  if (view.extended) {
    for (const auto& entry :
         pci::WalkExtendedCapabilities(shadow.bytes()).entries) {
      if (entry.offset == view.offset) {
        return pci::DescribeExtendedCapability(shadow.bytes(), entry);
      }
    }
  } else {
    for (const auto& entry : pci::WalkCapabilities(shadow.bytes()).entries) {
      if (entry.offset == view.offset) {
        return pci::DescribeCapability(shadow.bytes(), entry);
      }
    }
  }
  return "";
}

void AddVectors(const VectorGroupReport& report,
                std::vector<std::string>& lines) {
  lines.push_back(absl::StrFormat(
      "  %s: %u of the device's %u vectors shown%s%s", Name(report.kind),
      report.shown_vectors, report.device_vectors,
      report.limited_by.empty() ? "" : ", limited by ", report.limited_by));
  uint32_t idle = 0;
  for (const VectorReport& vector : report.vectors) {
    if (vector.state == VectorState::kOff ||
        (vector.state == VectorState::kMasked &&
         vector.message == pci::MsiMessage())) {
      ++idle;
      continue;
    }
    std::string gsi = "-";
    if (vector.gsi.has_value()) gsi = absl::StrCat(vector.gsi->value());
    lines.push_back(absl::StrFormat(
        "    vector %4u  %-7s  GSI %4s  %s  from user space %u%s",
        vector.vector.value(), Name(vector.state), gsi,
        vector.message.ToString(), vector.user_space_signals,
        vector.user_space_only ? " (always)" : ""));
  }
  if (idle != 0) lines.push_back(absl::StrFormat("    %u not in use", idle));
}

}  // namespace

std::string_view Name(DegradationKind kind) {
  switch (kind) {
    case DegradationKind::kTrapped:
      return "is trapped instead of mapped";
    case DegradationKind::kStaleSlot:
      return "is still reached where it was";
    case DegradationKind::kNotAnswering:
      return "does not answer";
    case DegradationKind::kFromUserSpace:
      return "is delivered from user space";
    case DegradationKind::kSilent:
      return "is silent";
    case DegradationKind::kFewerVectors:
      return "is shown with fewer vectors than the device has";
    case DegradationKind::kHidden:
      return "is hidden from the guest";
  }
  return "?";
}

void AddDegradations(DeviceReport& report) {
  for (const BarReport& bar : report.bars) {
    for (const BarAreaReport& area : bar.areas) {
      const bool lost = area.area.kind == BarAreaKind::kMapFailed ||
                        (area.area.mapped() && !area.refused.empty());
      if (!lost && !area.stale_slot) continue;
      report.degraded.push_back(
          {.kind = area.stale_slot ? DegradationKind::kStaleSlot
                                   : DegradationKind::kTrapped,
           .what = absl::StrFormat("%v+0x%x", bar.bar.index, area.area.offset),
           .why = area.refused});
    }
  }
  for (const VectorGroupReport& group : report.vector_groups) {
    if (group.shown_vectors < group.device_vectors) {
      report.degraded.push_back({.kind = group.shown_vectors == 0
                                             ? DegradationKind::kHidden
                                             : DegradationKind::kFewerVectors,
                                 .what = std::string(Name(group.kind)),
                                 .why = group.limited_by});
    }
    for (const VectorReport& vector : group.vectors) {
      if (!vector.unarmed && !vector.user_space_only) continue;
      report.degraded.push_back(
          {.kind = vector.unarmed ? DegradationKind::kSilent
                                  : DegradationKind::kFromUserSpace,
           .what = absl::StrFormat("%s vector %u", Name(group.kind),
                                   vector.vector.value())});
    }
  }
}

std::string_view Name(ResetKind kind) {
  switch (kind) {
    case ResetKind::kNone:
      return "none";
    case ResetKind::kFunctionLevel:
      return "function level reset";
    case ResetKind::kPowerManagement:
      return "power management reset";
    case ResetKind::kByKernel:
      return "reset by the host's kernel";
    case ResetKind::kHotReset:
      return "hot reset of its slot or bus";
  }
  return "unknown";
}

std::string ResetReport::ToString() const {
  std::string text(Name(kind));
  if (!also_resets.empty()) {
    absl::StrAppend(&text, ", together with ",
                    absl::StrJoin(also_resets, ", "));
  }
  if (!why_none.empty()) absl::StrAppend(&text, ": ", why_none);
  return text;
}

const RegisterView* FindReason(const DeviceReport& report, uint16_t offset) {
  for (auto view = report.registers.rbegin(); view != report.registers.rend();
       ++view) {
    if (offset >= view->offset && offset - view->offset < view->size) {
      return &*view;
    }
  }
  return nullptr;
}

void FillConfigReport(const ConfigShadow& shadow, DeviceReport& report) {
  std::vector<uint64_t> sizes(pci::BarIndex::kCount, 0);
  for (const pci::Bar& bar : shadow.Bars()) {
    sizes[bar.index.value()] = bar.size;
  }
  if (const auto rom = shadow.Rom(); rom.has_value()) {
    sizes[rom->index.value()] = rom->size;
  }
  report.lines = pci::DescribeDevice(shadow.bytes(), sizes);
  report.registers = shadow.registers();
  for (const CapabilityView& view : shadow.capabilities()) {
    CapabilityReport capability = {.extended = view.extended,
                                   .id = view.id,
                                   .offset = view.offset,
                                   .name = CapabilityName(view),
                                   .treatment = view.treatment,
                                   .reason = view.reason,
                                   .by_vmm = view.by_vmm};
    if (capability.shown()) capability.decoded = Decode(shadow, view);
    report.capabilities.push_back(std::move(capability));
  }
  report.malformed = shadow.malformed();
}

std::vector<std::string> ToLines(const BarReport& report) {
  std::vector<std::string> lines = {absl::StrCat(
      pci::ToString(report.bar), report.placed ? "" : "  (not decoding)",
      report.problem.empty() ? "" : "  ", report.problem)};
  for (const BarAreaReport& area : report.areas) {
    std::string why(Explain(area.area.kind));
    if (area.stale_slot) {
      why = absl::StrCat("still reached where it was: ", area.refused);
    } else if (area.area.mapped() && !area.refused.empty()) {
      why = absl::StrCat("no slot: ", area.refused);
    } else if (!area.refused.empty()) {
      absl::StrAppend(&why, ": ", area.refused);
    } else if (!area.shares_page.empty()) {
      why = area.shares_page;
    } else if (area.area.mapped()) {
      why = area.in_guest ? "the guest reaches it without an exit"
                          : "no slot while it does not decode";
    }
    lines.push_back(absl::StrFormat(
        "  +0x%08x  %#10x  %-7s  %s", area.area.offset, area.area.size,
        area.area.mapped() && area.refused.empty() && area.shares_page.empty()
            ? "mapped"
            : "trapped",
        why));
  }
  return lines;
}

std::string ToString(const RomReport& report) {
  if (!report.bar.has_value()) {
    return report.readable ? "ROM: not shown, because " + report.hidden_reason
                           : "";
  }
  std::string text = absl::StrFormat("%s  %s, %u bytes, read %u times",
                                     pci::ToString(*report.bar), report.source,
                                     report.image_size, report.reads);
  if (!report.placed) absl::StrAppend(&text, "  (not decoding)");
  if (!report.problem.empty()) absl::StrAppend(&text, "  ", report.problem);
  if (!report.note.empty()) {
    absl::StrAppend(&text,
                    "  The guest's firmware may not run it: ", report.note);
  }
  return text;
}

std::string ToString(const CapabilityReport& report) {
  const std::string reason =
      report.shown() && !report.by_vmm
          ? ""
          : absl::StrFormat("  (%s%s)", report.by_vmm ? "by the VMM: " : "",
                            report.reason);
  return absl::StrFormat(
      "%-11s  %s%s", Name(report.treatment),
      report.shown() ? report.decoded
                     : absl::StrFormat("%0*x: %s", report.extended ? 3 : 2,
                                       report.offset, report.name),
      reason);
}

std::vector<std::string> ToLines(const DeviceReport& report) {
  std::vector<std::string> lines;
  lines.push_back(report.name);
  if (!report.lines.empty()) lines.push_back("  " + report.lines.front());
  for (const std::string& line : report.overrides) {
    lines.push_back("  by the VMM: " + line);
  }
  lines.push_back("Capabilities");
  for (const CapabilityReport& capability : report.capabilities) {
    lines.push_back("  " + ToString(capability));
  }
  for (const std::string& problem : report.malformed) {
    lines.push_back("  broken: " + problem);
  }
  lines.push_back("BARs");
  for (const BarReport& bar : report.bars) {
    for (const std::string& line : ToLines(bar)) lines.push_back("  " + line);
  }
  if (const std::string rom = ToString(report.rom); !rom.empty()) {
    lines.push_back("  " + rom);
  }
  lines.push_back(
      absl::StrCat("Interrupts: ", std::string(Name(report.interrupt))));
  if (!report.intx_hidden_reason.empty()) {
    lines.push_back("  INTx is hidden: " + report.intx_hidden_reason);
  }
  for (const VectorGroupReport& group : report.vector_groups) {
    AddVectors(group, lines);
  }
  lines.push_back("Reset: " + report.reset.ToString());
  const ConfigCounters& config = report.config;
  lines.push_back(absl::StrFormat(
      "Configuration: %u reads from the shadow, %u from the device; %u writes "
      "to the shadow, %u to the device; %u failed",
      config.reads_from_shadow, config.reads_from_device,
      config.writes_to_shadow, config.writes_to_device, config.failures));
  const BarCounters& bar = report.bar;
  lines.push_back(absl::StrFormat(
      "BAR traps: %u reads and %u writes forwarded, %u and %u of MSI-X "
      "structures; %u failed; %u placements, %u refused; %u resets",
      bar.device_reads, bar.device_writes, bar.table_reads, bar.table_writes,
      bar.failures, bar.placements, bar.refused_placements, report.resets));
  for (const Degradation& degradation : report.degraded) {
    lines.push_back(absl::StrCat(
        "Degraded: ", degradation.what, " ", Name(degradation.kind),
        degradation.why.empty() ? "" : ": ", degradation.why));
  }
  if (report.failure_count != 0) {
    lines.push_back(absl::StrFormat("Failures: %u", report.failure_count));
  }
  for (const std::string& failure : report.failures) {
    lines.push_back("  " + failure);
  }
  return lines;
}

}  // namespace passthru::vfio_pci
