// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/capture/capture.h"

#include <linux/pci_regs.h>
#include <linux/vfio.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/types/span.h"
#include "passthru/devices/kernel/errors.h"
#include "passthru/devices/kernel/read_file.h"
#include "passthru/devices/kernel/status_macros.h"
#include "passthru/devices/vfio/find_group.h"
#include "passthru/devices/vfio/vfio_container.h"
#include "passthru/devices/vfio/vfio_device.h"
#include "passthru/devices/vfio/vfio_group.h"
#include "passthru/testing/capture/byte_rows.h"
#include "passthru/testing/capture/capture_regions.h"
#include "passthru/testing/capture/redact.h"
#include "passthru/testing/capture/sysfs_device.h"
#include "passthru/testing/capture/vital_product_data.h"
#include "passthru/testing/fixture/fixture_bytes.h"

namespace passthru::capture {
namespace {

constexpr uint32_t kSchemaVersion = 1;
constexpr uint32_t kNetworkClass = 0x02;

// Contents become text in the end, so more than this is a mistake.
constexpr uint64_t kMaxContents = 64 * 1024;

bool ParseNumber(std::string_view text, uint64_t* value) {
  if (absl::ConsumePrefix(&text, "0x") || absl::ConsumePrefix(&text, "0X")) {
    return absl::SimpleHexAtoi(text, value);
  }
  return absl::SimpleAtoi(text, value);
}

absl::Status CheckOptions(const CaptureOptions& options,
                          const SysfsDevice& sysfs, const std::string& name) {
  if (options.contents.empty() || options.include_identity) {
    return absl::OkStatus();
  }
  if (sysfs.config.size() > PCI_CLASS_DEVICE + 1 &&
      sysfs.config[PCI_CLASS_DEVICE + 1] == kNetworkClass) {
    return absl::InvalidArgumentError(absl::StrCat(
        name,
        " is a network controller, and the contents of its BARs hold its MAC "
        "address at a place that only its driver knows: leave --contents out, "
        "or add --include_identity and remove it yourself"));
  }
  return absl::OkStatus();
}

// Sets D0, because vfio-pci keeps an unopened device in D3hot, but the fixture
// describes a device at work.
void PowerUp(std::vector<uint8_t>& config) {
  const auto capability = fixture::FindCapability(config, PCI_CAP_ID_PM);
  if (!capability.has_value()) return;
  uint8_t& state = config[*capability + size_t{PCI_PM_CTRL}];
  state = static_cast<uint8_t>(state & ~PCI_PM_CTRL_STATE_MASK);
}

// Returns the configuration space as far as sysfs shows it to this user, and
// the rest from VFIO. Notes where the two differ.
absl::StatusOr<std::vector<uint8_t>> CombineConfig(
    const vfio::VfioDevice& vfio_device, const std::vector<uint8_t>& physical,
    std::vector<std::string>& notes) {
  if (vfio_device.config_size() > PCI_CFG_SPACE_EXP_SIZE) {
    return absl::InternalError(absl::StrFormat(
        "VFIO says that the configuration space of %s has %u bytes, but %u are "
        "the most there are",
        vfio_device.name(), vfio_device.config_size(), PCI_CFG_SPACE_EXP_SIZE));
  }
  std::vector<uint8_t> shown(vfio_device.config_size());
  PASSTHRU_RETURN_IF_ERROR(vfio_device.ReadRegion(VFIO_PCI_CONFIG_REGION_INDEX,
                                                  0, absl::MakeSpan(shown)));
  std::vector<uint8_t> config = physical;
  if (physical.size() < shown.size()) {
    config.insert(config.end(),
                  shown.begin() + static_cast<ptrdiff_t>(physical.size()),
                  shown.end());
    notes.push_back(absl::StrFormat(
        "From byte 0x%x on, the configuration space is what VFIO shows, "
        "without the capabilities that it hides: sysfs shows the hardware's "
        "only to root. Capture as root for a faithful fixture.",
        physical.size()));
  }
  std::vector<std::string> differ;
  for (size_t i = 0; i < std::min(physical.size(), shown.size());) {
    size_t end = i;
    while (end < std::min(physical.size(), shown.size()) &&
           physical[end] != shown[end]) {
      ++end;
    }
    if (end > i) {
      differ.push_back(end - i == 1
                           ? absl::StrFormat("0x%03x", i)
                           : absl::StrFormat("0x%03x-0x%03x", i, end - 1));
    }
    i = end + 1;
  }
  if (!differ.empty()) {
    notes.push_back(
        absl::StrCat("VFIO shows other values than the hardware has at ",
                     absl::StrJoin(differ, ", "), "."));
  }
  return config;
}

void FillIdentity(const SysfsDevice& sysfs, absl::Span<const uint8_t> config,
                  fixture::Identity& identity) {
  identity.set_vendor_id(sysfs.vendor_id);
  identity.set_device_id(sysfs.device_id);
  identity.set_revision_id(config[PCI_REVISION_ID]);
  identity.set_class_code(fixture::ReadLe32(config, PCI_CLASS_REVISION) >> 8);
  identity.set_subsystem_vendor_id(
      fixture::ReadLe16(config, PCI_SUBSYSTEM_VENDOR_ID));
  identity.set_subsystem_id(fixture::ReadLe16(config, PCI_SUBSYSTEM_ID));
}

void CaptureIrqs(const vfio::VfioDevice& vfio_device,
                 fixture::PciDevice& device) {
  for (uint32_t i = 0; i < vfio_device.irq_count(); ++i) {
    const vfio::VfioIrqInfo& info = vfio_device.irq(i);
    // VFIO refuses ERR of a conventional device.
    if (!info.status.ok()) continue;
    fixture::Irq& irq = *device.add_irqs();
    irq.set_index(i);
    irq.set_count(info.count);
    irq.set_flags(info.flags);
  }
}

absl::Status CaptureReset(const vfio::VfioDevice& vfio_device,
                          const SysfsDevice& sysfs, bool try_hot_reset,
                          fixture::Reset& reset,
                          std::vector<std::string>& notes) {
  for (const fixture::Reset::Method method : sysfs.reset_methods) {
    reset.add_methods(method);
  }
  if (!sysfs.other_reset_methods.empty()) {
    notes.push_back(absl::StrCat("The kernel also resets it by ",
                                 absl::StrJoin(sysfs.other_reset_methods, ", "),
                                 ", for which fixtures have no word."));
  }
  if (vfio_device.can_reset() == reset.methods().empty()) {
    notes.push_back(absl::StrCat(
        "VFIO says that it can ", vfio_device.can_reset() ? "" : "not ",
        "reset the function, sysfs (reset_method) lists ", reset.methods_size(),
        " methods."));
  }
  auto affected = vfio_device.GetHotResetDevices();
  if (kernel::ErrnoOf(affected.status()) == ENODEV) return absl::OkStatus();
  if (!affected.ok()) return affected.status();
  reset.set_hot_reset_listed(true);
  std::sort(affected->begin(), affected->end(),
            [](const auto& a, const auto& b) { return a.address < b.address; });
  for (const vfio::HotResetDevice& other : *affected) {
    if (other.address != vfio_device.address()) {
      reset.add_hot_reset_also_affects(other.address.ToString());
    }
  }
  if (!try_hot_reset || !reset.hot_reset_also_affects().empty()) {
    return absl::OkStatus();
  }
  const int group = vfio_device.group()->fd();
  absl::Status status = vfio_device.HotReset({&group, 1});
  if (status.ok()) return status;
  if (kernel::ErrnoOf(status) == 0) return status;
  reset.set_hot_reset_errno(static_cast<uint32_t>(kernel::ErrnoOf(status)));
  return absl::OkStatus();
}

void CaptureVpd(const vfio::VfioDevice& vfio_device,
                absl::Span<const uint8_t> config, fixture::PciDevice& device) {
  const auto capability = fixture::FindCapability(config, PCI_CAP_ID_VPD);
  if (!capability.has_value()) return;
  *device.mutable_vpd() = ToRows(ReadVpd(vfio_device, *capability));
}

// Captures everything for which the device must be open.
absl::Status CaptureOpened(const vfio::VfioDevice& vfio_device,
                           const SysfsDevice& sysfs,
                           const CaptureOptions& options, Capture& capture) {
  fixture::PciDevice& device = capture.device;
  PASSTHRU_ASSIGN_OR_RETURN(
      const auto config,
      CombineConfig(vfio_device, sysfs.config, capture.notes));
  if (config.size() < PCI_STD_HEADER_SIZEOF) {
    return absl::DataLossError(absl::StrFormat(
        "%s has a configuration space of %d bytes, less than a header",
        vfio_device.name(), config.size()));
  }
  device.set_config_space_size(static_cast<uint32_t>(config.size()));
  *device.mutable_config() = ToRows(config);
  FillIdentity(sysfs, config, *device.mutable_identity());
  if (device.name().empty()) {
    device.set_name(
        absl::StrFormat("%04x-%04x", sysfs.vendor_id, sysfs.device_id));
  }

  PASSTHRU_RETURN_IF_ERROR(
      CaptureRegions(vfio_device, config, device, capture.notes));
  CaptureIrqs(vfio_device, device);
  PASSTHRU_RETURN_IF_ERROR(
      CaptureMsixTable(vfio_device, config, device, capture.notes));
  PASSTHRU_RETURN_IF_ERROR(CaptureRomImage(vfio_device, device));
  PASSTHRU_RETURN_IF_ERROR(
      CaptureContents(vfio_device, config, options.contents, device));
  CaptureVpd(vfio_device, config, device);

  // From here on something is written.
  fixture::ConfigImage masks = SpecifiedMasks(config);
  if (options.write_masks != MaskMeasurement::kNone) {
    PASSTHRU_ASSIGN_OR_RETURN(
        const auto physical,
        PhysicalConfig::Open(vfio_device.syscalls(), vfio_device.address(),
                             options.paths));
    PASSTHRU_RETURN_IF_ERROR(
        MeasureWriteMasks(physical, options.write_masks, masks, capture.notes));
  }
  *device.mutable_write_masks() = ToWriteMasks(masks);
  return CaptureReset(vfio_device, sysfs, options.try_hot_reset,
                      *device.mutable_reset(), capture.notes);
}

}  // namespace

absl::StatusOr<ContentsRange> ParseContentsRange(std::string_view text) {
  const std::pair<std::string_view, std::string_view> bar_and_rest =
      absl::StrSplit(text, absl::MaxSplits(':', 1));
  const std::pair<std::string_view, std::string_view> offset_and_length =
      absl::StrSplit(bar_and_rest.second, absl::MaxSplits('+', 1));
  ContentsRange range;
  if (!absl::SimpleAtoi(bar_and_rest.first, &range.bar) ||
      range.bar >= PCI_STD_NUM_BARS ||
      !ParseNumber(offset_and_length.first, &range.offset) ||
      !ParseNumber(offset_and_length.second, &range.length)) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", text,
                     "\" is not BAR:OFFSET+LENGTH, such as 0:0x100+64 for 64 "
                     "bytes at 0x100 of BAR 0"));
  }
  if (range.length == 0 || range.length > kMaxContents) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", text, "\": a range has 1 to ", kMaxContents,
                     " bytes; give several for what is far apart"));
  }
  return range;
}

absl::StatusOr<Capture> CaptureDevice(kernel::Syscalls* syscalls,
                                      const pci::Bdf& bdf,
                                      const CaptureOptions& options) {
  PASSTHRU_ASSIGN_OR_RETURN(const uint32_t group_number,
                            vfio::FindGroup(syscalls, bdf, options.paths));
  // This comes before VFIO opens the device, which enables and resets it.
  PASSTHRU_ASSIGN_OR_RETURN(SysfsDevice sysfs,
                            ReadSysfsDevice(syscalls, bdf, options.paths));
  if (fixture::ReadsAllOnes(sysfs.config)) {
    return absl::UnavailableError(absl::StrCat(
        bdf,
        " does not answer, its configuration space reads all ones: it is "
        "powered down or gone; look at the kernel's log, and bring it back "
        "with a rescan of the bus or a power cycle"));
  }
  PowerUp(sysfs.config);
  PASSTHRU_RETURN_IF_ERROR(CheckOptions(options, sysfs, bdf.ToString()));

  Capture capture;
  fixture::PciDevice& device = capture.device;
  device.set_schema_version(kSchemaVersion);
  device.set_name(options.name);
  device.set_model(options.model);
  *device.mutable_provenance() = options.provenance;
  const auto release = kernel::ReadFile(syscalls, "/proc/sys/kernel/osrelease");
  if (release.ok()) {
    device.mutable_provenance()->set_kernel(
        std::string(absl::StripAsciiWhitespace(*release)));
  }
  device.set_bdf(bdf.ToString());
  device.mutable_iommu_group()->set_number(group_number);
  for (const fixture::Sibling& sibling : sysfs.siblings) {
    *device.mutable_iommu_group()->add_siblings() = sibling;
  }
  device.set_is_virtual_function(sysfs.is_virtual_function);
  for (const fixture::HostResource& resource : sysfs.resources) {
    *device.add_host_resources() = resource;
  }

  PASSTHRU_ASSIGN_OR_RETURN(
      auto container, vfio::VfioContainer::Create(syscalls, options.paths));
  PASSTHRU_ASSIGN_OR_RETURN(
      auto group,
      vfio::VfioGroup::Open(std::move(container), group_number, options.paths));
  PASSTHRU_ASSIGN_OR_RETURN(const auto vfio_device,
                            vfio::VfioDevice::Open(std::move(group), bdf));
  if (absl::Status status =
          CaptureOpened(*vfio_device, sysfs, options, capture);
      !status.ok()) {
    return kernel::Annotate(status, "capture");
  }
  if (!options.include_identity) RedactIdentity(device);
  return capture;
}

}  // namespace passthru::capture
