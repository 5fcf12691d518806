// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/report/device_section.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "passthru/devices/interrupts/msix_vector_group.h"
#include "passthru/devices/vfio_pci/bar_area.h"
#include "passthru/devices/vfio_pci/capability_policy.h"
#include "passthru/devices/vfio_pci/interrupt_kind.h"
#include "passthru/pci/bar.h"
#include "passthru/vmm/plural.h"

namespace passthru::vmm {
namespace {

void AddBar(const vfio_pci::BarReport& from, Passthrough& passthrough) {
  Bar* to = passthrough.add_bars();
  to->set_index(from.bar.index.value());
  to->set_type(std::string(pci::Name(from.bar.type)));
  to->set_size(from.bar.size);
  to->set_prefetchable(from.bar.prefetchable);
  to->set_address(from.bar.address);
  for (const vfio_pci::BarAreaReport& area : from.areas) {
    Area* report = to->add_areas();
    report->set_offset(area.area.offset);
    report->set_size(area.area.size);
    report->set_mapped(area.in_guest);
    report->set_reason(!area.refused.empty() ? area.refused
                       : !area.shares_page.empty()
                           ? area.shares_page
                           : std::string(vfio_pci::Explain(area.area.kind)));
  }
}

void AddVector(const interrupts::VectorReport& from, Passthrough& passthrough) {
  Vector* to = passthrough.add_vectors();
  to->set_index(from.vector.value());
  to->set_state(std::string(interrupts::Name(from.state)));
  to->set_has_gsi(from.gsi.has_value());
  if (from.gsi.has_value()) to->set_gsi(from.gsi->value());
  to->set_message_address(from.message.address);
  to->set_message_data(from.message.data);
  to->set_from_user_space(from.user_space_signals);
}

}  // namespace

Passthrough ReportAttached(const AttachedDevice& device) {
  Passthrough passthrough;
  Device* to = passthrough.mutable_device();
  to->set_host_bdf(device.host.ToString());
  to->set_guest_bdf(device.guest.ToString());
  if (device.iommu_group.has_value()) to->set_iommu_group(*device.iommu_group);
  if (!device.report.lines.empty()) {
    to->set_identity(device.report.lines.front());
  }
  for (const vfio_pci::CapabilityReport& from : device.report.capabilities) {
    Capability* capability = passthrough.add_capabilities();
    capability->set_offset(from.offset);
    capability->set_name(from.name);
    capability->set_treatment(std::string(vfio_pci::Name(from.treatment)));
    capability->set_reason(from.reason);
    capability->set_decoded(from.decoded);
  }
  return passthrough;
}

void AddState(const vfio_pci::DeviceReport& settled, Passthrough& passthrough) {
  Device* counted = passthrough.mutable_device();
  counted->set_config_reads_from_shadow(settled.config.reads_from_shadow);
  counted->set_config_reads_from_device(settled.config.reads_from_device);
  counted->set_config_writes_to_shadow(settled.config.writes_to_shadow);
  counted->set_config_writes_to_device(settled.config.writes_to_device);
  for (const vfio_pci::BarReport& bar : settled.bars) AddBar(bar, passthrough);
  for (const vfio_pci::VectorGroupReport& group : settled.vector_groups) {
    if (group.kind != settled.interrupt) continue;
    for (const interrupts::VectorReport& vector : group.vectors) {
      AddVector(vector, passthrough);
    }
  }
  for (const vfio_pci::Degradation& part : settled.degraded) {
    passthrough.add_degraded(
        absl::StrCat(part.what, " ", vfio_pci::Name(part.kind),
                     part.why.empty() ? "" : ", because ", part.why));
  }
  for (const std::string& failure : settled.failures) {
    passthrough.add_failures(failure);
  }
}

std::pair<size_t, size_t> VectorActivity(const vfio_pci::DeviceReport& report) {
  size_t delivering = 0;
  size_t in_use = 0;
  for (const vfio_pci::VectorGroupReport& group : report.vector_groups) {
    for (const interrupts::VectorReport& vector : group.vectors) {
      if (vector.state == interrupts::VectorState::kOff) continue;
      ++in_use;
      if (vector.state != interrupts::VectorState::kMasked) ++delivering;
    }
  }
  return {delivering, in_use};
}

void AddActivity(const vfio_pci::DeviceReport& settled,
                 const std::map<uint32_t, uint64_t>& raised,
                 Passthrough& passthrough) {
  uint64_t all = 0;
  for (const auto& [vector, count] : raised) all += count;
  for (Vector& vector : *passthrough.mutable_vectors()) {
    const auto found = raised.find(vector.index());
    if (found != raised.end()) vector.set_raised(found->second);
  }
  std::string interrupts = absl::StrCat(vfio_pci::Name(settled.interrupt), ", ",
                                        Count(all, "interrupt"), " raised");
  for (const vfio_pci::VectorGroupReport& group : settled.vector_groups) {
    if (group.kind != settled.interrupt) continue;
    absl::StrAppend(&interrupts, ", ", group.shown_vectors, " of ",
                    Count(group.device_vectors, "vector"), " shown");
  }
  AddStep("interrupts", std::move(interrupts), passthrough);
  const vfio_pci::BarCounters& bar = settled.bar;
  AddStep(
      "trapped BAR accesses",
      absl::StrCat(Count(bar.device_reads, "read"), " and ",
                   Count(bar.device_writes, "write"),
                   " forwarded to the device, ", Count(bar.table_reads, "read"),
                   " and ", Count(bar.table_writes, "write"),
                   " of the MSI-X table and pending bits"),
      passthrough);
  AddStep("BARs",
          absl::StrCat("began to answer at an address ",
                       Count(bar.placements, "time")),
          passthrough);
  AddStep("resets", Count(settled.resets, "time"), passthrough);
  AddStep("way to reset it", settled.reset.ToString(), passthrough);
}

void AddStep(std::string title, std::string result, Passthrough& passthrough) {
  Step* step = passthrough.add_steps();
  step->set_title(std::move(title));
  step->set_result(std::move(result));
}

}  // namespace passthru::vmm
