// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/host/simulated_host.h"

#include <linux/pci_regs.h>
#include <linux/vfio.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/log/log.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "passthru/devices/kernel/status_macros.h"
#include "passthru/testing/fixture/fixture.h"
#include "passthru/testing/fixture/fixture_bytes.h"
#include "passthru/testing/models/edu_model.h"
#include "passthru/testing/models/igb_model.h"
#include "passthru/testing/models/nvme/block_store.h"
#include "passthru/testing/models/nvme/nvme_cmb.h"
#include "passthru/testing/models/nvme/nvme_model.h"

namespace passthru::fake {

namespace {

constexpr uint32_t kNvmeClass = 0x010802;
constexpr uint32_t kEduVendor = 0x1234;
constexpr uint32_t kEduDevice = 0x11e8;
constexpr uint64_t kEduBarSize = uint64_t{1} << 20;
constexpr uint32_t kIntelVendor = 0x8086;
constexpr uint32_t kIgbDevice = 0x10c9;
constexpr uint64_t kIgbBarSize = uint64_t{128} << 10;

uint64_t BarSize(const fixture::PciDevice& device, uint32_t bar) {
  for (const fixture::Region& region : device.regions()) {
    if (region.index() == bar) return region.size();
  }
  return 0;
}

// Returns the structures that a virtio network device's capabilities name
// (virtio 1.2, 4.1.4), or nothing for another function.
std::optional<models::virtio::VirtioNetModel::Options> VirtioNetLayout(
    const fixture::PciDevice& device) {
  constexpr uint32_t kVirtioVendor = 0x1af4;
  constexpr uint32_t kModernNetwork = 0x1041;
  constexpr uint32_t kTransitionalNetwork = 0x1000;
  const fixture::Identity& identity = device.identity();
  if (identity.vendor_id() != kVirtioVendor ||
      (identity.device_id() != kModernNetwork &&
       identity.device_id() != kTransitionalNetwork)) {
    return std::nullopt;
  }
  models::virtio::VirtioNetModel::Options options;
  models::virtio::Structure* const structures[] = {
      nullptr, &options.common, &options.notify, &options.isr, &options.device};
  const std::vector<uint8_t> config = fixture::ExpandConfig(device).bytes;
  uint8_t at = config[PCI_CAPABILITY_LIST];
  for (int walked = 0; at != 0 && at + 20u <= config.size() && walked < 48;
       ++walked, at = config[at + 1u]) {
    const uint8_t type = config[at + 3u];
    if (config[at] != PCI_CAP_ID_VNDR || type == 0 ||
        type >= std::size(structures) || structures[type]->length != 0) {
      continue;
    }
    *structures[type] = {.bar = config[at + 4u],
                         .offset = fixture::ReadLe32(config, at + 8u),
                         .length = fixture::ReadLe32(config, at + 12u)};
    if (structures[type] == &options.notify) {
      options.notify_multiplier = fixture::ReadLe32(config, at + 16u);
    }
  }
  for (const models::virtio::Structure* structure : structures) {
    if (structure == nullptr) continue;
    if (structure->length == 0 || structure->bar >= 6 ||
        structure->offset + structure->length >
            BarSize(device, structure->bar)) {
      return std::nullopt;
    }
  }
  return options;
}

// Returns the model for the class or the identity of the function, or nothing.
std::string ModelOfClass(const fixture::PciDevice& device) {
  const fixture::Identity& identity = device.identity();
  if (identity.class_code() == kNvmeClass) return "nvme";
  if (VirtioNetLayout(device).has_value()) return "virtio-net";
  if (identity.vendor_id() == kEduVendor &&
      identity.device_id() == kEduDevice && BarSize(device, 0) == kEduBarSize) {
    return "edu";
  }
  if (identity.vendor_id() == kIntelVendor &&
      identity.device_id() == kIgbDevice && BarSize(device, 0) == kIgbBarSize) {
    return "igb";
  }
  return "";
}

// Returns how many messages the function can send.
uint16_t MessageVectors(const fixture::PciDevice& device) {
  uint32_t vectors = 1;
  for (const fixture::Irq& irq : device.irqs()) {
    if (irq.index() == VFIO_PCI_MSI_IRQ_INDEX ||
        irq.index() == VFIO_PCI_MSIX_IRQ_INDEX) {
      vectors = std::max(vectors, irq.count());
    }
  }
  return static_cast<uint16_t>(vectors);
}

// Returns why the model of an NVMe controller cannot be the function's, or
// nothing. Its registers are the beginning of BAR 0, and there it cannot have
// the MSI-X structures, which the platform handles.
std::string WhyNoNvmeModel(const fixture::PciDevice& device) {
  constexpr uint64_t kRegisters = models::nvme::NvmeModel::kRegisterBytes;
  const std::vector<uint8_t> config = fixture::ExpandConfig(device).bytes;
  const uint64_t size = BarSize(device, 0);
  if ((fixture::AssignedBars(device, config)[0] & PCI_BASE_ADDRESS_SPACE_IO) !=
          0 ||
      size < kRegisters) {
    return absl::StrCat("the model of an NVMe controller needs ", kRegisters,
                        " bytes of memory in BAR 0, which has ", size);
  }
  const auto msix = fixture::FindCapability(config, PCI_CAP_ID_MSIX);
  if (!msix.has_value()) return "";
  for (const int reg : {PCI_MSIX_TABLE, PCI_MSIX_PBA}) {
    const uint32_t location =
        fixture::ReadLe32(config, *msix + static_cast<size_t>(reg));
    if ((location & PCI_MSIX_TABLE_BIR) == 0 &&
        (location & PCI_MSIX_TABLE_OFFSET) < kRegisters) {
      return "the model of an NVMe controller has its registers where this "
             "function has MSI-X table or pending bits";
    }
  }
  return "";
}

// Returns the size of the controller memory buffer, which QEMU's controller has
// in BAR 2, or 0.
uint64_t NvmeBufferSize(const fixture::PciDevice& device) {
  constexpr uint32_t kRedHat = 0x1b36;
  constexpr uint64_t kUnit = models::nvme::ControllerMemory::kUnit;
  constexpr unsigned kBar = models::nvme::ControllerMemory::kBar.value();
  const std::vector<uint8_t> config = fixture::ExpandConfig(device).bytes;
  const uint64_t size = BarSize(device, kBar);
  const auto msix = fixture::FindCapability(config, PCI_CAP_ID_MSIX);
  const bool has_msix =
      msix.has_value() && (fixture::ReadLe32(config, *msix + PCI_MSIX_TABLE) &
                           PCI_MSIX_TABLE_BIR) == kBar;
  return device.identity().vendor_id() == kRedHat && !has_msix &&
                 size % kUnit == 0
             ? size
             : 0;
}

absl::StatusOr<std::unique_ptr<models::DeviceModel>> MakeNvmeModel(
    const fixture::PciDevice& device, const ModelOptions& options) {
  models::nvme::NvmeModel::Options nvme;
  nvme.vectors = MessageVectors(device);
  nvme.cmb_bytes = NvmeBufferSize(device);
  nvme.disk_file = options.disk_file;
  if (!options.serial_number.empty()) {
    nvme.serial_number = options.serial_number;
  }
  if (options.disk_bytes % models::nvme::BlockStore::kBlockSize != 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "fixture ", device.name(), ": a disk of ", options.disk_bytes,
        " bytes, which is no multiple of 512"));
  }
  if (options.disk_bytes != 0) {
    nvme.blocks = options.disk_bytes / models::nvme::BlockStore::kBlockSize;
  }
  PASSTHRU_ASSIGN_OR_RETURN(auto model,
                            models::nvme::NvmeModel::Create(std::move(nvme)));
  return model;
}

FakeVfio::Options VfioOptions(FakeVfio::Options vfio, bool passthrough_kvm) {
  vfio.mapped_registers |= passthrough_kvm;
  return vfio;
}

}  // namespace

SimulatedHost::SimulatedHost(Options options)
    : enforce_invariants_(options.enforce_invariants),
      kernel_(options.kernel),
      vfio_(&kernel_.core(), VfioOptions(std::move(options.vfio),
                                         options.kernel.passthrough_kvm)),
      invariants_(&kernel_, &vfio_, options.dma_rule) {
  kernel_.AddSubsystem(&vfio_);
  kernel_.SetObserver(&invariants_);
}

SimulatedHost::~SimulatedHost() {
  invariants_.CheckNothingLeft();
  kernel_.Shutdown();
  const std::vector<std::string> violations = invariants_.Take();
  if (enforce_invariants_ && !violations.empty()) {
    LOG(FATAL) << "Broken invariants:\n  " << absl::StrJoin(violations, "\n  ");
  }
}

absl::StatusOr<pci::Bdf> SimulatedHost::AddFixture(const std::string& path,
                                                   DeviceOptions options,
                                                   const ModelOptions& model) {
  PASSTHRU_ASSIGN_OR_RETURN(const auto fixture, fixture::LoadFixture(path));
  pci::Bdf bdf;
  if (options.bdf.has_value()) {
    bdf = *options.bdf;
  } else {
    PASSTHRU_ASSIGN_OR_RETURN(const auto captured,
                              pci::Bdf::Parse(fixture.bdf()));
    bdf = captured;
  }
  if (options.model == nullptr) {
    ModelOptions own = model;
    ++added_;
    if (own.serial_number.empty()) {
      own.serial_number = absl::StrFormat("PASSTHRU%04d", added_);
    }
    PASSTHRU_ASSIGN_OR_RETURN(options.model, MakeModel(fixture, own));
    if (options.model == nullptr)
      without_model_[bdf] = fake::WhyNoModel(fixture);
  }
  auto* const network =
      dynamic_cast<models::virtio::VirtioNetModel*>(options.model.get());
  PASSTHRU_RETURN_IF_ERROR(vfio_.AddDevice(fixture, std::move(options)));
  if (network != nullptr) networks_[bdf] = network;
  return bdf;
}

absl::Status SimulatedHost::Connect(pci::Bdf first, pci::Bdf second) {
  for (const pci::Bdf bdf : {first, second}) {
    if (!networks_.contains(bdf)) {
      return absl::InvalidArgumentError(
          absl::StrCat(bdf.ToString(),
                       " cannot be connected: it has no model of a virtio "
                       "network device"));
    }
  }
  if (first == second) {
    return absl::InvalidArgumentError(
        absl::StrCat(first.ToString(), " cannot be connected to itself"));
  }
  return vfio_.WithHardware(first, [&](models::DevicePlatform&) {
    models::virtio::VirtioNetModel::Connect(*networks_.at(first),
                                            *networks_.at(second));
  });
}

std::string SimulatedHost::WhyNoModel(pci::Bdf device) const {
  const auto found = without_model_.find(device);
  return found == without_model_.end() ? "" : found->second;
}

std::string WhyNoModel(const fixture::PciDevice& device) {
  if (ModelOfClass(device) == "nvme") return WhyNoNvmeModel(device);
  return "";
}

absl::StatusOr<std::unique_ptr<models::DeviceModel>> MakeModel(
    const fixture::PciDevice& device, const ModelOptions& options) {
  std::string model = device.model();
  if (model.empty() && WhyNoModel(device).empty()) {
    model = ModelOfClass(device);
  }
  if (model == "nvme") return MakeNvmeModel(device, options);
  if (options.disk_bytes != 0 || !options.disk_file.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("fixture ", device.name(),
                     ": it has no model with a disk; give the disk to an NVMe "
                     "controller"));
  }
  if (model.empty()) return nullptr;
  if (model == "edu") return std::make_unique<models::EduModel>();
  if (model == "igb") {
    return std::make_unique<models::IgbModel>(MessageVectors(device));
  }
  if (model == "virtio-net") {
    auto layout = VirtioNetLayout(device);
    if (!layout.has_value()) {
      return absl::InvalidArgumentError(
          absl::StrCat("fixture ", device.name(),
                       ": it has no capabilities of a virtio network device"));
    }
    layout->vectors = MessageVectors(device);
    // Two of them in a machine need two addresses.
    layout->mac[5] = static_cast<uint8_t>(options.mac_tail);
    return std::make_unique<models::virtio::VirtioNetModel>(*layout);
  }
  return absl::InvalidArgumentError(
      absl::StrCat("fixture ", device.name(), ": no device model '",
                   device.model(), "'; there are: nvme, edu, igb, virtio-net"));
}

}  // namespace passthru::fake
