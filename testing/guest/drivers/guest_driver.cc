// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/guest/drivers/guest_driver.h"

#include <linux/pci_regs.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "passthru/devices/kernel/status_macros.h"
#include "passthru/testing/guest/drivers/guest_edu.h"
#include "passthru/testing/guest/drivers/guest_nvme.h"
#include "passthru/testing/guest/linux/guest_machine.h"
#include "passthru/testing/guest/linux/linux_irq_vectors.h"
#include "passthru/testing/guest/linux/linux_pci_core.h"
#include "passthru/testing/guest/linux/linux_pci_device.h"
#include "passthru/testing/guest/linux/linux_pci_probe.h"
#include "passthru/testing/guest/linux/pci_alloc_irq_vectors.h"

namespace passthru::guest {
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
    PASSTHRU_RETURN_IF_ERROR(machine.resources().Move(device, bar.index));
    moves.push_back({bar.index, from, bar.address});
  }
  return absl::OkStatus();
}

// A driver that is bound to a function, between probe and remove.
class BoundDriver {
 public:
  virtual ~BoundDriver() = default;
  // Uses the device. The data that it writes depends on `seed`.
  virtual absl::Status Work(uint64_t seed) = 0;
  // Releases the device and fills `report`.
  virtual absl::Status ShutDown(GuestDeviceReport& report) = 0;
};

class NvmeDriver final : public BoundDriver {
 public:
  NvmeDriver(std::unique_ptr<GuestNvme> nvme, const GuestOptions& options)
      : nvme_(std::move(nvme)),
        blocks_(std::min(options.nvme_blocks, nvme_->report().blocks)),
        read_only_(options.nvme.read_only) {}

  absl::Status Work(uint64_t seed) override {
    return read_only_ ? nvme_->Read(0, blocks_)
                      : nvme_->WriteAndVerify(0, blocks_, seed);
  }
  absl::Status ShutDown(GuestDeviceReport& report) override {
    absl::Status status = nvme_->Shutdown();
    report.nvme = nvme_->report();
    return status;
  }

 private:
  const std::unique_ptr<GuestNvme> nvme_;
  const uint64_t blocks_;
  const bool read_only_;
};

class EduDriver final : public BoundDriver {
 public:
  explicit EduDriver(std::unique_ptr<GuestEdu> edu) : edu_(std::move(edu)) {}

  absl::Status Work(uint64_t seed) override {
    PASSTHRU_RETURN_IF_ERROR(edu_->Factorial(kFactorialOf).status());
    return edu_->CopyAndVerify(4096, static_cast<uint8_t>(seed));
  }
  absl::Status ShutDown(GuestDeviceReport& report) override {
    absl::Status status = edu_->Shutdown();
    report.edu = edu_->report();
    return status;
  }

 private:
  const std::unique_ptr<GuestEdu> edu_;
};

// Enables the function and its message interrupts, if it has any.
class GenericDriver final : public BoundDriver {
 public:
  GenericDriver(GuestMachine* machine, LinuxPciDevice* device, uint16_t vectors)
      : machine_(*machine), device_(*device), wanted_(vectors) {}

  absl::Status Start() {
    PASSTHRU_RETURN_IF_ERROR(PciEnableDevice(device_));
    PciSetMaster(device_);
    return absl::OkStatus();
  }

  absl::Status Work(uint64_t) override {
    if (vectors_ != nullptr || (device_.FindCapability(PCI_CAP_ID_MSI) == 0 &&
                                device_.FindCapability(PCI_CAP_ID_MSIX) == 0)) {
      return absl::OkStatus();
    }
    PASSTHRU_ASSIGN_OR_RETURN(
        vectors_,
        PciAllocIrqVectors(machine_.irq_context(), device_, 1, wanted_));
    for (uint16_t i = 0; i < vectors_->count(); ++i) {
      PASSTHRU_RETURN_IF_ERROR(vectors_->Request(
          i, absl::StrCat(device_.name(), " vector ", i), [] {}));
    }
    return absl::OkStatus();
  }

  absl::Status ShutDown(GuestDeviceReport& report) override {
    if (vectors_ != nullptr) {
      report.interrupt_kind = std::string(vectors_->kind());
      report.interrupt_vectors = vectors_->count();
      vectors_->Free();
    }
    PciDisableDevice(device_);
    return absl::OkStatus();
  }

 private:
  GuestMachine& machine_;
  LinuxPciDevice& device_;
  const uint16_t wanted_;
  std::unique_ptr<LinuxIrqVectors> vectors_;
};

absl::StatusOr<std::unique_ptr<BoundDriver>> StartGeneric(
    GuestMachine& machine, LinuxPciDevice& device, const GuestOptions& options,
    std::string& name) {
  name = "generic";
  auto generic = std::make_unique<GenericDriver>(&machine, &device,
                                                 options.generic_vectors);
  PASSTHRU_RETURN_IF_ERROR(generic->Start());
  return generic;
}

// Returns why the driver for the function's class cannot drive it, or nothing.
std::string WhyGeneric(const LinuxPciDevice& device,
                       const GuestOptions& options) {
  const auto undriven = options.undriven.find(device.info.bdf);
  if (undriven != options.undriven.end()) return undriven->second;
  if (device.info.class_code == kClassNvme &&
      device.FindCapability(PCI_CAP_ID_MSI) == 0 &&
      device.FindCapability(PCI_CAP_ID_MSIX) == 0) {
    return "the guest's driver for NVMe controllers needs message interrupts";
  }
  return "";
}

absl::StatusOr<std::unique_ptr<BoundDriver>> Probe(GuestMachine& machine,
                                                   LinuxPciDevice& device,
                                                   const GuestOptions& options,
                                                   GuestDeviceReport& report) {
  const GuestPciInfo& info = device.info;
  std::string& name = report.driver;
  report.why_generic = WhyGeneric(device, options);
  if (!report.why_generic.empty())
    return StartGeneric(machine, device, options, name);
  if (info.class_code == kClassNvme) {
    name = "nvme";
    PASSTHRU_ASSIGN_OR_RETURN(
        auto nvme, GuestNvme::Start(&machine, &device, options.nvme));
    return std::make_unique<NvmeDriver>(std::move(nvme), options);
  }
  if (info.vendor_id == kQemuVendor && info.device_id == kEduDevice) {
    name = "edu";
    PASSTHRU_ASSIGN_OR_RETURN(auto edu, GuestEdu::Start(&machine, &device));
    return std::make_unique<EduDriver>(std::move(edu));
  }
  return StartGeneric(machine, device, options, name);
}

// A function, its driver while it is bound, and its report.
struct Function {
  LinuxPciDevice* device;
  std::unique_ptr<BoundDriver> driver;
  GuestDeviceReport* report;
};

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

  std::vector<Function> functions;
  report.devices.resize(devices.size());
  for (size_t i = 0; i < devices.size(); ++i) {
    GuestDeviceReport& one = report.devices[i];
    one.driver = "none";
    one.status = machine.resources().AssignUnclaimed(*devices[i]);
    functions.push_back({.device = devices[i].get(), .report = &one});
  }
  // All functions complete a step before the next, so they are in use together.
  const auto each_bound =
      [&functions](absl::FunctionRef<absl::Status(Function&)> step) {
        for (Function& one : functions) {
          if (one.driver != nullptr) one.report->status.Update(step(one));
        }
      };
  const auto work = [&each_bound](uint64_t seed) {
    each_bound([seed](Function& one) {
      return one.report->status.ok() ? one.driver->Work(seed)
                                     : absl::OkStatus();
    });
  };
  options.on_phase(GuestPhase::kBringUp);
  for (Function& one : functions) {
    if (!one.report->status.ok() ||
        one.device->info.class_code >> 16 == kBaseClassBridge) {
      continue;
    }
    auto driver = Probe(machine, *one.device, options, *one.report);
    one.report->status = driver.status();
    if (driver.ok()) one.driver = *std::move(driver);
  }
  options.on_phase(GuestPhase::kWork);
  work(1);
  if (options.move_bars) {
    options.on_phase(GuestPhase::kMoveBars);
    each_bound([&machine](Function& one) {
      return MoveBars(machine, *one.device, one.report->moves);
    });
    options.on_phase(GuestPhase::kWorkAgain);
    work(2);
  }
  options.on_phase(GuestPhase::kShutDown);
  each_bound([](Function& one) { return one.driver->ShutDown(*one.report); });

  absl::Status first_failure = absl::OkStatus();
  for (Function& one : functions) {
    one.report->pci = one.device->info;
    first_failure.Update(one.report->status);
  }
  report.interrupts = machine.interrupts().lines();
  report.unexpected_interrupts = machine.interrupts().unexpected();
  return first_failure;
}

}  // namespace passthru::guest
