// SPDX-License-Identifier: Apache-2.0
#include "testing/guest/guest_driver.h"

#include <linux/pci_regs.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "testing/guest/guest_edu.h"
#include "testing/guest/guest_machine.h"
#include "testing/guest/guest_nvme.h"
#include "testing/guest/linux_irq_vectors.h"
#include "testing/guest/linux_pci_core.h"
#include "testing/guest/linux_pci_device.h"
#include "testing/guest/linux_pci_probe.h"
#include "testing/guest/pci_alloc_irq_vectors.h"

namespace passthru::fake {
namespace {

constexpr uint32_t kClassNvme = 0x010802;
constexpr uint16_t kQemuVendor = 0x1234;
constexpr uint16_t kEduDevice = 0x11e8;
constexpr uint8_t kBaseClassBridge = 0x06;
constexpr uint8_t kFactorialOf = 12;  // The last that fits into 32 bits.

absl::Status MoveBars(GuestMachine& machine, LinuxPciDevice& device,
                      std::vector<GuestBarMove>& moves) {
  for (const GuestBar& bar : device.info.bars) {
    if (bar.is_rom() || bar.is_io()) continue;
    const uint64_t from = bar.address;
    if (absl::Status s = machine.resources().Move(device, bar.index); !s.ok()) {
      return s;
    }
    moves.push_back({bar.index, from, bar.address});
  }
  return absl::OkStatus();
}

// Lets a driver work, moves the BARs under it, and lets it work again. `work`
// is given a seed for what it writes.
absl::Status WorkAndMove(GuestMachine& machine, LinuxPciDevice& device,
                         const GuestOptions& options, GuestDeviceReport& report,
                         absl::FunctionRef<absl::Status(uint64_t seed)> work) {
  options.on_phase(GuestPhase::kWork);
  if (absl::Status s = work(1); !s.ok() || !options.move_bars) return s;
  options.on_phase(GuestPhase::kMoveBars);
  if (absl::Status s = MoveBars(machine, device, report.moves); !s.ok()) {
    return s;
  }
  options.on_phase(GuestPhase::kWorkAgain);
  return work(2);
}

absl::Status RunNvme(GuestMachine& machine, LinuxPciDevice& device,
                     const GuestOptions& options, GuestDeviceReport& report) {
  absl::StatusOr<std::unique_ptr<GuestNvme>> driver =
      GuestNvme::Start(&machine, &device, options.nvme);
  if (!driver.ok()) return driver.status();
  const uint64_t blocks =
      std::min(options.nvme_blocks, (*driver)->report().blocks);
  const auto work = [&](uint64_t seed) {
    return options.nvme.read_only ? (*driver)->Read(0, blocks)
                                  : (*driver)->WriteAndVerify(0, blocks, seed);
  };
  absl::Status status = WorkAndMove(machine, device, options, report, work);
  options.on_phase(GuestPhase::kShutDown);
  status.Update((*driver)->Shutdown());
  report.nvme = (*driver)->report();
  return status;
}

absl::Status RunEdu(GuestMachine& machine, LinuxPciDevice& device,
                    const GuestOptions& options, GuestDeviceReport& report) {
  absl::StatusOr<std::unique_ptr<GuestEdu>> driver =
      GuestEdu::Start(&machine, &device);
  if (!driver.ok()) return driver.status();
  const auto work = [&](uint64_t seed) {
    if (absl::Status s = (*driver)->Factorial(kFactorialOf).status(); !s.ok()) {
      return s;
    }
    return (*driver)->CopyAndVerify(4096, static_cast<uint8_t>(seed));
  };
  absl::Status status = WorkAndMove(machine, device, options, report, work);
  options.on_phase(GuestPhase::kShutDown);
  status.Update((*driver)->Shutdown());
  report.edu = (*driver)->report();
  return status;
}

absl::Status RunGeneric(GuestMachine& machine, LinuxPciDevice& device,
                        const GuestOptions& options,
                        GuestDeviceReport& report) {
  if (absl::Status s = PciEnableDevice(device); !s.ok()) return s;
  PciSetMaster(device);
  if (options.move_bars) {
    options.on_phase(GuestPhase::kMoveBars);
    if (absl::Status s = MoveBars(machine, device, report.moves); !s.ok()) {
      return s;
    }
  }
  options.on_phase(GuestPhase::kWork);
  const bool messages = device.FindCapability(PCI_CAP_ID_MSI) != 0 ||
                        device.FindCapability(PCI_CAP_ID_MSIX) != 0;
  absl::Status status = absl::OkStatus();
  if (messages) {
    absl::StatusOr<std::unique_ptr<LinuxIrqVectors>> vectors =
        PciAllocIrqVectors(machine.irq_context(), device, 1,
                           options.generic_vectors);
    if (!vectors.ok()) return vectors.status();
    report.interrupt_kind = std::string((*vectors)->kind());
    report.interrupt_vectors = (*vectors)->count();
    for (uint16_t i = 0; i < (*vectors)->count() && status.ok(); ++i) {
      status = (*vectors)->Request(
          i, absl::StrCat(device.name(), " vector ", i), [] {});
    }
    options.on_phase(GuestPhase::kShutDown);
    (*vectors)->Free();
  } else {
    options.on_phase(GuestPhase::kShutDown);
  }
  PciDisableDevice(device);
  return status;
}

absl::Status RunDevice(GuestMachine& machine, LinuxPciDevice& device,
                       const GuestOptions& options, GuestDeviceReport& report) {
  const GuestPciInfo& info = device.info;
  if (info.class_code >> 16 == kBaseClassBridge) {
    report.driver = "none";
    return absl::OkStatus();
  }
  options.on_phase(GuestPhase::kBringUp);
  if (info.class_code == kClassNvme) {
    report.driver = "nvme";
    return RunNvme(machine, device, options, report);
  }
  if (info.vendor_id == kQemuVendor && info.device_id == kEduDevice) {
    report.driver = "edu";
    return RunEdu(machine, device, options, report);
  }
  report.driver = "generic";
  return RunGeneric(machine, device, options, report);
}

}  // namespace

std::string_view Name(GuestPhase phase) {
  switch (phase) {
    case GuestPhase::kEnumerate:
      return "enumerate";
    case GuestPhase::kBringUp:
      return "bring up";
    case GuestPhase::kWork:
      return "work";
    case GuestPhase::kMoveBars:
      return "move BARs";
    case GuestPhase::kWorkAgain:
      return "work again";
    case GuestPhase::kShutDown:
      return "shut down";
  }
  return "?";
}

absl::Status RunGuest(GuestCpu& cpu, const GuestOptions& options,
                      GuestReport& report) {
  report = GuestReport();
  options.on_phase(GuestPhase::kEnumerate);
  GuestMachine machine(&cpu, options.layout);
  const std::vector<std::unique_ptr<LinuxPciDevice>> devices =
      ScanBus0(&machine.config(), options.probe);
  for (const auto& device : devices) machine.resources().Claim(*device);
  absl::Status first_failure = absl::OkStatus();
  for (const auto& device : devices) {
    GuestDeviceReport& one = report.devices.emplace_back();
    one.driver = "none";
    one.status = machine.resources().AssignUnclaimed(*device);
    if (one.status.ok()) {
      one.status = RunDevice(machine, *device, options, one);
    }
    one.pci = device->info;
    first_failure.Update(one.status);
  }
  report.interrupts = machine.interrupts().lines();
  report.unexpected_interrupts = machine.interrupts().unexpected();
  return first_failure;
}

}  // namespace passthru::fake
