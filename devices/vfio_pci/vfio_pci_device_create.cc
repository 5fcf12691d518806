// SPDX-License-Identifier: Apache-2.0
//
// The steps that make a VfioPciDevice.

#include <linux/vfio.h>

#include <array>
#include <bit>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/log/log.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "passthru/devices/kernel/errors.h"
#include "passthru/devices/kernel/page_size.h"
#include "passthru/devices/kernel/status_macros.h"
#include "passthru/devices/vfio/region_info.h"
#include "passthru/devices/vfio_pci/bar_area.h"
#include "passthru/devices/vfio_pci/vfio_pci_device_impl.h"
#include "passthru/pci/little_endian.h"
#include "passthru/pci/registers.h"

namespace passthru::vfio_pci {

VfioPciDevice::Impl::Impl(Options options)
    : options_(std::move(options)),
      layout_lock_(options_.vm.layout_lock),
      name_(options_.name.empty() ? options_.device->name() : options_.name),
      host_(options_.device->address()),
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

absl::Status VfioPciDevice::Impl::ConnectEvents() {
  if (options_.on_unplug_request != nullptr &&
      device_->irq(VFIO_PCI_REQ_IRQ_INDEX).exists()) {
    PASSTHRU_ASSIGN_OR_RETURN(
        request_event_,
        DeviceEvent::Create(
            options_.vm.syscalls, options_.vm.loop,
            [this](int fd) { return device_->SetRequestEventFd(fd); },
            MarkCallback(options_.on_unplug_request)));
  }
  if (options_.on_error != nullptr &&
      device_->irq(VFIO_PCI_ERR_IRQ_INDEX).exists()) {
    PASSTHRU_ASSIGN_OR_RETURN(
        error_event_,
        DeviceEvent::Create(
            options_.vm.syscalls, options_.vm.loop,
            [this](int fd) { return device_->SetErrorEventFd(fd); },
            MarkCallback(options_.on_error)));
  }
  return absl::OkStatus();
}

}  // namespace passthru::vfio_pci
