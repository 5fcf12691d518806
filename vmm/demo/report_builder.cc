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

namespace passthru::vmm {
namespace {

void AddStep(std::string title, std::string result, Passthrough& passthrough) {
  Step* step = passthrough.add_steps();
  step->set_title(std::move(title));
  step->set_result(std::move(result));
}

void AddSteps(const guest::GuestNvmeReport& nvme, Passthrough& passthrough) {
  AddStep(
      "bring up",
      absl::StrFormat("\"%s\", %d blocks of %d bytes; %d I/O queues "
                      "on %d %s vectors",
                      nvme.model, nvme.blocks, nvme.block_size, nvme.io_queues,
                      nvme.interrupt_vectors, nvme.interrupt_kind),
      passthrough);
  if (nvme.blocks_written != 0) {
    AddStep("write", absl::StrCat(nvme.blocks_written, " blocks by DMA"),
            passthrough);
  }
  AddStep("read", absl::StrCat(nvme.blocks_read, " blocks by DMA"),
          passthrough);
  if (nvme.blocks_written != 0) {
    AddStep("compare",
            absl::StrFormat("%d blocks as written, %d not",
                            nvme.blocks_verified, nvme.blocks_wrong),
            passthrough);
  }
}

void AddSteps(const guest::GuestEduReport& edu, Passthrough& passthrough) {
  AddStep("bring up",
          absl::StrFormat("edu, identification 0x%08x, %s", edu.identification,
                          edu.alive ? "alive" : "dead"),
          passthrough);
  AddStep("compute",
          absl::StrFormat("%d! = %d, said by interrupt", edu.factorial_of,
                          edu.factorial),
          passthrough);
  AddStep("copy",
          absl::StrFormat("%d bytes to the device and back by DMA, %d as sent",
                          edu.bytes_copied, edu.bytes_verified),
          passthrough);
}

// Adds the steps of a device that none of the guest's drivers knows.
void AddGenericSteps(const guest::GuestDeviceReport& device,
                     Passthrough& passthrough) {
  AddStep(
      "bring up",
      device.interrupt_vectors == 0
          ? "no driver for it here, no message interrupts"
          : absl::StrFormat("no driver for it here: %d %s vectors on "
                            "and off",
                            device.interrupt_vectors, device.interrupt_kind),
      passthrough);
}

// Adds what the guest did with `device`, after the vectors of `passthrough`.
void AddSteps(const guest::GuestReport& guest,
              const guest::GuestDeviceReport& device,
              Passthrough& passthrough) {
  AddStep("enumerate",
          absl::StrFormat("%d functions on bus 0; ours: %d BARs, "
                          "%d capabilities",
                          guest.devices.size(), device.pci.bars.size(),
                          device.pci.capabilities.size() +
                              device.pci.extended_capabilities.size()),
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
            absl::StrFormat("BAR%d from 0x%x to 0x%x, and work again", move.bar,
                            move.from, move.to),
            passthrough);
  }
  uint64_t taken = 0;
  for (const Vector& vector : passthrough.vectors()) taken += vector.taken();
  AddStep("interrupts",
          absl::StrFormat("%d taken; unexpected in the guest: %d", taken,
                          guest.unexpected_interrupts.size()),
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
    report->set_reason(area.refused.empty()
                           ? std::string(vfio_pci::Explain(area.area.kind))
                           : area.refused);
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
    for (const vfio_pci::BarReport& bar : settled.bars) {
      AddBar(bar, device.moves, passthrough);
    }
    AddSteps(guest, device, passthrough);
  }
}

}  // namespace passthru::vmm
