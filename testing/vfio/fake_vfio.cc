// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/vfio/fake_vfio.h"

#include <linux/pci_regs.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/synchronization/mutex.h"
#include "absl/types/span.h"
#include "passthru/devices/kernel/status_macros.h"
#include "passthru/testing/fixture/fixture.h"
#include "passthru/testing/fixture/fixture_bytes.h"
#include "passthru/testing/kernel/fake_sysfs.h"
#include "passthru/testing/kernel/mapping_table.h"

namespace passthru::fake {
namespace {

constexpr std::string_view kContainerPath = "/dev/vfio/vfio";

std::string GroupPath(uint32_t number) {
  return absl::StrCat("/dev/vfio/", number);
}

// The hardware's registers, like pci_read_config() and pci_write_config().
class ConfigAttribute final : public BinaryAttribute {
 public:
  void set_device(const std::shared_ptr<FakeVfioDevice>& device) {
    device_ = device;
  }

  uint64_t size() const override {
    const auto device = device_.lock();
    return device == nullptr ? 0 : device->hardware().config_size();
  }
  void Read(uint64_t offset, absl::Span<uint8_t> data) override {
    const auto device = device_.lock();
    for (size_t i = 0; device != nullptr && i < data.size(); ++i) {
      data[i] = static_cast<uint8_t>(
          device->hardware().ReadConfig(static_cast<uint16_t>(offset + i), 1));
    }
  }
  void Write(uint64_t offset, absl::Span<const uint8_t> data) override {
    const auto device = device_.lock();
    for (size_t i = 0; device != nullptr && i < data.size(); ++i) {
      device->hardware().WriteConfig(static_cast<uint16_t>(offset + i), 1,
                                     data[i]);
    }
  }

 private:
  std::weak_ptr<FakeVfioDevice> device_;
};

// Returns the name of a link's speed (pci_speed_string()).
std::string LinkSpeed(unsigned speed) {
  switch (speed) {
    case PCI_EXP_LNKCAP_SLS_2_5GB:
      return "2.5 GT/s PCIe";
    case PCI_EXP_LNKCAP_SLS_5_0GB:
      return "5.0 GT/s PCIe";
    case PCI_EXP_LNKCAP_SLS_8_0GB:
      return "8.0 GT/s PCIe";
    case PCI_EXP_LNKCAP_SLS_16_0GB:
      return "16.0 GT/s PCIe";
    case PCI_EXP_LNKCAP_SLS_32_0GB:
      return "32.0 GT/s PCIe";
    default:
      return "Unknown";
  }
}

void FillLink(const std::vector<uint8_t>& config, SysfsPciDevice& entry) {
  const auto express = fixture::FindCapability(config, PCI_CAP_ID_EXP);
  if (!express.has_value()) return;
  const uint32_t most =
      fixture::ReadLe32(config, *express + size_t{PCI_EXP_LNKCAP});
  const uint32_t now =
      fixture::ReadLe16(config, *express + size_t{PCI_EXP_LNKSTA});
  entry.max_link_speed = LinkSpeed(most & PCI_EXP_LNKCAP_SLS);
  entry.max_link_width = absl::StrCat((most & PCI_EXP_LNKCAP_MLW) >> 4);
  entry.link_speed = LinkSpeed(now & PCI_EXP_LNKSTA_CLS);
  entry.link_width = absl::StrCat((now & PCI_EXP_LNKSTA_NLW) >> 4);
}

// Fills in what only the registers tell.
void FillFromConfig(const fixture::PciDevice& fixture, SysfsPciDevice& entry) {
  constexpr size_t kExtendedStart = 256;
  const std::vector<uint8_t> config = fixture::ExpandConfig(fixture).bytes;
  entry.revision = static_cast<uint8_t>(fixture.identity().revision_id());
  if (config[PCI_INTERRUPT_PIN] != 0) entry.irq = config[PCI_INTERRUPT_LINE];
  entry.has_power_management =
      fixture::FindCapability(config, PCI_CAP_ID_PM).has_value();
  FillLink(config, entry);
  size_t at = kExtendedStart;
  size_t walked = 0;
  while (at >= kExtendedStart && at + 64 <= config.size() &&
         walked++ < config.size() / 4) {
    const uint32_t header = fixture::ReadLe32(config, at);
    if (PCI_EXT_CAP_ID(header) == PCI_EXT_CAP_ID_SRIOV) {
      entry.sriov = SysfsSriov{
          .total_vfs = fixture::ReadLe16(config, at + PCI_SRIOV_TOTAL_VF),
          .offset = fixture::ReadLe16(config, at + PCI_SRIOV_VF_OFFSET),
          .stride = fixture::ReadLe16(config, at + PCI_SRIOV_VF_STRIDE),
          .vf_device = fixture::ReadLe16(config, at + PCI_SRIOV_VF_DID)};
    }
    if (PCI_EXT_CAP_ID(header) == PCI_EXT_CAP_ID_ARI) entry.has_ari = true;
    at = PCI_EXT_CAP_NEXT(header);
  }
}

// Returns the text of resource_show(), with at least the six BARs and the ROM.
std::string ResourceAttribute(const fixture::PciDevice& fixture) {
  constexpr int kStandardResources = 7;
  std::string text;
  for (int i = 0;
       i < std::max(kStandardResources, fixture.host_resources_size()); ++i) {
    const fixture::HostResource resource = i < fixture.host_resources_size()
                                               ? fixture.host_resources(i)
                                               : fixture::HostResource();
    absl::StrAppendFormat(&text, "0x%016x 0x%016x 0x%016x\n", resource.start(),
                          resource.end(), resource.flags());
  }
  return text;
}

// Returns the text of reset_method_show().
std::string ResetMethodAttribute(const fixture::PciDevice& fixture) {
  std::vector<std::string_view> names;
  for (const int method : fixture.reset().methods()) {
    switch (method) {
      case fixture::Reset::DEVICE_SPECIFIC:
        names.push_back("device_specific");
        break;
      case fixture::Reset::ACPI:
        names.push_back("acpi");
        break;
      case fixture::Reset::FLR:
        names.push_back("flr");
        break;
      case fixture::Reset::AF_FLR:
        names.push_back("af_flr");
        break;
      case fixture::Reset::POWER_MANAGEMENT:
        names.push_back("pm");
        break;
      case fixture::Reset::BUS:
        names.push_back("bus");
        break;
    }
  }
  return names.empty() ? "" : absl::StrCat(absl::StrJoin(names, " "), "\n");
}

}  // namespace

FakeVfio::FakeVfio(KernelCore* core, Options options)
    : core_(core),
      options_(std::move(options)),
      rules_(RulesOf(core->version)) {
  absl::MutexLock lock(&core_->mutex);
  files_ = std::make_unique<PciBusFiles>(&core_->paths, core_->version,
                                         options_.iommu.allow_unsafe_interrupts,
                                         MachineForFiles());
  core_->paths.AddCharacterDevice(
      kContainerPath,
      [this](int) -> kernel::SyscallResult<std::shared_ptr<FakeFile>> {
        auto container = std::make_shared<FakeContainer>(
            ++containers_made_, rules_, options_.iommu, &core_->mappings);
        std::erase_if(containers_, [](const std::weak_ptr<FakeContainer>& old) {
          return old.expired();
        });
        containers_.push_back(container);
        return {std::make_shared<ContainerFile>(std::move(container)), 0};
      });
}

FakeVfio::~FakeVfio() {
  absl::MutexLock lock(&core_->mutex);
  files_.reset();
  core_->paths.Remove(kContainerPath);
  for (const auto& [number, group] : groups_) {
    core_->paths.Remove(GroupPath(number));
    // Devices and groups refer to each other, so this breaks the cycle.
    group->members().clear();
  }
}

absl::Status FakeVfio::AddDevice(const fixture::PciDevice& fixture,
                                 DeviceOptions options) {
  PASSTHRU_RETURN_IF_ERROR(fixture::Validate(
      fixture, absl::StrCat("device \"", fixture.name(), "\"")));
  const pci::Bdf bdf =
      options.bdf.has_value() ? *options.bdf : *pci::Bdf::Parse(fixture.bdf());
  const uint32_t number =
      options.group.value_or(fixture.iommu_group().number());

  absl::MutexLock lock(&core_->mutex);
  if (devices_.contains(bdf) || without_iommu_.contains(bdf)) {
    return absl::AlreadyExistsError(
        absl::StrCat(bdf.ToString(), ": there is a device already"));
  }
  const fixture::Identity& identity = fixture.identity();
  SysfsPciDevice entry{
      .bdf = bdf.ToString(),
      .vendor = static_cast<uint16_t>(identity.vendor_id()),
      .device = static_cast<uint16_t>(identity.device_id()),
      .subsystem_vendor = static_cast<uint16_t>(identity.subsystem_vendor_id()),
      .subsystem_device = static_cast<uint16_t>(identity.subsystem_id()),
      .class_code = identity.class_code(),
      .driver = options.driver,
      .resource = ResourceAttribute(fixture),
      .reset_method = ResetMethodAttribute(fixture),
      .is_virtual_function = fixture.is_virtual_function(),
  };
  FillFromConfig(fixture, entry);
  const auto config = std::make_shared<ConfigAttribute>();
  entry.config = config;
  if (options.has_iommu) entry.iommu_group = number;
  const bool can_reset = !fixture.reset().methods().empty();
  files_->AddDevice(entry, can_reset);
  // Without an IOMMU, VFIO cannot reach the device.
  if (!options.has_iommu) {
    without_iommu_.insert(bdf);
    return absl::OkStatus();
  }

  const std::shared_ptr<FakeGroup> group = GroupNumbered(number);
  absl::StatusOr<std::shared_ptr<FakeVfioDevice>> device =
      FakeVfioDevice::Create({
          .core = core_,
          .fixture = fixture,
          .model = std::move(options.model),
          .vf_token = std::move(options.vf_token),
          .bdf = bdf,
          .group = group,
          .rules = rules_,
          .interrupt_remapping = options_.iommu.interrupt_remapping,
          .has_host_irq = options.has_host_irq,
          .msi_control_reads_back = options_.msi_control_reads_back,
          .mapped_registers = options_.mapped_registers,
          .msi_vectors_available = options.msi_vectors_available,
          .msix_vectors_available = options.msix_vectors_available,
          .host_functions = [this] { return HostFunctions(); },
          .on_dma_fault =
              [this](const DmaFault& fault) {
                journal::Call event{.name = "dma-refused",
                                    .subject = fault.bdf.ToString()};
                event.Hex("iova", fault.iova)
                    .Hex("size", fault.size)
                    .Text("access", fault.is_write ? "write" : "read")
                    .Text("reason", std::string(Name(fault.reason)));
                core_->journal.RecordEvent(std::move(event));
                dma_faults_.push_back(fault);
              },
          .on_interrupt =
              [this, bdf](std::string_view kind, uint32_t vector) {
                if (on_interrupt_ != nullptr) on_interrupt_(bdf, kind, vector);
              },
      });
  if (!device.ok()) return device.status();
  devices_[bdf] = *device;
  config->set_device(*device);
  AddToGroup(group, {.bdf = bdf,
                     .driver = std::move(options.driver),
                     .device = *std::move(device)});
  for (const fixture::Sibling& sibling : fixture.iommu_group().siblings()) {
    const pci::Bdf other = *pci::Bdf::Parse(sibling.bdf());
    // It may be there itself, captured as well.
    if (devices_.contains(other) || without_iommu_.contains(other)) continue;
    files_->AddDevice({.bdf = other.ToString(),
                       .iommu_group = number,
                       .driver = sibling.driver()},
                      /*can_reset=*/false);
    AddToGroup(group,
               {.bdf = other, .driver = sibling.driver(), .device = nullptr});
  }
  return absl::OkStatus();
}

std::shared_ptr<FakeGroup> FakeVfio::GroupNumbered(uint32_t number) {
  std::shared_ptr<FakeGroup>& group = groups_[number];
  if (group == nullptr) {
    group = std::make_shared<FakeGroup>(core_, number, rules_);
  }
  return group;
}

void FakeVfio::AddToGroup(const std::shared_ptr<FakeGroup>& group,
                          FakeGroup::Member member) {
  // What a sibling's fixture said of it is in the group of that sibling, which
  // may be another one here.
  for (const auto& [number, other] : groups_) {
    const size_t erased =
        std::erase_if(other->members(), [&](const FakeGroup::Member& old) {
          return old.bdf == member.bdf && old.device == nullptr;
        });
    if (erased > 0) UpdateNode(*other);
  }
  group->members().push_back(std::move(member));
  UpdateNode(*group);
}

void FakeVfio::UpdateNode(const FakeGroup& group) {
  core_->mutex.AssertHeld();
  const std::string path = GroupPath(group.number());
  if (!group.has_vfio_member()) {
    core_->paths.Remove(path);
    return;
  }
  core_->paths.AddCharacterDevice(path, [this, number = group.number()](int) {
    return groups_.at(number)->Open();
  });
}

absl::Status FakeVfio::SetDriver(const pci::Bdf& bdf,
                                 const std::string& driver) {
  absl::MutexLock lock(&core_->mutex);
  if (ApplyDriver(bdf, driver)) return absl::OkStatus();
  return absl::NotFoundError(
      absl::StrCat(bdf.ToString(), ": no such device in the fake machine"));
}

bool FakeVfio::Step() {
  bool done = false;
  for (const auto& [bdf, device] : devices_) done |= device->Step();
  return done;
}

void FakeVfio::ForEachContainer(
    absl::FunctionRef<void(const FakeContainer& container)> visit) const {
  core_->mutex.AssertHeld();
  for (const std::weak_ptr<FakeContainer>& weak : containers_) {
    const std::shared_ptr<FakeContainer> container = weak.lock();
    if (container == nullptr || !container->has_iommu()) continue;
    visit(*container);
  }
}

void FakeVfio::AppendResources(std::vector<std::string>& resources) const {
  ForEachContainer([&resources](const FakeContainer& container) {
    for (const auto& [iova, mapping] : container.iommu()->by_iova()) {
      resources.push_back(absl::StrFormat("%s: DMA mapping [0x%x, +0x%x)",
                                          container.Describe(), iova,
                                          mapping.size));
    }
  });
  for (const auto& [number, group] : groups_) {
    if (group->container() != nullptr) {
      resources.push_back(absl::StrCat(group->Describe(), ": in ",
                                       group->container()->Describe()));
    }
  }
  for (const auto& [bdf, device] : devices_) {
    if (!device->is_open()) continue;
    const FakeVfioDevice::Snapshot snapshot = device->GetSnapshot();
    for (const auto& [vector, eventfd] : snapshot.irqs.triggers) {
      resources.push_back(absl::StrCat(device->Describe(), ": vector ", vector,
                                       " signals ", eventfd));
    }
    for (size_t i = 0; i < snapshot.ioeventfds; ++i) {
      resources.push_back(absl::StrCat(device->Describe(), ": ioeventfd"));
    }
  }
}

std::vector<HostFunction> FakeVfio::HostFunctions() const {
  std::vector<HostFunction> functions;
  for (const auto& [number, group] : groups_) {
    for (const FakeGroup::Member& member : group->members()) {
      functions.push_back({.bdf = member.bdf,
                           .group = number,
                           .driver = member.driver,
                           .device = member.device.get()});
    }
  }
  return functions;
}

FakeVfioDevice* FakeVfio::Find(const pci::Bdf& bdf) const {
  const auto found = devices_.find(bdf);
  return found == devices_.end() ? nullptr : found->second.get();
}

absl::StatusOr<FakeVfioDevice*> FakeVfio::FindOrError(
    const pci::Bdf& bdf) const {
  if (FakeVfioDevice* device = Find(bdf)) return device;
  return absl::NotFoundError(
      absl::StrCat(bdf.ToString(), ": no such device in the fake machine"));
}

absl::StatusOr<FakeVfioDevice::Snapshot> FakeVfio::Snapshot(
    const pci::Bdf& bdf) const {
  absl::MutexLock lock(&core_->mutex);
  PASSTHRU_ASSIGN_OR_RETURN(FakeVfioDevice * device, FindOrError(bdf));
  return device->GetSnapshot();
}

std::vector<DmaMapping> FakeVfio::DmaMappings(const pci::Bdf& bdf) const {
  absl::MutexLock lock(&core_->mutex);
  const FakeVfioDevice* device = Find(bdf);
  if (device == nullptr || device->group()->container() == nullptr ||
      !device->group()->container()->has_iommu()) {
    return {};
  }
  return device->group()->container()->iommu()->Mappings();
}

BarEntries FakeVfio::CountBarEntries(const pci::Bdf& bdf) const {
  absl::MutexLock lock(&core_->mutex);
  BarEntries entries;
  for (const Mapping& mapping : core_->mappings.All()) {
    const auto* const file =
        dynamic_cast<const DeviceFile*>(mapping.file.get());
    if (file == nullptr || file->device()->bdf() != bdf) continue;
    entries += CountEntries(mapping.address, mapping.offset, mapping.length,
                            rules_.huge_bar_entries);
  }
  return entries;
}

std::vector<DmaFault> FakeVfio::DmaFaults() const {
  absl::MutexLock lock(&core_->mutex);
  return dma_faults_;
}

void FakeVfio::SetInterruptListener(InterruptListener listener) {
  absl::MutexLock lock(&core_->mutex);
  on_interrupt_ = std::move(listener);
}

absl::Status FakeVfio::WithHardware(
    const pci::Bdf& bdf,
    const std::function<void(models::DevicePlatform&)>& action) {
  absl::MutexLock lock(&core_->mutex);
  PASSTHRU_ASSIGN_OR_RETURN(FakeVfioDevice * device, FindOrError(bdf));
  action(*device);
  return absl::OkStatus();
}

bool FakeVfio::IsArmed(const pci::Bdf& bdf, uint32_t vector) const {
  absl::MutexLock lock(&core_->mutex);
  const FakeVfioDevice* const device = Find(bdf);
  return device != nullptr && device->IsArmed(vector);
}

absl::Status FakeVfio::SetVectorsAvailable(const pci::Bdf& bdf, uint32_t msi,
                                           uint32_t msix) {
  absl::MutexLock lock(&core_->mutex);
  PASSTHRU_ASSIGN_OR_RETURN(FakeVfioDevice * device, FindOrError(bdf));
  device->SetVectorsAvailable(msi, msix);
  return absl::OkStatus();
}

absl::Status FakeVfio::RequestRelease(const pci::Bdf& bdf) {
  absl::MutexLock lock(&core_->mutex);
  PASSTHRU_ASSIGN_OR_RETURN(FakeVfioDevice * device, FindOrError(bdf));
  device->RequestRelease();
  return absl::OkStatus();
}

absl::Status FakeVfio::ReportError(const pci::Bdf& bdf) {
  absl::MutexLock lock(&core_->mutex);
  PASSTHRU_ASSIGN_OR_RETURN(FakeVfioDevice * device, FindOrError(bdf));
  device->ReportError();
  return absl::OkStatus();
}

absl::Status FakeVfio::BackdoorReset(const pci::Bdf& bdf) {
  absl::MutexLock lock(&core_->mutex);
  PASSTHRU_ASSIGN_OR_RETURN(FakeVfioDevice * device, FindOrError(bdf));
  device->hardware().Reset(models::ResetKind::kBus);
  return absl::OkStatus();
}

absl::Status FakeVfio::DieAtNextReset(const pci::Bdf& bdf) {
  absl::MutexLock lock(&core_->mutex);
  PASSTHRU_ASSIGN_OR_RETURN(FakeVfioDevice * device, FindOrError(bdf));
  device->hardware().DieAtNextReset();
  return absl::OkStatus();
}

}  // namespace passthru::fake
