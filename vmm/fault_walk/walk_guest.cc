// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/fault_walk/walk_guest.h"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "passthru/devices/kernel/status_macros.h"
#include "passthru/pci/bdf.h"
#include "passthru/testing/guest/drivers/guest_edu.h"
#include "passthru/testing/guest/drivers/guest_nvme.h"
#include "passthru/testing/guest/guest_cpu.h"
#include "passthru/testing/guest/guest_layout.h"
#include "passthru/testing/guest/linux/linux_msix.h"
#include "passthru/testing/guest/linux/linux_pci_core.h"
#include "passthru/testing/guest/linux/linux_pci_device.h"
#include "passthru/testing/guest/linux/linux_pci_probe.h"
#include "passthru/vmm/guest_layout.h"

namespace passthru::vmm {
namespace {

constexpr uint64_t kBlocks = 32;

guest::GuestLayout Layout(uint64_t ram_size) {
  return {
      .dma_memory = {.base = uint64_t{1} << 20,
                     .size = ram_size - (uint64_t{1} << 20)},
      .ecam = {.base = kEcamBase, .size = kEcamSize},
      .config_ports = true,
      .io_window = {.base = kPioBase, .size = kPioSize},
      .memory32_window = {.base = kMmio32Base, .size = kMmio32Size},
      .memory64_window = {.base = kMmio64Base, .size = kMmio64Size},
  };
}

}  // namespace

WalkGuest::WalkGuest(guest::GuestCpu* cpu, uint64_t ram_size,
                     std::function<void(uint16_t vector)> raise)
    : raise_(std::move(raise)), machine_(cpu, Layout(ram_size)) {}

absl::Status WalkGuest::StartBystander(pci::Bdf bdf) {
  bystander_device_ = guest::ProbeDevice(&machine_.config(), bdf, {});
  if (bystander_device_ == nullptr) {
    return absl::InternalError("there is no bystander");
  }
  machine_.resources().Claim(*bystander_device_);
  PASSTHRU_RETURN_IF_ERROR(
      machine_.resources().AssignUnclaimed(*bystander_device_));
  PASSTHRU_ASSIGN_OR_RETURN(
      bystander_, guest::GuestEdu::Start(&machine_, bystander_device_.get()));
  return absl::OkStatus();
}

absl::Status WalkGuest::UseBystander() {
  PASSTHRU_ASSIGN_OR_RETURN(const auto factorial, bystander_->Factorial(5));
  if (factorial != 120) return absl::InternalError("5! is not 120");
  return bystander_->CopyAndVerify(512, 1);
}

absl::Status WalkGuest::ShutDownBystander() { return bystander_->Shutdown(); }

absl::Status WalkGuest::RunSubject(pci::Bdf bdf) {
  const auto device = guest::ProbeDevice(&machine_.config(), bdf, {});
  if (device == nullptr) return absl::NotFoundError("no device answers");
  machine_.resources().Claim(*device);
  PASSTHRU_RETURN_IF_ERROR(machine_.resources().AssignUnclaimed(*device));
  {
    PASSTHRU_ASSIGN_OR_RETURN(
        auto nvme,
        guest::GuestNvme::Start(&machine_, device.get(),
                                {.queue_entries = 4, .status_looks = 1000}));
    PASSTHRU_RETURN_IF_ERROR(nvme->WriteAndVerify(0, kBlocks, 1));
    for (size_t i = 0; i < device->info.bars.size(); ++i) {
      const guest::GuestBar& bar = device->info.bars[i];
      if (bar.is_rom() || bar.is_io()) continue;
      PASSTHRU_RETURN_IF_ERROR(machine_.resources().Move(*device, bar.index));
    }
    PASSTHRU_RETURN_IF_ERROR(nvme->WriteAndVerify(0, kBlocks, 2));
    PASSTHRU_RETURN_IF_ERROR(nvme->Shutdown());
  }
  return StormMasks(*device);
}

void WalkGuest::CheckUnplugged(pci::Bdf bdf, bool check_bars) {
  Expect(machine_.config().Read(bdf, 0, 4) == 0xffffffff,
         "its configuration space still answers");
  if (!check_bars) return;
  for (const uint64_t base : {kMmio64Base, kMmio64Base + 0x4000}) {
    Expect(machine_.cpu().Load(base, 4) == 0xffffffff, "its BAR still answers");
  }
}

absl::Status WalkGuest::StormMasks(guest::LinuxPciDevice& device) {
  PASSTHRU_RETURN_IF_ERROR(guest::PciEnableDevice(device));
  guest::PciSetMaster(device);
  PASSTHRU_ASSIGN_OR_RETURN(
      auto msix,
      guest::LinuxMsix::Enable(machine_.irq_context(), device, kVectors));
  for (uint16_t i = 0; i < kVectors; ++i) {
    PASSTHRU_RETURN_IF_ERROR(msix->Request(i, absl::StrCat("vector ", i),
                                           [this, i] { ++taken_[i]; }));
  }
  for (int round = 0; round < 3; ++round) {
    for (uint16_t i = 0; i < kVectors; ++i) {
      msix->Mask(i);
      Raise(i);
      if (!msix->Pending(i)) {
        return absl::InternalError("a masked interrupt is not pending");
      }
      msix->Unmask(i);
      PASSTHRU_RETURN_IF_ERROR(TakeAll());
    }
    msix->SetFunctionMask(true);
    for (uint16_t i = 0; i < kVectors; ++i) Raise(i);
    msix->SetFunctionMask(false);
    PASSTHRU_RETURN_IF_ERROR(TakeAll());
  }
  return absl::OkStatus();
}

void WalkGuest::Raise(uint16_t vector) {
  ++raised_[vector];
  raise_(vector);
}

absl::Status WalkGuest::TakeAll() {
  absl::Status status;
  if (taken_ != raised_) {
    status = machine_.interrupts().WaitUntil(
        "all vectors", [this] { return taken_ == raised_; });
  }
  for (uint16_t i = 0; i < kVectors; ++i) {
    Expect(taken_[i] <= raised_[i], "an interrupt came twice");
  }
  return status;
}

}  // namespace passthru::vmm
