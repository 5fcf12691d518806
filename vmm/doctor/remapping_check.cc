// SPDX-License-Identifier: Apache-2.0
//
// Finds out without opening a group whether interrupts are remapped. The names
// of the kernel's interrupt controllers tell it: those behind the remapping of
// Intel's and AMD's IOMMUs begin with "IR-", as in "IR-PCI-MSI"
// (dmar_msi_init(), irq_remapping_alloc() and their like).
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "passthru/vmm/doctor/checks.h"
#include "passthru/vmm/doctor/doctor_report.pb.h"
#include "passthru/vmm/doctor/host_files.h"

namespace passthru::doctor {
namespace {

constexpr std::string_view kRemapping = "interrupt remapping";

}  // namespace

void ReadRemapping(const HostFiles& host, HostFacts& facts) {
  const auto interrupts = host.Text("/proc/interrupts");
  for (const std::string_view word : absl::StrSplit(
           interrupts.value, absl::ByAnyChar(" \n"), absl::SkipEmpty())) {
    for (const std::string_view controller : {"IO-APIC", "PCI-MSI"}) {
      const bool remapped =
          absl::StartsWith(word, absl::StrCat("IR-", controller));
      if (!remapped && !absl::StartsWith(word, controller)) continue;
      facts.remapping = facts.remapping.value_or(false) || remapped;
      if (remapped || facts.remapping_known_by.empty()) {
        facts.remapping_known_by = absl::StrCat("/proc/interrupts: ", word);
      }
    }
  }
}

Finding RemappingIsOff(const HostFacts& facts, std::string known_by) {
  // Whoever gives all the commands has not chosen this.
  constexpr std::string_view kAccept =
      "# echo 1 > /sys/module/vfio_iommu_type1/parameters/"
      "allow_unsafe_interrupts";
  std::vector<std::string> to_do = {
      "# enable interrupt remapping (x2APIC) in the firmware's setup"};
  const size_t edits = to_do.size();
  for (const std::string& word : facts.command_line) {
    if (word != "nointremap" && word != "intremap=off") continue;
    AppendWithoutWord(word, to_do);
  }
  if (to_do.size() > edits) to_do.emplace_back(kUpdateGrub);
  // The risk is accepted already.
  if (facts.unsafe_interrupts == true) {
    return MakeFinding(kRemapping, Finding::WARNING,
                       "is off, and the kernel was told to accept that: a "
                       "guest can forge interrupts",
                       {std::move(known_by)}, std::move(to_do));
  }
  to_do.emplace_back("# or accept the risk:");
  to_do.emplace_back("# modprobe vfio_iommu_type1");
  to_do.emplace_back(kAccept);
  return MakeFinding(kRemapping, Finding::PROBLEM,
                     "is off, so a guest could forge interrupts through it, "
                     "and the kernel refuses",
                     {std::move(known_by)}, std::move(to_do));
}

Finding RemappingWithoutGroup(const HostFacts& facts, std::string_view why) {
  if (!facts.has_iommu || !facts.remapping.has_value()) {
    return MakeFinding(kRemapping, Finding::UNKNOWN,
                       absl::StrCat("not tried, ", why));
  }
  if (!*facts.remapping) return RemappingIsOff(facts, facts.remapping_known_by);
  return MakeFinding(kRemapping, Finding::OK,
                     "is on: the host's own interrupts go through it",
                     {facts.remapping_known_by});
}

Finding RemappingOfAttached(const HostFacts& facts, std::string known_by) {
  if (facts.unsafe_interrupts == false) {
    return MakeFinding(
        kRemapping, Finding::OK,
        "is on: the kernel attaches the group without leave to be unsafe",
        {std::move(known_by)});
  }
  if (facts.remapping.has_value()) return RemappingWithoutGroup(facts, "");
  return MakeFinding(
      kRemapping, Finding::UNKNOWN,
      "the kernel attaches the group, but perhaps only because unsafe "
      "interrupts are allowed",
      {std::move(known_by)});
}

}  // namespace passthru::doctor
