// SPDX-License-Identifier: Apache-2.0
//
// Decides which interrupts the guest of a VfioPciDevice sees, and brings them
// up.

#include <linux/vfio.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/log/log.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "passthru/devices/interrupts/host_vector_probe.h"
#include "passthru/devices/kernel/errors.h"
#include "passthru/devices/vfio_pci/vfio_pci_device_impl.h"
#include "passthru/pci/capabilities.h"
#include "passthru/pci/msi_capability.h"
#include "passthru/pci/registers.h"

namespace passthru::vfio_pci {

// Returns how many of a device's MSI or MSI-X vectors to show the guest. Zero
// hides the capability, and limited_by gives the reason.
uint32_t VfioPciDevice::Impl::VectorsToShow(InterruptKind kind,
                                            uint32_t device_vectors) {
  Vectors& vectors = kind == InterruptKind::kMsi ? msi_ : msix_;
  const uint32_t index = kind == InterruptKind::kMsi ? VFIO_PCI_MSI_IRQ_INDEX
                                                     : VFIO_PCI_MSIX_IRQ_INDEX;
  vectors.device = static_cast<uint16_t>(device_vectors);
  vectors.host = std::make_unique<vfio::VfioIrqIndex>(device_.get(), index);
  uint32_t shown = std::min(device_vectors, vectors.host->count());
  if (shown < device_vectors) {
    const absl::Status& query = device_->irq(index).status;
    vectors.limited_by =
        query.ok() ? "what VFIO offers" : std::string(query.message());
    if (shown == 0) {
      vectors.unavailable =
          query.ok() ? absl::UnavailableError("VFIO offers none") : query;
    }
  }
  if (shown == 0) return 0;
  const absl::StatusOr<uint32_t> available =
      interrupts::ProbeHostVectors(*vectors.host);
  if (!available.ok()) {
    failures_.Keep(absl::StrCat(Name(kind), " is not shown"),
                   available.status());
    vectors.limited_by = std::string(available.status().message());
    vectors.unavailable = available.status();
    return 0;
  }
  if (*available < shown) {
    shown = *available;
    vectors.limited_by =
        absl::StrFormat("the host has only %u vectors available", shown);
  }
  if (options_.max_vectors.has_value() && *options_.max_vectors < shown) {
    shown = *options_.max_vectors;
    vectors.limited_by = absl::StrFormat("the VMM's max_vectors, %u", shown);
  }
  return shown;
}

// Returns how many MSI-X vectors to show the guest, and plans where their table
// is.
uint32_t VfioPciDevice::Impl::MsixVectorsToShow(
    const pci::MsixCapability& capability) {
  std::array<uint64_t, pci::kType0BarCount> sizes = {};
  for (const pci::Bar& bar : bars_) {
    if (!bar.is_io()) sizes[bar.index.value()] = bar.size;
  }
  device_msix_ = capability;
  absl::StatusOr<MsixLayout> layout = PlanMsix(capability, sizes);
  if (!layout.ok()) {
    msix_.device = capability.table_size();
    msix_.limited_by = std::string(layout.status().message());
    return 0;
  }
  uint32_t shown = VectorsToShow(InterruptKind::kMsix, capability.table_size());
  if (layout->max_vectors < shown) {
    shown = layout->max_vectors;
    msix_.limited_by = layout->moved;
  }
  if (!layout->moved.empty()) problems_.push_back(layout->moved);
  msix_layout_ = *std::move(layout);
  return shown;
}

// Reserves vectors of the VM's budget for the larger of the two kinds, because
// only one of them is in use at a time, and lowers both to what it got.
void VfioPciDevice::Impl::ReserveVectors(uint32_t& msi, uint32_t& msix) {
  if (options_.budget == nullptr || std::max(msi, msix) == 0) return;
  absl::StatusOr<interrupts::InterruptBudget::Reservation> reservation =
      options_.budget->Reserve(std::max(msi, msix));
  std::string limit;
  if (reservation.ok()) {
    reservation_ = *std::move(reservation);
    limit = absl::StrCat("the VM's limit of ", reservation_.limited_by());
  } else {
    limit = std::string(reservation.status().message());
    if (msi > 0) msi_.unavailable = reservation.status();
    if (msix > 0) msix_.unavailable = reservation.status();
  }
  if (reservation_.vectors() < msi) msi_.limited_by = limit;
  if (reservation_.vectors() < msix) msix_.limited_by = limit;
  msi = std::min(msi, reservation_.vectors());
  msix = std::min(msix, reservation_.vectors());
}

void VfioPciDevice::Impl::CreateVectorGroup(InterruptKind kind) {
  Vectors& vectors = kind == InterruptKind::kMsi ? msi_ : msix_;
  if (vectors.shown < vectors.device) {
    LOG(WARNING) << name_ << ": the guest sees " << vectors.shown << " of "
                 << vectors.device << " " << Name(kind)
                 << " vectors: " << vectors.limited_by;
  }
  if (vectors.shown == 0) return;
  using Group = interrupts::MsixVectorGroup;
  vectors.group = std::make_unique<Group>(
      Group::Options{.kind = kind == InterruptKind::kMsi ? Group::Kind::kMsi
                                                         : Group::Kind::kMsix,
                     .vectors = vectors.shown,
                     .syscalls = options_.vm.syscalls,
                     .host = vectors.host.get(),
                     .router = options_.vm.router,
                     .controller = options_.vm.controller,
                     .loop = options_.vm.loop,
                     .failures = &failures_,
                     .budget = &reservation_,
                     .name = std::string(Name(kind))});
}

void VfioPciDevice::Impl::CreateVectorGroups() {
  const absl::Span<const uint8_t> image = image_;
  const pci::CapabilityList list = pci::WalkCapabilities(image);
  uint32_t msi = 0;
  uint32_t msix = 0;
  if (const auto* capability = list.Find(pci::CapabilityId::kMsi)) {
    const auto parsed = pci::MsiCapability::Parse(image, capability->offset);
    if (parsed.ok()) {
      msi = VectorsToShow(InterruptKind::kMsi, parsed->max_vectors());
    }
  }
  if (const auto* capability = list.Find(pci::CapabilityId::kMsix)) {
    const auto parsed = pci::MsixCapability::Parse(image, capability->offset);
    if (parsed.ok()) msix = MsixVectorsToShow(*parsed);
  }
  ReserveVectors(msi, msix);
  msi_.shown = static_cast<uint16_t>(std::bit_floor(msi));
  msix_.shown = static_cast<uint16_t>(msix);
  CreateVectorGroup(InterruptKind::kMsi);
  CreateVectorGroup(InterruptKind::kMsix);
  if (msix_.group != nullptr) {
    msix_table_ =
        std::make_unique<MsixTableTrap>(msix_layout_->shown, msix_.group.get());
  }
}

// Turns INTx on if the guest is to have it. The shadow shows the interrupt pin
// only if this succeeds, because a guest would wait for a line that never
// fires. It can fail for good: the kernel requests the host's interrupt
// exclusively for a device that cannot mask it (vfio_intx_set_signal()), and
// gets EBUSY if another device shares it.
void VfioPciDevice::Impl::BringUpIntx() {
  const absl::Span<const uint8_t> image = image_;
  if (!options_.intx_gsi.has_value() ||
      pci::ReadRegister(image, pci::kInterruptPin) == 0) {
    return;
  }
  const vfio::VfioIrqInfo& irq = device_->irq(VFIO_PCI_INTX_IRQ_INDEX);
  absl::Status status = irq.status;
  if (status.ok() && !irq.exists()) {
    status = absl::UnavailableError("VFIO offers none");
  }
  if (status.ok()) {
    const absl::Status works = options_.vm.controller->CheckResampleIrqfd();
    if (!works.ok()) {
      intx_hidden_reason_ = std::string(works.message());
      LOG(WARNING) << name_ << ": the guest sees no interrupt pin: "
                   << intx_hidden_reason_;
      return;
    }
    intx_host_ = std::make_unique<VfioIntxHost>(device_.get());
    intx_ = std::make_unique<IntxLine>(
        IntxLine::Options{.name = "INTx",
                          .syscalls = options_.vm.syscalls,
                          .host = intx_host_.get(),
                          .controller = options_.vm.controller,
                          .gsi = *options_.intx_gsi});
    status = intx_->Enable();
    if (status.ok()) return;
    intx_.reset();
  }
  intx_failure_ = status;
  intx_hidden_reason_ = std::string(status.message());
  failures_.Add("the guest sees no interrupt pin", status);
}

// Returns an error if the guest would be left without any interrupt for want of
// something of the host. Its driver would fail to start, or hang. Only warns if
// the VMM or the device leaves the guest without interrupts.
absl::Status VfioPciDevice::Impl::CheckInterrupts() {
  absl::MutexLock lock(&mutex_);
  if (shadow_->msi().has_value() || shadow_->msix().has_value() ||
      shadow_->Get(pci::kInterruptPin) != 0) {
    return absl::OkStatus();
  }
  const absl::Span<const uint8_t> image = image_;
  const bool has_pin = pci::ReadRegister(image, pci::kInterruptPin) != 0;
  if (msi_.device == 0 && msix_.device == 0 && !has_pin) {
    return absl::OkStatus();
  }
  // Why each kind is not there. `missing` is the last one that the host lacks.
  std::vector<std::string> reasons;
  absl::Status missing;
  const auto lacks = [&](std::string_view kind, const absl::Status& why) {
    missing = kernel::Annotate(why, kind);
  };
  for (const InterruptKind kind : {InterruptKind::kMsi, InterruptKind::kMsix}) {
    const Vectors& vectors = kind == InterruptKind::kMsi ? msi_ : msix_;
    if (vectors.device == 0) continue;
    reasons.push_back(absl::StrCat(
        Name(kind), ": ",
        vectors.shown > 0 ? "hidden by the policy" : vectors.limited_by));
    if (!vectors.unavailable.ok()) lacks(Name(kind), vectors.unavailable);
  }
  if (has_pin && options_.intx_gsi.has_value()) {
    reasons.push_back(absl::StrCat("INTx: ", intx_hidden_reason_));
    lacks("INTx", intx_failure_.ok()
                      ? absl::FailedPreconditionError(intx_hidden_reason_)
                      : intx_failure_);
  } else {
    reasons.push_back(has_pin ? "INTx: the VMM wires none"
                              : "INTx: the device has none");
  }
  no_interrupts_reason_ = absl::StrJoin(reasons, "; ");
  if (!missing.ok()) {
    std::erase(reasons, missing.message());
    std::string context = "the guest would get no interrupts";
    if (!reasons.empty()) {
      absl::StrAppend(&context, " (", absl::StrJoin(reasons, "; "), ")");
    }
    return kernel::Annotate(missing, context);
  }
  LOG(WARNING) << name_
               << ": the guest gets no interrupts: " << no_interrupts_reason_;
  return absl::OkStatus();
}

void VfioPciDevice::Impl::StartInterrupts() {
  absl::MutexLock lock(&mutex_);
  mode_ = std::make_unique<InterruptMode>(InterruptMode::Options{
      .failures = &failures_,
      .msi = msi_.group.get(),
      .msix = msix_.group.get(),
      .intx = intx_.get(),
      .set_enable_bit = [this](InterruptKind kind, bool enable) {
        mutex_.AssertHeld();
        WriteEnableBit(kind, enable);
      }});
  UpdateInterrupts();
}

}  // namespace passthru::vfio_pci
