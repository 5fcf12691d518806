// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/demo/report_builder.h"

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "passthru/devices/vfio_pci/device_report.h"
#include "passthru/pci/bdf.h"
#include "passthru/testing/guest/drivers/guest_driver.h"
#include "passthru/vmm/plural.h"
#include "passthru/vmm/report/device_section.h"

namespace passthru::vmm {
namespace {

// Returns a number of interrupt vectors, as in "1 MSI-X vector".
std::string Vectors(uint64_t n, const std::string& kind) {
  return Count(n, absl::StrCat(kind, " vector"));
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

void AddMoves(const std::vector<guest::GuestBarMove>& moves,
              Passthrough& passthrough) {
  for (Bar& bar : *passthrough.mutable_bars()) {
    for (const guest::GuestBarMove& move : moves) {
      if (move.bar == static_cast<int>(bar.index())) {
        bar.set_moved_from(move.from);
      }
    }
  }
}

// Adds what the guest calls the interrupts, and how often it took them.
void AddHandlers(const guest::GuestReport& guest, Passthrough& passthrough) {
  for (Vector& vector : *passthrough.mutable_vectors()) {
    for (const auto& line : guest.interrupts) {
      if (line.message.address == vector.message_address() &&
          line.message.data == vector.message_data()) {
        vector.set_handler(line.name);
        vector.set_taken(vector.taken() + line.count);
      }
    }
  }
}

}  // namespace

void AddUse(pci::Bdf bdf, const vfio_pci::DeviceReport& settled,
            const guest::GuestReport& guest, Passthrough& passthrough) {
  AddState(settled, passthrough);
  AddHandlers(guest, passthrough);
  Device* counted = passthrough.mutable_device();
  for (const guest::GuestDeviceReport& device : guest.devices) {
    if (device.pci.bdf != bdf) continue;
    counted->set_vendor_id(device.pci.vendor_id);
    counted->set_device_id(device.pci.device_id);
    counted->set_class_code(device.pci.class_code);
    AddMoves(device.moves, passthrough);
    AddSteps(guest, device, passthrough);
  }
}

}  // namespace passthru::vmm
