// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/explain/explain.h"

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "passthru/devices/kernel/status_macros.h"
#include "passthru/devices/vfio_pci/capability_policy.h"
#include "passthru/devices/vfio_pci/expansion_rom.h"
#include "passthru/pci/bdf.h"
#include "passthru/pci/capabilities.h"
#include "passthru/pci/capability_id.h"
#include "passthru/pci/registers.h"
#include "passthru/testing/host/simulated_host.h"
#include "passthru/testing/kernel/kernel_version.h"
#include "passthru/vmm/explain/attachment.h"
#include "passthru/vmm/explain/explain_report.pb.h"
#include "passthru/vmm/explain/register_diff.h"
#include "passthru/vmm/explain/report_parts.h"

namespace passthru::explain {
namespace {

using vfio_pci::CapabilityPolicy;
using vfio_pci::CapabilityTreatment;

constexpr std::string_view kHideReason = "--hide names it";
constexpr std::string_view kShowReason = "--show names it";

// Adds a rule for the capability at an offset, of whichever list.
absl::Status AddRule(const Attachment& plain, uint16_t offset,
                     CapabilityTreatment treatment, std::string_view reason,
                     CapabilityPolicy& policy) {
  for (const auto& capability : plain.report.capabilities) {
    if (capability.offset != offset) continue;
    policy =
        capability.extended
            ? policy.With(static_cast<pci::ExtendedCapabilityId>(capability.id),
                          treatment, reason)
            : policy.With(static_cast<pci::CapabilityId>(capability.id),
                          treatment, reason);
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrFormat(
      "VFIO lists no capability at 0x%x. Without --hide and --show, explain "
      "lists them with their offsets",
      offset));
}

absl::StatusOr<Choices> ChoicesOf(const Wishes& wishes,
                                  const Attachment& plain) {
  Choices choices;
  for (const uint16_t offset : wishes.hide) {
    PASSTHRU_RETURN_IF_ERROR(AddRule(plain, offset, CapabilityTreatment::kHide,
                                     kHideReason, choices.policy));
  }
  for (const uint16_t offset : wishes.show) {
    PASSTHRU_RETURN_IF_ERROR(AddRule(plain, offset, CapabilityTreatment::kPass,
                                     kShowReason, choices.policy));
  }
  if (wishes.unlisted_read_only) {
    choices.policy = choices.policy.WithUnlistedReadOnly();
  }
  if (wishes.rom) {
    choices.rom.source = vfio_pci::RomOptions::Source::kDevice;
  }
  choices.max_vectors = wishes.max_vectors;
  choices.on_root_bus = !wishes.below_port;
  choices.intx = !wishes.no_intx;
  return choices;
}

void AddChange(std::string_view what, std::string_view before,
               std::string_view after, Report& report) {
  if (before == after) return;
  Change& change = *report.add_changes();
  change.set_what(std::string(what));
  change.set_before(std::string(before));
  change.set_after(std::string(after));
}

std::string Hex(const Register& reg, uint32_t value) {
  return absl::StrFormat("%0*x", 2 * static_cast<int>(reg.size()), value);
}

// Lists what the guest sees differently because of the wishes.
void AddChanges(const Report& plain, Report& report) {
  for (int i = 0;
       i < std::min(report.interrupts_size(), plain.interrupts_size()); ++i) {
    AddChange(absl::StrCat(report.interrupts(i).kind(), " vectors"),
              absl::StrCat(plain.interrupts(i).guest()),
              absl::StrCat(report.interrupts(i).guest()), report);
  }
  AddChange("expansion ROM", plain.rom().guest(), report.rom().guest(), report);
  // Both have the same registers, because the device's own lists name them.
  for (int i = 0; i < std::min(report.registers_size(), plain.registers_size());
       ++i) {
    const Register& before = plain.registers(i);
    const Register& after = report.registers(i);
    if (before.guest() == after.guest()) continue;
    AddChange(absl::StrFormat("%03x %s %s", after.offset(), after.group(),
                              after.name()),
              Hex(before, before.guest()), Hex(after, after.guest()), report);
  }
  for (const std::string& note : report.notes()) {
    bool known = false;
    for (const std::string& other : plain.notes()) known |= other == note;
    if (!known) AddChange("note", "", note, report);
  }
}

}  // namespace

bool Wishes::any() const {
  return !hide.empty() || !show.empty() || rom || max_vectors.has_value() ||
         below_port || no_intx || unlisted_read_only;
}

absl::StatusOr<Report> Explain(kernel::Syscalls* syscalls, pci::Bdf device,
                               std::string source, const Wishes& wishes) {
  PASSTHRU_ASSIGN_OR_RETURN(const Attachment plain,
                            Attach(syscalls, device, Choices()));
  Report report = MakeReport(plain, device, source);
  if (!wishes.any()) {
    AddOffers(plain, report);
    return report;
  }
  PASSTHRU_ASSIGN_OR_RETURN(const Choices choices, ChoicesOf(wishes, plain));
  PASSTHRU_ASSIGN_OR_RETURN(const Attachment changed,
                            Attach(syscalls, device, choices));
  Report result = MakeReport(changed, device, std::move(source));
  result.set_with_options(true);
  AddChanges(report, result);
  return result;
}

absl::StatusOr<Report> ExplainFixture(const std::string& path,
                                      fake::KernelVersion kernel,
                                      const Wishes& wishes) {
  fake::SimulatedHost host({.kernel = {.version = kernel}});
  PASSTHRU_ASSIGN_OR_RETURN(const pci::Bdf device, host.AddFixture(path));
  return Explain(
      &host.kernel(), device,
      absl::StrCat("simulated Linux ", fake::Name(kernel), ", hardware as in ",
                   std::filesystem::path(path).filename().string()),
      wishes);
}

}  // namespace passthru::explain
