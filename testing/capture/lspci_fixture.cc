// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/capture/lspci_fixture.h"

#include <linux/pci_regs.h>
#include <linux/vfio.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/types/span.h"
#include "passthru/devices/kernel/status_macros.h"
#include "passthru/testing/capture/byte_rows.h"
#include "passthru/testing/capture/lspci_fixture_builder.h"
#include "passthru/testing/capture/lspci_words.h"
#include "passthru/testing/capture/redact.h"
#include "passthru/testing/capture/write_masks.h"
#include "passthru/testing/fixture/fixture.h"
#include "passthru/testing/fixture/fixture_bytes.h"

namespace passthru::capture {

absl::Status LspciFixtureBuilder::CheckIdentity() {
  if (fixture::ReadsAllOnes(config_)) {
    return absl::InvalidArgumentError(absl::StrCat(
        source_.bdf,
        " does not answer, its header reads all ones: it was powered down or "
        "gone when lspci ran; take the text again with the device in D0"));
  }
  if ((config_[PCI_HEADER_TYPE] & PCI_HEADER_TYPE_MASK) !=
      PCI_HEADER_TYPE_NORMAL) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "%s has a header of type %d, so it is a bridge; fixtures are of "
        "devices that can be passed through, which have type 0",
        source_.bdf, config_[PCI_HEADER_TYPE] & PCI_HEADER_TYPE_MASK));
  }
  if (Get16(PCI_VENDOR_ID) == 0xffff) {
    if (!source_.vendor_id.has_value()) {
      return absl::InvalidArgumentError(absl::StrCat(
          source_.bdf,
          " is a virtual function, whose registers do not have its ids; add "
          "-nn to lspci's arguments, which prints them as [8086:1520]"));
    }
    device_.set_is_virtual_function(true);
  }
  return absl::OkStatus();
}

void LspciFixtureBuilder::UndoDriver() {
  const std::vector<uint8_t> before = config_;
  Set(PCI_COMMAND,
      Get16(PCI_COMMAND) &
          ~uint32_t{PCI_COMMAND_MASTER | PCI_COMMAND_INTX_DISABLE},
      2);
  Set(PCI_STATUS, Get16(PCI_STATUS) & ~uint32_t{PCI_STATUS_INTERRUPT}, 2);
  const auto clear = [this](uint8_t capability, size_t offset, uint32_t bits) {
    const auto at = fixture::FindCapability(config_, capability);
    if (!at.has_value()) return;
    Set(*at + offset, Get16(*at + offset) & ~bits, 2);
  };
  clear(PCI_CAP_ID_MSI, PCI_MSI_FLAGS,
        PCI_MSI_FLAGS_ENABLE | PCI_MSI_FLAGS_QSIZE);
  clear(PCI_CAP_ID_MSIX, PCI_MSIX_FLAGS,
        PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL);
  clear(PCI_CAP_ID_PM, PCI_PM_CTRL, PCI_PM_CTRL_STATE_MASK);
  if (config_ != before) {
    Note(absl::StrCat(
        source_.driver.empty() ? "The device was in use"
                               : absl::StrCat("The driver ", source_.driver,
                                              " was using the device"),
        " when the text was taken: bus mastering, interrupts and power state "
        "are as if it was not."));
  }
}

void LspciFixtureBuilder::AddIrqs() {
  const auto msi = fixture::FindCapability(config_, PCI_CAP_ID_MSI);
  const auto msix = fixture::FindCapability(config_, PCI_CAP_ID_MSIX);
  const bool express =
      fixture::FindCapability(config_, PCI_CAP_ID_EXP).has_value();
  const auto add = [this](uint32_t index, uint32_t count, uint32_t flags) {
    fixture::Irq& irq = *device_.add_irqs();
    irq.set_index(index);
    irq.set_count(count);
    irq.set_flags(flags);
  };
  constexpr uint32_t kEventfd = VFIO_IRQ_INFO_EVENTFD;
  constexpr uint32_t kFixed = kEventfd | VFIO_IRQ_INFO_NORESIZE;
  const bool pin =
      config_[PCI_INTERRUPT_PIN] != 0 && !device_.is_virtual_function();
  add(VFIO_PCI_INTX_IRQ_INDEX, pin ? 1 : 0,
      kEventfd | VFIO_IRQ_INFO_MASKABLE | VFIO_IRQ_INFO_AUTOMASKED);
  add(VFIO_PCI_MSI_IRQ_INDEX,
      msi.has_value() ? 1u << (Get16(*msi + PCI_MSI_FLAGS) >> 1 & 7) : 0,
      kFixed);
  add(VFIO_PCI_MSIX_IRQ_INDEX,
      msix.has_value()
          ? (Get16(*msix + PCI_MSIX_FLAGS) & PCI_MSIX_FLAGS_QSIZE) + 1u
          : 0,
      msix.has_value() ? kEventfd : kFixed);
  if (express) add(VFIO_PCI_ERR_IRQ_INDEX, 1, kFixed);
  add(VFIO_PCI_REQ_IRQ_INDEX, 1, kFixed);
}

void LspciFixtureBuilder::AddResets() {
  fixture::Reset& reset = *device_.mutable_reset();
  const auto express = fixture::FindCapability(config_, PCI_CAP_ID_EXP);
  const auto advanced = fixture::FindCapability(config_, PCI_CAP_ID_AF);
  const auto power = fixture::FindCapability(config_, PCI_CAP_ID_PM);
  if (express.has_value() &&
      (Get32(*express + PCI_EXP_DEVCAP) & PCI_EXP_DEVCAP_FLR) != 0) {
    reset.add_methods(fixture::Reset::FLR);
  }
  constexpr uint8_t kFlr = PCI_AF_CAP_TP | PCI_AF_CAP_FLR;
  if (advanced.has_value() &&
      (Get32(*advanced) >> (8 * PCI_AF_CAP) & kFlr) == kFlr) {
    reset.add_methods(fixture::Reset::AF_FLR);
  }
  if (power.has_value() &&
      (Get16(*power + PCI_PM_CTRL) & PCI_PM_CTRL_NO_SOFT_RESET) == 0) {
    reset.add_methods(fixture::Reset::POWER_MANAGEMENT);
  }
}

void LspciFixtureBuilder::AddIdentity() {
  fixture::Identity& identity = *device_.mutable_identity();
  const bool from_heading = device_.is_virtual_function();
  identity.set_vendor_id(from_heading ? *source_.vendor_id
                                      : Get16(PCI_VENDOR_ID));
  identity.set_device_id(from_heading ? *source_.device_id
                                      : Get16(PCI_DEVICE_ID));
  identity.set_revision_id(config_[PCI_REVISION_ID]);
  identity.set_class_code(Get32(PCI_CLASS_REVISION) >> 8);
  identity.set_subsystem_vendor_id(Get16(PCI_SUBSYSTEM_VENDOR_ID));
  identity.set_subsystem_id(Get16(PCI_SUBSYSTEM_ID));
  if (device_.name().empty()) {
    device_.set_name(absl::StrFormat("%04x-%04x", identity.vendor_id(),
                                     identity.device_id()));
  }
}

absl::StatusOr<Capture> LspciFixtureBuilder::Build() {
  PASSTHRU_RETURN_IF_ERROR(CheckIdentity());
  device_.set_schema_version(1);
  device_.set_name(options_.name);
  device_.set_bdf(source_.bdf);
  *device_.mutable_provenance() = options_.provenance;
  if (device_.provenance().device().empty()) {
    device_.mutable_provenance()->set_device(source_.description);
  }
  device_.mutable_iommu_group()->set_number(source_.iommu_group.value_or(0));
  Note(
      "Made from lspci's text, not from the device: contents of BARs, write "
      "masks beyond the specification's, resets by the bus and what VFIO of "
      "that host showed are not known.");
  if (config_.size() < PCI_CFG_SPACE_SIZE) {
    Note(absl::StrCat(
        "The text has only the header of the configuration space: ",
        source_.capabilities.empty()
            ? "capabilities are missing. "
            : "capabilities are as far as words tell. ",
        "lspci prints all with -xxxx, as root."));
    config_.resize(PCI_CFG_SPACE_SIZE);
    for (std::string& note : AddCapabilitiesFromWords(
             source_.capabilities, absl::MakeSpan(config_))) {
      Note(std::move(note));
    }
  } else if (config_.size() == PCI_CFG_SPACE_SIZE &&
             fixture::FindCapability(config_, PCI_CAP_ID_EXP).has_value()) {
    Note(
        "The text ends before the extended capabilities of PCI Express. lspci "
        "prints them with -xxxx, as root.");
  }
  device_.set_config_space_size(static_cast<uint32_t>(config_.size()));
  AddIdentity();
  UndoDriver();
  AddBars();
  AddRom();
  AddIrqs();
  AddResets();
  *device_.mutable_config() = ToRows(config_);
  *device_.mutable_write_masks() = ToWriteMasks(SpecifiedMasks(config_));
  if (!options_.include_identity) RedactIdentity(device_);
  if (absl::Status status = fixture::Validate(device_, source_.bdf);
      !status.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat("the text is not of a device that works, or was edited:\n",
                     status.message()));
  }
  return std::move(capture_);
}

absl::StatusOr<Capture> FixtureFromLspci(std::string_view text,
                                         const LspciOptions& options) {
  const absl::StatusOr<std::vector<LspciDevice>> devices = ParseLspci(text);
  if (!devices.ok()) return devices.status();
  std::vector<std::string> addresses;
  std::vector<const LspciDevice*> wanted;
  for (const LspciDevice& device : *devices) {
    addresses.push_back(device.bdf);
    if (!options.bdf.has_value() || device.bdf == *options.bdf) {
      wanted.push_back(&device);
    }
  }
  const std::string list = absl::StrJoin(addresses, ", ");
  if (wanted.empty()) {
    return absl::NotFoundError(absl::StrCat("there is no ", *options.bdf,
                                            " in the text; there are: ", list));
  }
  if (wanted.size() > 1) {
    return absl::InvalidArgumentError(
        options.bdf.has_value()
            ? absl::StrCat(*options.bdf, " is there ", wanted.size(),
                           " times in the text; leave one")
            : absl::StrCat("there are several devices in the text, give the "
                           "address of one: ",
                           list));
  }
  if (!wanted[0]->status.ok()) return wanted[0]->status;
  return LspciFixtureBuilder(*wanted[0], options).Build();
}

}  // namespace passthru::capture