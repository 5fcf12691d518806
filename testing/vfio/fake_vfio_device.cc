// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/vfio/fake_vfio_device.h"

#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "passthru/devices/kernel/status_macros.h"
#include "passthru/pci/registers.h"
#include "passthru/testing/fixture/fixture_bytes.h"
#include "passthru/testing/journal/decode_vfio.h"
#include "passthru/testing/journal/user_memory.h"
#include "passthru/testing/journal/vfio_offset.h"

namespace passthru::fake {
namespace {

using kernel::SyscallResult;

// Returns whether the function's INTx is broken and hidden (vfio_pci_nointx()):
// Intel's X710 and XL710 family and X550.
bool HasBrokenIntx(const fixture::PciDevice& fixture) {
  constexpr uint32_t kIntel = 0x8086;
  const uint32_t device = fixture.identity().device_id();
  if (fixture.identity().vendor_id() != kIntel) return false;
  return device == 0x1572 || device == 0x1574 || device == 0x1580 ||
         device == 0x1581 || (device >= 0x1583 && device <= 0x158b) ||
         (device >= 0x37d0 && device <= 0x37d2) || device == 0x1563;
}

}  // namespace

std::string_view Name(DmaFault::Reason reason) {
  switch (reason) {
    case DmaFault::Reason::kBusMasterOff:
      return "bus mastering is off";
    case DmaFault::Reason::kNoDomain:
      return "the device has no IOMMU domain";
    case DmaFault::Reason::kUnmapped:
      return "not mapped";
    case DmaFault::Reason::kPermission:
      return "not permitted by the mapping";
    case DmaFault::Reason::kUnpinned:
      return "the process unmapped the memory";
  }
  return "unknown";
}

absl::StatusOr<std::shared_ptr<FakeVfioDevice>> FakeVfioDevice::Create(
    Options options) {
  std::shared_ptr<FakeVfioDevice> device(
      new FakeVfioDevice(std::move(options)));
  const fixture::PciDevice& fixture = device->options_.fixture;
  PASSTHRU_ASSIGN_OR_RETURN(
      device->hardware_,
      HardwareFunction::Create(fixture, std::move(device->options_.model),
                               device->options_.mapped_registers));
  for (const fixture::Region& region : fixture.regions()) {
    if (region.index() < VFIO_PCI_NUM_REGIONS || region.size() == 0) continue;
    PASSTHRU_ASSIGN_OR_RETURN(
        std::unique_ptr<BarMemory> memory,
        BarMemory::Create(
            region.size(),
            absl::StrCat(fixture.name(), " region ", region.index())));
    for (const fixture::ByteRow& row : region.contents()) {
      memory->Write(row.offset(), *fixture::ParseHexBytes(row.bytes()));
    }
    device->extra_regions_[region.index()] = std::move(memory);
  }
  if (const auto msix = device->hardware_->capabilities().msix) {
    const uint32_t table = device->hardware_->ReadConfig(
        static_cast<uint16_t>(*msix + PCI_MSIX_TABLE), 4);
    device->msix_bar_ = table & PCI_MSIX_TABLE_BIR;
    device->msix_table_offset_ = table & PCI_MSIX_TABLE_OFFSET;
    const uint32_t pba = device->hardware_->ReadConfig(
        static_cast<uint16_t>(*msix + PCI_MSIX_PBA), 4);
    device->msix_pba_bar_ = pba & PCI_MSIX_PBA_BIR;
    device->msix_pba_offset_ = pba & PCI_MSIX_PBA_OFFSET;
  }
  // The parts of the ROM without an image read as all ones.
  device->rom_.assign(fixture.expansion_rom().bar_size(), 0xff);
  for (const fixture::ByteRow& row : fixture.expansion_rom().image()) {
    const std::vector<uint8_t> bytes = *fixture::ParseHexBytes(row.bytes());
    std::copy(bytes.begin(), bytes.end(), device->rom_.begin() + row.offset());
  }
  device->hardware_->set_on_msi_unmasked(
      [device = device.get()](uint16_t vector) { device->RaiseMsi(vector); });
  if (models::DeviceModel* model = device->hardware_->model()) {
    model->set_host(device.get());
  }
  return device;
}

FakeVfioDevice::FakeVfioDevice(Options options) : options_(std::move(options)) {
  SetVectorsAvailable(options_.msi_vectors_available,
                      options_.msix_vectors_available);
}

FakeVfioDevice::~FakeVfioDevice() = default;

std::string FakeVfioDevice::Describe() const {
  return absl::StrCat("vfio-device ", options_.bdf.ToString());
}

std::shared_ptr<FakeFile> FakeVfioDevice::Open() {
  if (files_.empty()) Enable();
  auto file = std::make_shared<DeviceFile>(shared_from_this());
  files_.push_back(file.get());
  options_.group->OnDeviceOpened();
  return file;
}

void FakeVfioDevice::OnFileReleased(const FakeFile* file) {
  std::erase(files_, file);
  if (files_.empty()) Disable();
  options_.group->OnDeviceClosed();
}

void FakeVfioDevice::Enable() {
  options_.core->mutex.AssertHeld();
  HardwareFunction& hardware = *hardware_;
  // Does what pci_clear_master() and pci_enable_device() do.
  uint32_t command = hardware.ReadConfig(PCI_COMMAND, 2);
  command &= ~uint32_t{PCI_COMMAND_MASTER};
  for (unsigned bar = 0; bar < pci::kType0BarCount; ++bar) {
    if (hardware.bar_size(bar) == 0) continue;
    command |= hardware.bar_is_io(bar) ? PCI_COMMAND_IO : PCI_COMMAND_MEMORY;
  }
  hardware.WriteConfig(PCI_COMMAND, 2, command);
  const std::vector<fixture::Reset::Method> methods = ResetMethods();
  reset_at_open_.reset();
  if (!methods.empty()) {
    reset_at_open_ = methods.front();
    ResetFunction(KindOf(*reset_at_open_));
  }
  saved_state_ = hardware.SaveState();
  if (hardware.can_disable_intx()) {
    hardware.WriteConfig(PCI_COMMAND, 2,
                         hardware.ReadConfig(PCI_COMMAND, 2) &
                             ~uint32_t{PCI_COMMAND_INTX_DISABLE});
  }

  const bool is_vf = options_.fixture.is_virtual_function();
  const bool hide_pin = is_vf || HasBrokenIntx(options_.fixture);
  const bool has_pin = hardware.ReadConfig(PCI_INTERRUPT_PIN, 1) != 0;
  irqs_ = std::make_unique<VfioIrqs>(VfioIrqs::Options{
      .hardware = &hardware,
      .eventfds = &options_.core->eventfds,
      .rules = options_.rules,
      .has_intx = has_pin && !hide_pin,
      .has_host_irq = options_.has_host_irq,
      .is_pcie = hardware.capabilities().express.has_value(),
      .dynamic_msix = options_.rules.dynamic_msix &&
                      options_.interrupt_remapping &&
                      hardware.capabilities().msix.has_value(),
      .msi_vectors_available = options_.msi_vectors_available,
      .msix_vectors_available = options_.msix_vectors_available,
      .on_interrupt = options_.on_interrupt,
  });
  FakeConfig::Options config{
      .hardware = &hardware,
      .irqs = irqs_.get(),
      .layout = {.is_virtual_function = is_vf,
                 .hide_interrupt_pin = hide_pin,
                 .vendor_id = static_cast<uint16_t>(
                     options_.fixture.identity().vendor_id()),
                 .device_id = static_cast<uint16_t>(
                     options_.fixture.identity().device_id())},
      .vpd = fixture::ExpandRows(options_.fixture.vpd(),
                                 options_.fixture.vpd().empty() ? 0 : 1u << 15),
      .reset_function =
          [this] { ResetFunction(models::ResetKind::kFunctionLevel); },
      .msi_control_reads_back = options_.msi_control_reads_back,
  };
  for (unsigned bar = 0; bar < pci::kType0BarCount; ++bar) {
    config.bar_sizes[bar] = hardware.bar_size(bar);
    config.bar_types[bar] = hardware.assigned_bar(bar);
  }
  config.bar_sizes[VFIO_PCI_ROM_REGION_INDEX] =
      options_.fixture.expansion_rom().bar_size();
  config_ = std::make_unique<FakeConfig>(std::move(config));
  low_power_ = false;
  mappings_alive_ = MemoryIsReachable();
  RemapAll(mappings_alive_);
}

void FakeVfioDevice::Disable() {
  ioeventfds_.clear();
  irqs_->DisableAll();
  raised_.clear();
  irqs_.reset();
  config_.reset();
  hardware_->SetPowerState(0);
  if (reset_at_open_.has_value()) {
    hardware_->Reset(KindOf(*reset_at_open_));
    ++resets_;
  }
  hardware_->RestoreState(saved_state_);
  hardware_->WriteConfig(
      PCI_COMMAND, 2,
      hardware_->ReadConfig(PCI_COMMAND, 2) & ~uint32_t{PCI_COMMAND_MASTER});
}

models::ResetKind FakeVfioDevice::KindOf(fixture::Reset::Method method) {
  switch (method) {
    case fixture::Reset::POWER_MANAGEMENT:
      return models::ResetKind::kPowerState;
    case fixture::Reset::BUS:
      return models::ResetKind::kBus;
    default:
      return models::ResetKind::kFunctionLevel;
  }
}

// As in pci_dev_save_and_disable(), the function goes to D0 first. If that
// resets it, nothing restores what it lost, except by
// vfio_pci_set_power_state() before.
void FakeVfioDevice::ResetFunction(models::ResetKind kind) {
  hardware_->ReturnToD0();
  const std::vector<uint8_t> saved = hardware_->SaveState();
  raised_.clear();
  hardware_->Reset(kind);
  hardware_->RestoreState(saved);
  if (irqs_ != nullptr) irqs_->RestoreAfterReset();
  ++resets_;
}

void FakeVfioDevice::GoToD0() {
  if (config_ == nullptr) return;
  config_->SetPowerState(0);
  UpdateMappings();
}

void FakeVfioDevice::BusReset() {
  ResetFunction(models::ResetKind::kBus);
  UpdateMappings();
}

bool FakeVfioDevice::MemoryIsReachable() const {
  return config_ != nullptr && config_->memory_enabled() && !low_power_;
}

void FakeVfioDevice::UpdateMappings() {
  const bool alive = MemoryIsReachable();
  if (alive == mappings_alive_) return;
  mappings_alive_ = alive;
  RemapAll(alive);
}

void FakeVfioDevice::RemapAll(bool alive) {
  options_.core->mutex.AssertHeld();
  if (options_.mapped_registers) {
    hardware_->SetBarsReachable(alive);
    return;
  }
  for (const FakeFile* file : files_) {
    for (const Mapping& mapping : options_.core->mappings.Of(file)) {
      const BarMemory* memory =
          hardware_->bar_memory(journal::RegionOf(mapping.offset));
      // A task's accesses to registers come here one by one, and are refused.
      if (memory == nullptr || mapping.process != 0) continue;
      // This cannot fail for lack of address space, because the range is
      // mapped.
      memory->Map(journal::UserPointer(mapping.address), mapping.length,
                  mapping.protection, MAP_SHARED | MAP_FIXED,
                  journal::OffsetOf(mapping.offset), alive);
    }
  }
}

absl::Status FakeVfioDevice::Dma(
    uint64_t iova, uint64_t size, bool is_write,
    const std::function<Type1Iommu::Access(const Type1Iommu&)>& access) {
  const auto refuse = [&](DmaFault::Reason reason) {
    const DmaFault fault{.bdf = options_.bdf,
                         .iova = iova,
                         .size = size,
                         .is_write = is_write,
                         .reason = reason};
    options_.on_dma_fault(fault);
    return absl::PermissionDeniedError(
        absl::StrFormat("%s: DMA %s of %d bytes at IOVA 0x%x refused: %s",
                        options_.bdf.ToString(), is_write ? "write" : "read",
                        size, iova, Name(reason)));
  };
  if (!hardware_->bus_master()) return refuse(DmaFault::Reason::kBusMasterOff);
  const std::shared_ptr<FakeContainer>& container = options_.group->container();
  if (container == nullptr || !container->has_iommu()) {
    return refuse(DmaFault::Reason::kNoDomain);
  }
  does_dma_ = true;
  const Type1Iommu::Access outcome = access(*container->iommu());
  does_dma_ = false;
  switch (outcome) {
    case Type1Iommu::Access::kDone:
      return absl::OkStatus();
    case Type1Iommu::Access::kUnmapped:
      return refuse(DmaFault::Reason::kUnmapped);
    case Type1Iommu::Access::kPermission:
      return refuse(DmaFault::Reason::kPermission);
    case Type1Iommu::Access::kUnpinned:
      return refuse(DmaFault::Reason::kUnpinned);
  }
  return absl::InternalError("unknown DMA outcome");
}

absl::Status FakeVfioDevice::DmaRead(uint64_t iova, absl::Span<uint8_t> data) {
  return Dma(iova, data.size(), false,
             [&](const Type1Iommu& iommu) { return iommu.Read(iova, data); });
}

absl::Status FakeVfioDevice::DmaWrite(uint64_t iova,
                                      absl::Span<const uint8_t> data) {
  return Dma(iova, data.size(), true,
             [&](const Type1Iommu& iommu) { return iommu.Write(iova, data); });
}

bool FakeVfioDevice::Step() {
  const bool worked = hardware_->Step();
  for (const auto& deliver : std::exchange(raised_, {})) deliver();
  return worked;
}

void FakeVfioDevice::Raise(std::function<void()> deliver) {
  if (options_.mapped_registers) {
    raised_.push_back(std::move(deliver));
  } else {
    deliver();
  }
}

// The interrupts of a closed device reach no eventfd, but its pending bits and
// its pin still change.
void FakeVfioDevice::RaiseMsix(uint16_t vector) {
  Raise([this, vector] {
    if (irqs_ != nullptr) {
      irqs_->OnMsix(vector);
    } else if (vector < hardware_->msix_vectors()) {
      hardware_->SetMsixPending(vector, true);
    }
  });
}

void FakeVfioDevice::RaiseMsi(uint16_t vector) {
  Raise([this, vector] {
    if (irqs_ != nullptr) irqs_->OnMsi(vector);
  });
}

void FakeVfioDevice::SetIntx(bool asserted) {
  Raise([this, asserted] {
    if (irqs_ != nullptr) {
      irqs_->OnIntx(asserted);
    } else {
      hardware_->SetIntxLevel(asserted);
    }
  });
}

uint32_t FakeVfioDevice::ReadConfig(uint16_t offset, unsigned width) {
  return hardware_->ReadConfig(offset, width);
}

// Without interrupt remapping, each message of MSI would need a CPU vector of
// its own, so there is only one.
void FakeVfioDevice::SetVectorsAvailable(uint32_t msi, uint32_t msix) {
  options_.msi_vectors_available =
      options_.interrupt_remapping ? msi : std::min(1u, msi);
  options_.msix_vectors_available = msix;
  if (irqs_ == nullptr) return;
  irqs_->SetVectorsAvailable(options_.msi_vectors_available, msix);
}

void FakeVfioDevice::ReadBarMemory(pci::BarIndex bar, uint64_t offset,
                                   absl::Span<uint8_t> data) {
  if (hardware_->bar_size(bar.value()) == 0) {
    DevicePlatform::ReadBarMemory(bar, offset, data);
    return;
  }
  hardware_->bar_memory(bar.value())->Read(offset, data);
}

void FakeVfioDevice::WriteBarMemory(pci::BarIndex bar, uint64_t offset,
                                    absl::Span<const uint8_t> data) {
  if (hardware_->bar_size(bar.value()) == 0) return;
  hardware_->bar_memory(bar.value())->Write(offset, data);
}

void FakeVfioDevice::RequestRelease() {
  if (irqs_ != nullptr) irqs_->SignalRequest();
}

void FakeVfioDevice::ReportError() {
  if (irqs_ != nullptr) irqs_->SignalError();
}

FakeVfioDevice::Snapshot FakeVfioDevice::GetSnapshot() const {
  options_.core->mutex.AssertHeld();
  Snapshot snapshot{
      .open_files = files_.size(),
      .mappings_alive = MemoryIsReachable(),
      .bus_master = hardware_->bus_master(),
      .power_state = hardware_->power_state(),
      .resets = resets_,
      .mapped_msix_table_accesses = mapped_msix_table_accesses_,
      .ioeventfds = ioeventfds_.size(),
  };
  for (const FakeFile* file : files_) {
    snapshot.mappings += options_.core->mappings.Of(file).size();
  }
  if (irqs_ != nullptr) snapshot.irqs = irqs_->GetSnapshot();
  return snapshot;
}

journal::Call DeviceFile::DescribeIoctl(unsigned long request,
                                        const void* arg) const {
  return journal::DescribeVfioDeviceIoctl(request, arg);
}

std::string_view DeviceFile::IoctlName(unsigned long request) const {
  return journal::NameOfVfioDeviceIoctl(request);
}

SyscallResult<int> DeviceFile::Ioctl(unsigned long request, void* arg) {
  return device_->Ioctl(request, arg);
}

SyscallResult<size_t> DeviceFile::Pread(void* buffer, size_t count,
                                        uint64_t offset) {
  return device_->Read(buffer, count, offset);
}

SyscallResult<size_t> DeviceFile::Pwrite(const void* buffer, size_t count,
                                         uint64_t offset) {
  return device_->Write(buffer, count, offset);
}

SyscallResult<void*> DeviceFile::Mmap(void* address, size_t length,
                                      int protection, int flags,
                                      uint64_t offset) {
  return device_->Mmap(address, length, protection, flags, offset);
}

MappedAccess DeviceFile::MappedLoad(uint64_t offset, absl::Span<uint8_t> data) {
  return device_->MappedLoad(offset, data);
}

MappedAccess DeviceFile::MappedStore(uint64_t offset,
                                     absl::Span<const uint8_t> data) {
  return device_->MappedStore(offset, data);
}

bool DeviceFile::PeerLoad(uint64_t offset, absl::Span<uint8_t> data) {
  return device_->PeerLoad(offset, data);
}

bool DeviceFile::PeerStore(uint64_t offset, absl::Span<const uint8_t> data) {
  return device_->PeerStore(offset, data);
}

}  // namespace passthru::fake
