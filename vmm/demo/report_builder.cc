// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/demo/report_builder.h"

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "passthru/devices/interrupts/msix_vector_group.h"
#include "passthru/devices/vfio_pci/bar_area.h"
#include "passthru/devices/vfio_pci/capability_policy.h"
#include "passthru/devices/vfio_pci/device_report.h"
#include "passthru/pci/bar.h"
#include "passthru/pci/bdf.h"
#include "passthru/testing/guest/drivers/guest_driver.h"
#include "passthru/vmm/plural.h"

namespace passthru::vmm {
namespace {

// Returns a number of interrupt vectors, as in "1 MSI-X vector".
std::string Vectors(uint64_t n, const std::string& kind) {
  return Count(n, absl::StrCat(kind, " vector"));
}

void AddStep(std::string title, std::string result, Passthrough& passthrough) {
  Step* step = passthrough.add_steps();
  step->set_title(std::move(title));
  step->set_result(std::move(result));
}

void AddSteps(const guest::GuestNvmeReport& nvme, Passthrough& passthrough) {
  AddStep(
      "bring up",
      absl::StrCat("\"", nvme.model, "\" with ", Count(nvme.blocks, "block"),
                   " of ", Count(nvme.block_size, "byte"), ", ",
                   Count(nvme.io_queues, "I/O queue"), " on ",
                   Vectors(nvme.interrupt_vectors, nvme.interrupt_kind)),
      passthrough);
  if (nvme.blocks_written != 0) {
    AddStep("write",
            absl::StrCat(Count(nvme.blocks_written, "block"), " by DMA"),
            passthrough);
  }
  AddStep("read", absl::StrCat(Count(nvme.blocks_read, "block"), " by DMA"),
          passthrough);
  if (nvme.blocks_written != 0) {
    AddStep("compare",
            absl::StrCat(Count(nvme.blocks_verified, "block"), " as written, ",
                         nvme.blocks_wrong, " different"),
            passthrough);
  }
}

void AddSteps(const guest::GuestEduReport& edu, Passthrough& passthrough) {
  AddStep("bring up",
          absl::StrFormat("edu, identification 0x%08x, %s", edu.identification,
                          edu.alive ? "alive" : "dead"),
          passthrough);
  AddStep("compute",
          absl::StrFormat("%d! = %d, reported by interrupt", edu.factorial_of,
                          edu.factorial),
          passthrough);
  AddStep("copy",
          absl::StrCat(Count(edu.bytes_copied, "byte"),
                       " to the device and back by DMA, ", edu.bytes_verified,
                       " unchanged"),
          passthrough);
}

// Adds the steps of a device that none of the guest's drivers knows or can
// drive.
void AddGenericSteps(const guest::GuestDeviceReport& device,
                     Passthrough& passthrough) {
  if (!device.why_generic.empty()) {
    AddStep("not driven", device.why_generic, passthrough);
  }
  AddStep("bring up",
          absl::StrCat(
              device.why_generic.empty() ? "no driver in this guest, " : "",
              device.interrupt_vectors == 0
                  ? "no message interrupts"
                  : absl::StrCat(Vectors(device.interrupt_vectors,
                                         device.interrupt_kind),
                                 " enabled and disabled")),
          passthrough);
}

// Adds what the guest did with `device`, after the vectors of `passthrough`.
void AddSteps(const guest::GuestReport& guest,
              const guest::GuestDeviceReport& device,
              Passthrough& passthrough) {
  AddStep("enumerate",
          absl::StrCat(Count(guest.devices.size(), "function"),
                       " on bus 0, this one with ",
                       Count(device.pci.bars.size(), "BAR"), " and ",
                       Count(device.pci.capabilities.size() +
                                 device.pci.extended_capabilities.size(),
                             "capability", "capabilities")),
          passthrough);
  if (device.nvme.has_value()) {
    AddSteps(*device.nvme, passthrough);
  } else if (device.edu.has_value()) {
    AddSteps(*device.edu, passthrough);
  } else {
    AddGenericSteps(device, passthrough);
  }
  for (const guest::GuestBarMove& move : device.moves) {
    AddStep("move a BAR",
            absl::StrFormat("BAR%d from 0x%x to 0x%x, then work again",
                            move.bar, move.from, move.to),
            passthrough);
  }
  uint64_t taken = 0;
  for (const Vector& vector : passthrough.vectors()) taken += vector.taken();
  AddStep("interrupts",
          absl::StrCat(taken, " taken, ", guest.unexpected_interrupts.size(),
                       " unexpected in the guest"),
          passthrough);
}

void AddBar(const vfio_pci::BarReport& from,
            const std::vector<guest::GuestBarMove>& moves,
            Passthrough& passthrough) {
  Bar* to = passthrough.add_bars();
  to->set_index(from.bar.index.value());
  to->set_type(std::string(pci::Name(from.bar.type)));
  to->set_size(from.bar.size);
  to->set_prefetchable(from.bar.prefetchable);
  to->set_address(from.bar.address);
  for (const guest::GuestBarMove& move : moves) {
    if (move.bar == from.bar.index.value()) to->set_moved_from(move.from);
  }
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

void AddVector(const interrupts::VectorReport& from,
               const guest::GuestReport& guest, Passthrough& passthrough) {
  Vector* to = passthrough.add_vectors();
  to->set_index(from.vector.value());
  to->set_state(std::string(interrupts::Name(from.state)));
  to->set_has_gsi(from.gsi.has_value());
  if (from.gsi.has_value()) to->set_gsi(from.gsi->value());
  to->set_message_address(from.message.address);
  to->set_message_data(from.message.data);
  to->set_from_user_space(from.user_space_signals);
  for (const auto& line : guest.interrupts) {
    if (line.message.address == from.message.address &&
        line.message.data == from.message.data) {
      to->set_handler(line.name);
      to->set_taken(to->taken() + line.count);
    }
  }
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

void AddUse(pci::Bdf bdf, const vfio_pci::DeviceReport& settled,
            const guest::GuestReport& guest, Passthrough& passthrough) {
  Device* counted = passthrough.mutable_device();
  counted->set_config_reads_from_shadow(settled.config.reads_from_shadow);
  counted->set_config_reads_from_device(settled.config.reads_from_device);
  counted->set_config_writes_to_shadow(settled.config.writes_to_shadow);
  counted->set_config_writes_to_device(settled.config.writes_to_device);
  for (const vfio_pci::VectorGroupReport& group : settled.vector_groups) {
    if (group.kind != settled.interrupt) continue;
    for (const interrupts::VectorReport& vector : group.vectors) {
      AddVector(vector, guest, passthrough);
    }
  }
  for (const guest::GuestDeviceReport& device : guest.devices) {
    if (device.pci.bdf != bdf) continue;
    counted->set_vendor_id(device.pci.vendor_id);
    counted->set_device_id(device.pci.device_id);
    counted->set_class_code(device.pci.class_code);
    for (const vfio_pci::BarReport& bar : settled.bars) {
      AddBar(bar, device.moves, passthrough);
    }
    AddSteps(guest, device, passthrough);
  }
}

}  // namespace passthru::vmm
