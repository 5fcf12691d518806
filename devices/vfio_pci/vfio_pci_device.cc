// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/vfio_pci/vfio_pci_device.h"

#include <linux/vfio.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/log/check.h"
#include "absl/log/log.h"
#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "passthru/devices/interrupts/host_vector_probe.h"
#include "passthru/devices/kernel/errors.h"
#include "passthru/devices/kernel/page_size.h"
#include "passthru/devices/kernel/status_macros.h"
#include "passthru/devices/vfio/region_info.h"
#include "passthru/devices/vfio_pci/bar_area.h"
#include "passthru/pci/capabilities.h"
#include "passthru/pci/msi_capability.h"
#include "passthru/pci/registers.h"

namespace passthru::vfio_pci {

absl::StatusOr<std::shared_ptr<VfioPciDevice>> VfioPciDevice::Create(
    Options options) {
  CHECK(options.syscalls != nullptr && options.device != nullptr &&
        options.mmio != nullptr && options.pio != nullptr &&
        options.memory != nullptr && options.router != nullptr &&
        options.controller != nullptr && options.loop != nullptr &&
        options.topology_mutex != nullptr);
  // If a step fails, the destructor undoes the steps before it.
  std::shared_ptr<VfioPciDevice> device =
      absl::WrapUnique(new VfioPciDevice(std::move(options)));
  PASSTHRU_RETURN_IF_ERROR(device->ReadImage());
  device->DecodeBars();
  device->CreateVectorGroups();
  if (absl::Status status = device->CreateShadow(); !status.ok()) {
    return kernel::Annotate(status, device->name_);
  }
  device->CreateBars();
  device->StartInterrupts();
  if (absl::Status status = device->ConnectEvents(); !status.ok()) {
    return kernel::Annotate(status, device->name_);
  }
  return device;
}

VfioPciDevice::VfioPciDevice(Options options)
    : options_(std::move(options)),
      topology_mutex_(options_.topology_mutex),
      name_(options_.name.empty() ? options_.device->name() : options_.name),
      failures_(name_),
      device_(std::move(options_.device)),
      regions_(std::make_unique<VfioRegions>(device_.get())) {}

VfioPciDevice::~VfioPciDevice() { Detach().IgnoreError(); }  // Logged.

absl::Status VfioPciDevice::ReadImage() {
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

void VfioPciDevice::DecodeBars() {
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
    bar->address = 0;
    bars_.push_back(*bar);
  }
}

// Returns how many of a device's MSI or MSI-X vectors to show the guest. Zero
// hides the capability, and limited_by gives the reason.
uint32_t VfioPciDevice::VectorsToShow(InterruptKind kind,
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
  }
  if (shown == 0) return 0;
  const absl::StatusOr<uint32_t> available =
      interrupts::ProbeHostVectors(*vectors.host);
  if (!available.ok()) {
    failures_.Add(absl::StrCat(Name(kind), " is not shown"),
                  available.status());
    vectors.limited_by = std::string(available.status().message());
    return 0;
  }
  if (*available < shown) {
    shown = *available;
    vectors.limited_by =
        absl::StrFormat("the host has only %u vectors available", shown);
  }
  return shown;
}

void VfioPciDevice::CreateVectorGroups() {
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
      if (absl::Status status = parsed->Validate(sizes); !status.ok()) {
        msix_.device = parsed->table_size();
        msix_.limited_by = std::string(status.message());
      } else {
        msix = VectorsToShow(InterruptKind::kMsix, parsed->table_size());
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
    if (vectors.shown == 0) return;
    vectors.group = std::make_unique<interrupts::MsixVectorGroup>(
        interrupts::MsixVectorGroup::Options{.kind = kind,
                                             .vectors = vectors.shown,
                                             .syscalls = options_.syscalls,
                                             .host = vectors.host.get(),
                                             .router = options_.router,
                                             .controller = options_.controller,
                                             .loop = options_.loop,
                                             .failures = &failures_,
                                             .name = std::string(Name(name))});
  };
  create(msi_, interrupts::MsixVectorGroup::Kind::kMsi, InterruptKind::kMsi);
  create(msix_, interrupts::MsixVectorGroup::Kind::kMsix, InterruptKind::kMsix);
  if (msix_.group != nullptr) {
    msix_table_ =
        std::make_unique<MsixTableTrap>(*device_msix_, msix_.group.get());
  }
}

absl::Status VfioPciDevice::CreateShadow() {
  ConfigShadow::Options options = {
      .policy = options_.policy,
      .on_root_bus = options_.on_root_bus,
      .bars = bars_,
      .intx = options_.intx_gsi.has_value() &&
              device_->irq(VFIO_PCI_INTX_IRQ_INDEX).exists(),
      .msi_vectors = msi_.shown,
      .msix_vectors = msix_.shown};
  if (!msi_.limited_by.empty()) options.msi_hidden_reason = msi_.limited_by;
  if (!msix_.limited_by.empty()) options.msix_hidden_reason = msix_.limited_by;
  PASSTHRU_ASSIGN_OR_RETURN(ConfigShadow shadow,
                            ConfigShadow::Create(image_, std::move(options)));
  absl::MutexLock lock(&mutex_);
  shadow_ = std::move(shadow);
  return absl::OkStatus();
}

void VfioPciDevice::CreateBars() {
  std::vector<BarMapper::Bar> bars;
  for (const pci::Bar& bar : bars_) {
    traps_.push_back(std::make_shared<BarTrap>(
        absl::StrCat(name_, " ", bar.index.ToString()), bar.index,
        regions_.get(), &failures_, msix_table_.get()));
    bars.push_back(
        {.bar = bar,
         .areas = PlanBarAreas(bar, device_->region(bar.index.value()),
                               device_msix_, kernel::PageSize()),
         .trap = traps_.back()});
  }
  mapper_ =
      std::make_unique<BarMapper>(BarMapper::Options{.name = name_,
                                                     .failures = &failures_,
                                                     .regions = regions_.get(),
                                                     .mmio = options_.mmio,
                                                     .pio = options_.pio,
                                                     .memory = options_.memory},
                                  std::move(bars));
}

void VfioPciDevice::StartInterrupts() {
  absl::MutexLock lock(&mutex_);
  if (shadow_->Get(pci::kInterruptPin) != 0) {
    intx_host_ = std::make_unique<VfioIntxHost>(device_.get());
    intx_ = std::make_unique<IntxLine>(
        IntxLine::Options{.name = absl::StrCat(name_, " INTx"),
                          .syscalls = options_.syscalls,
                          .host = intx_host_.get(),
                          .controller = options_.controller,
                          .gsi = *options_.intx_gsi});
  }
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

absl::Status VfioPciDevice::ConnectEvents() {
  if (options_.on_unplug_request != nullptr &&
      device_->irq(VFIO_PCI_REQ_IRQ_INDEX).exists()) {
    absl::StatusOr<std::unique_ptr<DeviceEvent>> event = DeviceEvent::Create(
        options_.syscalls, options_.loop,
        [this](int fd) { return device_->SetRequestEventFd(fd); },
        options_.on_unplug_request);
    if (!event.ok()) return event.status();
    request_event_ = *std::move(event);
  }
  if (options_.on_error != nullptr &&
      device_->irq(VFIO_PCI_ERR_IRQ_INDEX).exists()) {
    absl::StatusOr<std::unique_ptr<DeviceEvent>> event = DeviceEvent::Create(
        options_.syscalls, options_.loop,
        [this](int fd) { return device_->SetErrorEventFd(fd); },
        options_.on_error);
    if (!event.ok()) return event.status();
    error_event_ = *std::move(event);
  }
  return absl::OkStatus();
}

absl::Status VfioPciDevice::SetBarAddress(pci::BarIndex index,
                                          uint64_t address) {
  const bool exists =
      std::any_of(bars_.begin(), bars_.end(),
                  [index](const pci::Bar& bar) { return bar.index == index; });
  if (!exists) {
    return absl::NotFoundError(absl::StrFormat("%s has no %v", name_, index));
  }
  absl::MutexLock topology(topology_mutex_);
  BarAddresses decoded;
  {
    absl::MutexLock lock(&mutex_);
    if (detached_) {
      return absl::FailedPreconditionError(name_ + " is detached");
    }
    if (!shadow_->SetBarAddress(index, address)) {
      return absl::InvalidArgumentError(absl::StrFormat(
          "%s: %v cannot hold the address %#x", name_, index, address));
    }
    decoded = Decoded(*shadow_, power_state_);
  }
  mapper_->Retract(decoded).IgnoreError();  // Logged.
  mapper_->Place(decoded);
  return absl::OkStatus();
}

absl::Status VfioPciDevice::Detach() {
  absl::Status result;
  {
    // The mutex below belongs to the VM, which may be destroyed before the last
    // reference to a detached device is dropped.
    absl::MutexLock lock(&mutex_);
    if (detached_) return absl::OkStatus();
  }
  {
    absl::MutexLock topology(topology_mutex_);
    {
      absl::MutexLock lock(&mutex_);
      if (detached_) return absl::OkStatus();
      detached_ = true;
    }
    if (mapper_ != nullptr) result.Update(mapper_->Unmap());
  }
  {
    absl::MutexLock lock(&mutex_);
    if (mode_ != nullptr) mode_->Apply({.intx = false});
  }
  // These wait for event-loop callbacks, which may be waiting for a lock.
  if (msi_.group != nullptr) msi_.group->Shutdown();
  if (msix_.group != nullptr) msix_.group->Shutdown();
  request_event_.reset();
  error_event_.reset();
  reservation_ = {};
  device_.reset();
  return result;
}

DeviceReport VfioPciDevice::Describe() const {
  DeviceReport report;
  absl::MutexLock topology(topology_mutex_);
  absl::MutexLock lock(&mutex_);
  report.name = name_;
  FillConfigReport(*shadow_, report);
  report.malformed.insert(report.malformed.end(), problems_.begin(),
                          problems_.end());
  report.bars = mapper_->Describe(shadow_->Bars());
  report.interrupt = mode_->kind();
  for (const InterruptKind kind : {InterruptKind::kMsi, InterruptKind::kMsix}) {
    const Vectors& vectors = kind == InterruptKind::kMsi ? msi_ : msix_;
    if (vectors.device != 0)
      report.vector_groups.push_back(DescribeGroup(kind));
  }
  report.config = counters_;
  report.bar.placements = mapper_->placements();
  report.bar.refused_placements = mapper_->refused();
  report.bar.failures = mapper_->failures();
  for (const std::shared_ptr<BarTrap>& trap : traps_) {
    report.bar.device_reads += trap->device_reads();
    report.bar.device_writes += trap->device_writes();
    report.bar.failures += trap->failures();
  }
  if (msix_table_ != nullptr) {
    report.bar.table_reads = msix_table_->reads();
    report.bar.table_writes = msix_table_->writes();
  }
  report.resets = resets_;
  AddDegradations(report);
  if (command_lost_) {
    report.degraded.push_back(
        {.kind = DegradationKind::kNotAnswering, .what = "the device"});
  }
  if (mode_->kind() == InterruptKind::kIntx && !intx_->enabled()) {
    report.degraded.push_back(
        {.kind = DegradationKind::kSilent, .what = "INTx"});
  }
  report.failure_count = failures_.count();
  report.failures = failures_.Recent();
  return report;
}

VectorGroupReport VfioPciDevice::DescribeGroup(InterruptKind kind) const {
  const Vectors& vectors = kind == InterruptKind::kMsi ? msi_ : msix_;
  VectorGroupReport report = {.kind = kind,
                              .device_vectors = vectors.device,
                              .shown_vectors = vectors.shown,
                              .limited_by = vectors.limited_by};
  if (vectors.group != nullptr) {
    report.vectors = vectors.group->Describe();
    report.stats = vectors.group->stats();
  }
  return report;
}

}  // namespace passthru::vfio_pci
