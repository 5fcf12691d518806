// SPDX-License-Identifier: Apache-2.0
//
// The steps that make a VfioPciDevice.

#include <linux/vfio.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/log/check.h"
#include "absl/log/log.h"
#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "passthru/devices/interrupts/host_vector_probe.h"
#include "passthru/devices/kernel/errors.h"
#include "passthru/devices/kernel/page_size.h"
#include "passthru/devices/kernel/status_macros.h"
#include "passthru/devices/vfio/region_info.h"
#include "passthru/devices/vfio_pci/bar_area.h"
#include "passthru/devices/vfio_pci/vfio_pci_device_impl.h"
#include "passthru/pci/capabilities.h"
#include "passthru/pci/little_endian.h"
#include "passthru/pci/msi_capability.h"
#include "passthru/pci/registers.h"

namespace passthru::vfio_pci {

VfioPciDevice::Impl::Impl(Options options)
    : options_(std::move(options)),
      layout_lock_(options_.vm.layout_lock),
      name_(options_.name.empty() ? options_.device->name() : options_.name),
      failures_(name_),
      device_(std::move(options_.device)),
      regions_(std::make_unique<VfioRegions>(device_.get())) {}

VfioPciDevice::Impl::~Impl() { Detach().IgnoreError(); }  // Logged.

absl::Status VfioPciDevice::Impl::Initialize() {
  PASSTHRU_RETURN_IF_ERROR(kernel::Annotate(CheckOptions(), name_));
  PASSTHRU_RETURN_IF_ERROR(ReadImage());
  FindReset();
  DecodeBars();
  PASSTHRU_RETURN_IF_ERROR(kernel::Annotate(LoadRom(), name_));
  CreateVectorGroups();
  CreateBars();
  BringUpIntx();
  PASSTHRU_RETURN_IF_ERROR(kernel::Annotate(CreateShadow(), name_));
  PASSTHRU_RETURN_IF_ERROR(kernel::Annotate(CheckInterrupts(), name_));
  StartInterrupts();
  return kernel::Annotate(ConnectEvents(), name_);
}

absl::Status VfioPciDevice::Impl::CheckOptions() const {
  PASSTHRU_RETURN_IF_ERROR(options_.identity.Check());
  PASSTHRU_RETURN_IF_ERROR(options_.policy.Check());
  PASSTHRU_RETURN_IF_ERROR(options_.rom.Check());
  if (options_.max_vectors.has_value() &&
      (*options_.max_vectors == 0 ||
       *options_.max_vectors > pci::MsixCapability::kMaxVectors)) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "max_vectors is %u, and must be from 1 to %u. A rule of the policy "
        "hides MSI and MSI-X",
        *options_.max_vectors, pci::MsixCapability::kMaxVectors));
  }
  return absl::OkStatus();
}

absl::Status VfioPciDevice::Impl::ReadImage() {
  const uint64_t size = device_->config_size();
  image_.resize(size >= pci::kExtendedConfigSpaceSize
                    ? pci::kExtendedConfigSpaceSize
                    : pci::kConfigSpaceSize);
  PASSTHRU_RETURN_IF_ERROR(regions_->ReadConfig(0, absl::MakeSpan(image_)));
  if (pci::ReadRegister<uint16_t>(image_, pci::kVendorId) == 0xffff) {
    return absl::UnavailableError(absl::StrFormat(
        "%s does not answer: its configuration space reads all ones", name_));
  }
  // The guest must find a function that decodes nothing, as after a reset, but
  // the kernel enabled it for its own use.
  const pci::Command command =
      pci::ReadRegister(absl::Span<const uint8_t>(image_), pci::kCommand);
  if (pci::Command::kIoSpace.Get(command) ||
      pci::Command::kMemorySpace.Get(command) ||
      pci::Command::kBusMaster.Get(command)) {
    return regions_->WriteConfig(pci::kCommand.offset, {0, 0});
  }
  return absl::OkStatus();
}

void VfioPciDevice::Impl::DecodeBars() {
  bool upper_half = false;
  for (uint8_t i = 0; i < pci::kType0BarCount; ++i) {
    const pci::BarIndex index(i);
    const vfio::VfioRegionInfo& region = device_->region(i);
    if (std::exchange(upper_half, false)) continue;
    if (!region.status.ok()) {
      problems_.push_back(
          absl::StrCat("BAR ", i, ": ", region.status.message()));
    }
    if (!region.exists()) continue;
    const auto reg = pci::RegisterOf(index);
    const absl::Span<const uint8_t> image = image_;
    pci::BarRegister value = {.low = pci::ReadRegister(image, reg)};
    upper_half = pci::DecodeBarType(value.low) == pci::BarType::kMemory64;
    if (upper_half) value.high = pci::ReadRegister(image, reg.At(4));
    // A BAR decodes a power of two. A region of another size, which belongs to
    // a device that is not real hardware, ends before its BAR does.
    absl::StatusOr<pci::Bar> bar =
        pci::MakeBar(index, value, std::bit_ceil(region.size));
    if (!bar.ok()) {
      problems_.push_back(
          absl::StrCat("BAR ", i, " is not shown: ", bar.status().message()));
      LOG(WARNING) << name_ << ": " << problems_.back();
      continue;
    }
    bars_.push_back(*bar);
  }
}

absl::Status VfioPciDevice::Impl::LoadRom() {
  rom_readable_ = device_->region(VFIO_PCI_ROM_REGION_INDEX).exists();
  std::vector<uint8_t> image;
  switch (options_.rom.source) {
    case RomOptions::Source::kNone:
      return absl::OkStatus();
    case RomOptions::Source::kBytes:
      image = std::move(options_.rom.bytes);
      break;
    case RomOptions::Source::kDevice: {
      PASSTHRU_ASSIGN_OR_RETURN(image, ReadRom());
      if (absl::Status status = CheckRomImage(image); !status.ok()) {
        return kernel::Annotate(status, "what the device answers as its ROM");
      }
      break;
    }
  }
  auto rom = std::make_unique<ExpansionRom>(absl::StrCat(name_, " ROM"),
                                            std::move(image), options_.vm.mmio,
                                            &failures_);
  rom_bar_ = rom->bar();
  rom_ = std::move(rom);
  return absl::OkStatus();
}

// A device answers reads of its ROM only while it decodes memory, and the
// kernel refuses them while it does not (pci_map_rom(), vfio_pci_bar_rw()). So
// decode is on while the ROM is read, before the guest sees the device. The
// device's BARs then answer at the host's addresses, where they answered until
// now.
absl::StatusOr<std::vector<uint8_t>> VfioPciDevice::Impl::ReadRom() {
  if (!rom_readable_) {
    return absl::FailedPreconditionError(
        "its own expansion ROM is wanted, but VFIO offers none to read. Give "
        "the guest a ROM file (RomOptions::Source::kBytes) or none");
  }
  const uint64_t size = device_->region(VFIO_PCI_ROM_REGION_INDEX).size;
  if (size > kMaxRomSize) {
    return absl::FailedPreconditionError(
        absl::StrFormat("VFIO says that its expansion ROM has 0x%x bytes, and "
                        "a ROM has at most "
                        "16 MiB",
                        size));
  }
  std::vector<uint8_t> image(size);
  pci::Command decode;
  pci::Command::kMemorySpace.Set(decode, true);
  std::array<uint8_t, 2> bytes;
  pci::StoreLittleEndian(absl::MakeSpan(bytes), 0, decode.raw);
  PASSTHRU_RETURN_IF_ERROR(regions_->WriteConfig(pci::kCommand.offset, bytes));
  absl::Status status =
      device_->ReadRegion(VFIO_PCI_ROM_REGION_INDEX, 0, absl::MakeSpan(image));
  const std::array<uint8_t, 2> no_command = {0, 0};
  status.Update(regions_->WriteConfig(pci::kCommand.offset, no_command));
  if (!status.ok()) return status;
  return image;
}

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
    if (parsed.ok()) {
      std::array<uint64_t, pci::kType0BarCount> sizes = {};
      for (const pci::Bar& bar : bars_) {
        if (!bar.is_io()) sizes[bar.index.value()] = bar.size;
      }
      device_msix_ = *parsed;
      absl::StatusOr<MsixLayout> layout = PlanMsix(*parsed, sizes);
      if (!layout.ok()) {
        msix_.device = parsed->table_size();
        msix_.limited_by = std::string(layout.status().message());
      } else {
        msix = VectorsToShow(InterruptKind::kMsix, parsed->table_size());
        if (layout->max_vectors < msix) {
          msix = layout->max_vectors;
          msix_.limited_by = layout->moved;
        }
        if (!layout->moved.empty()) problems_.push_back(layout->moved);
        msix_layout_ = *std::move(layout);
      }
    }
  }
  if (options_.budget != nullptr && std::max(msi, msix) > 0) {
    // Only one of the two is in use at a time.
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
  msi_.shown = static_cast<uint16_t>(std::bit_floor(msi));
  msix_.shown = static_cast<uint16_t>(msix);

  const auto create = [this](Vectors& vectors,
                             interrupts::MsixVectorGroup::Kind kind,
                             InterruptKind name) {
    if (vectors.shown < vectors.device) {
      LOG(WARNING) << name_ << ": the guest sees " << vectors.shown << " of "
                   << vectors.device << " " << Name(name)
                   << " vectors: " << vectors.limited_by;
    }
    if (vectors.shown == 0) return;
    vectors.group = std::make_unique<interrupts::MsixVectorGroup>(
        interrupts::MsixVectorGroup::Options{
            .kind = kind,
            .vectors = vectors.shown,
            .syscalls = options_.vm.syscalls,
            .host = vectors.host.get(),
            .router = options_.vm.router,
            .controller = options_.vm.controller,
            .loop = options_.vm.loop,
            .failures = &failures_,
            .budget = &reservation_,
            .name = std::string(Name(name))});
  };
  create(msi_, interrupts::MsixVectorGroup::Kind::kMsi, InterruptKind::kMsi);
  create(msix_, interrupts::MsixVectorGroup::Kind::kMsix, InterruptKind::kMsix);
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

absl::Status VfioPciDevice::Impl::CreateShadow() {
  ConfigShadow::Options options = {.policy = options_.policy,
                                   .on_root_bus = options_.on_root_bus,
                                   .bars = bars_,
                                   .rom = rom_bar_,
                                   .identity = options_.identity,
                                   .intx = intx_ != nullptr,
                                   .msi_vectors = msi_.shown,
                                   .msix_vectors = msix_.shown};
  if (msix_layout_.has_value()) {
    const pci::MsixCapability& shown = msix_layout_->shown;
    options.msix_pba =
        pci::MsixLocation::At(shown.pba_bar(), shown.pba_offset());
  }
  if (!intx_hidden_reason_.empty()) {
    options.intx_hidden_reason = intx_hidden_reason_;
  }
  options.rom_hidden_reason = std::string(kRomNotWanted);
  if (!msi_.limited_by.empty()) options.msi_hidden_reason = msi_.limited_by;
  if (!msix_.limited_by.empty()) options.msix_hidden_reason = msix_.limited_by;
  PASSTHRU_ASSIGN_OR_RETURN(ConfigShadow shadow,
                            ConfigShadow::Create(image_, std::move(options)));
  absl::MutexLock lock(&mutex_);
  shadow_ = std::move(shadow);
  return absl::OkStatus();
}

void VfioPciDevice::Impl::CreateBars() {
  std::vector<BarMapper::Bar> bars;
  for (const pci::Bar& bar : bars_) {
    traps_.push_back(std::make_shared<BarTrap>(
        absl::StrCat(name_, " ", bar.index.ToString()), bar.index,
        regions_.get(), &failures_, msix_table_.get()));
    const vfio::VfioRegionInfo& region = device_->region(bar.index.value());
    bars.push_back(
        {.bar = bar,
         .areas = PlanBarAreas(bar, region, device_msix_, kernel::PageSize()),
         .trap = traps_.back(),
         // A writable slot over a mapping without PROT_WRITE fails
         // KVM_RUN with EFAULT at the guest's first write.
         .read_only = !region.writable()});
  }
  memory::LayoutLockHolder layout(layout_lock_);
  mapper_ = std::make_unique<BarMapper>(
      BarMapper::Options{
          .name = name_,
          .failures = &failures_,
          .regions = regions_.get(),
          .mmio = options_.vm.mmio,
          .pio = options_.vm.pio,
          .memory = options_.vm.memory,
          .physical_address_bits = options_.vm.physical_address_bits,
          .retries = options_.vm.bar_retries},
      std::move(bars));
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

absl::Status VfioPciDevice::Impl::ConnectEvents() {
  if (options_.on_unplug_request != nullptr &&
      device_->irq(VFIO_PCI_REQ_IRQ_INDEX).exists()) {
    absl::StatusOr<std::unique_ptr<DeviceEvent>> event = DeviceEvent::Create(
        options_.vm.syscalls, options_.vm.loop,
        [this](int fd) { return device_->SetRequestEventFd(fd); },
        MarkCallback(options_.on_unplug_request));
    if (!event.ok()) return event.status();
    request_event_ = *std::move(event);
  }
  if (options_.on_error != nullptr &&
      device_->irq(VFIO_PCI_ERR_IRQ_INDEX).exists()) {
    absl::StatusOr<std::unique_ptr<DeviceEvent>> event = DeviceEvent::Create(
        options_.vm.syscalls, options_.vm.loop,
        [this](int fd) { return device_->SetErrorEventFd(fd); },
        MarkCallback(options_.on_error));
    if (!event.ok()) return event.status();
    error_event_ = *std::move(event);
  }
  return absl::OkStatus();
}

}  // namespace passthru::vfio_pci
