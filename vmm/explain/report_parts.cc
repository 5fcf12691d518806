// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/explain/report_parts.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/types/span.h"
#include "passthru/devices/vfio/irq_info.h"
#include "passthru/devices/vfio/region_info.h"
#include "passthru/devices/vfio_pci/bar_area.h"
#include "passthru/devices/vfio_pci/bar_mapper.h"
#include "passthru/devices/vfio_pci/capability_policy.h"
#include "passthru/devices/vfio_pci/device_report.h"
#include "passthru/pci/bar.h"
#include "passthru/pci/bar_index.h"
#include "passthru/pci/capabilities.h"
#include "passthru/pci/capability_id.h"
#include "passthru/pci/config_reg.h"
#include "passthru/pci/describe_capability.h"
#include "passthru/pci/describe_extended_capability.h"
#include "passthru/pci/msi_capability.h"
#include "passthru/pci/msix_capability.h"
#include "passthru/pci/pcie_capability.h"
#include "passthru/pci/registers.h"
#include "passthru/vmm/explain/attachment.h"
#include "passthru/vmm/explain/explain_report.pb.h"
#include "passthru/vmm/explain/register_diff.h"

namespace passthru::explain {
namespace {

constexpr size_t kRomRegion = 6;

Capability::Treatment TreatmentOf(vfio_pci::CapabilityTreatment treatment) {
  switch (treatment) {
    case vfio_pci::CapabilityTreatment::kPass:
      return Capability::PASSED;
    case vfio_pci::CapabilityTreatment::kHide:
      return Capability::HIDDEN;
    case vfio_pci::CapabilityTreatment::kVirtualize:
      return Capability::VIRTUALIZED;
  }
  return Capability::TREATMENT_UNSPECIFIED;
}

std::string Decode(absl::Span<const uint8_t> image,
                   const pci::Capability& entry) {
  return pci::DescribeCapability(image, entry);
}
std::string Decode(absl::Span<const uint8_t> image,
                   const pci::ExtendedCapability& entry) {
  return pci::DescribeExtendedCapability(image, entry);
}

// Adds the capabilities of one of the hardware's lists, in its order.
template <typename List>
void AddCapabilities(const Attachment& seen, const List& list, bool extended,
                     Report& report) {
  const absl::Span<const uint8_t> hardware = BestImage(seen.views);
  for (const auto& entry : list.entries) {
    Capability& capability = *report.add_capabilities();
    capability.set_offset(entry.offset);
    capability.set_extended(extended);
    capability.set_id(static_cast<uint32_t>(entry.id));
    capability.set_name(std::string(pci::Name(entry.id)));
    capability.set_hardware(Decode(hardware, entry));
    capability.set_treatment(Capability::HIDDEN_BY_KERNEL);
    capability.set_reason(
        "vfio-pci does not list it, but its registers answer at their offset");
    for (const vfio_pci::CapabilityReport& known : seen.report.capabilities) {
      if (known.extended != extended || known.offset != entry.offset ||
          known.id != static_cast<uint16_t>(entry.id)) {
        continue;
      }
      capability.set_treatment(TreatmentOf(known.treatment));
      capability.set_reason(known.reason);
      capability.set_by_vmm(known.by_vmm);
      if (known.shown()) capability.set_guest(known.decoded);
    }
  }
}

// Returns for example "read, write, mmap 0x0-0x1fff 0x4000-0x7fff".
std::string Permissions(const vfio::VfioRegionInfo& region) {
  if (!region.status.ok()) return std::string(region.status.message());
  if (!region.exists()) return "does not offer it";
  std::vector<std::string> words;
  if (region.readable()) words.emplace_back("read");
  if (region.writable()) words.emplace_back("write");
  if (!region.mappable()) {
    words.emplace_back("no mmap");
  } else if (!region.sparse_areas.has_value()) {
    words.emplace_back("mmap");
  } else {
    words.push_back(absl::StrCat(
        "mmap of ",
        absl::StrJoin(*region.sparse_areas, " ",
                      [](std::string* out, const vfio::RegionArea& area) {
                        absl::StrAppendFormat(out, "0x%x-0x%x", area.offset,
                                              area.offset + area.size - 1);
                      })));
  }
  return absl::StrJoin(words, ", ");
}

void AddBars(const Attachment& seen, Report& report) {
  for (const vfio_pci::BarReport& known : seen.report.bars) {
    Bar& bar = *report.add_bars();
    const size_t index = known.bar.index.value();
    bar.set_index(static_cast<uint32_t>(index));
    bar.set_type(absl::StrCat(std::string(pci::Name(known.bar.type)),
                              known.bar.prefetchable ? ", prefetchable" : ""));
    bar.set_size(known.bar.size);
    for (const pci::Bar& at_host : seen.bars) {
      if (at_host.index == known.bar.index) {
        bar.set_host_address(at_host.address);
      }
    }
    bar.set_vfio(Permissions(seen.regions[index]));
    for (const vfio_pci::BarAreaReport& known_area : known.areas) {
      Area& area = *bar.add_areas();
      area.set_offset(known_area.area.offset);
      area.set_size(known_area.area.size);
      area.set_mapped(known_area.area.mapped());
      if (!known_area.refused.empty()) {
        area.set_reason(known_area.refused);
      } else if (!known_area.area.mapped()) {
        area.set_reason(std::string(vfio_pci::Explain(known_area.area.kind)));
      }
    }
  }
}

void AddRom(const Attachment& seen, Report& report) {
  const uint32_t value =
      pci::ReadRegister(BestImage(seen.views), pci::kExpansionRom).raw;
  const vfio_pci::RomReport& known = seen.report.rom;
  const vfio::VfioRegionInfo& region = seen.regions[kRomRegion];
  if (value == 0 && !region.exists() && !known.bar.has_value()) return;
  Rom& rom = *report.mutable_rom();
  rom.set_hardware(
      absl::StrFormat("at 0x%x", value & pci::ExpansionRom::kAddress.Mask()));
  rom.set_vfio(region.exists()
                   ? absl::StrCat(region.size, " bytes can be read")
                   : "offers none: there is no image that it can read");
  if (!known.bar.has_value()) {
    rom.set_guest(absl::StrCat("is not shown: ", known.hidden_reason));
    return;
  }
  rom.set_guest(
      absl::StrCat("sees ", known.source, ", ", known.image_size, " bytes"));
  if (!known.note.empty()) {
    absl::StrAppend(rom.mutable_guest(),
                    "; its firmware may not run it: ", known.note);
  }
}

void AddInterrupts(const Attachment& seen, Report& report) {
  const absl::Span<const uint8_t> image = BestImage(seen.views);
  const uint8_t pin = pci::ReadRegister(image, pci::kInterruptPin);
  if (pin != 0 || seen.irqs[0].exists()) {
    Interrupt& intx = *report.add_interrupts();
    intx.set_kind("INTx");
    intx.set_device(pin != 0 ? 1 : 0);
    intx.set_vfio(seen.irqs[0].count);
    const bool shown =
        pci::ReadRegister(absl::Span<const uint8_t>(seen.views.guest),
                          pci::kInterruptPin) != 0;
    intx.set_guest(shown ? 1 : 0);
    const vfio_pci::RegisterView* const why =
        vfio_pci::FindReason(seen.report, pci::kInterruptPin.offset);
    if (!shown && why != nullptr) intx.set_reason(why->reason);
  }
  for (const vfio_pci::VectorGroupReport& group : seen.report.vector_groups) {
    const bool is_msi = group.kind == vfio_pci::InterruptKind::kMsi;
    Interrupt& interrupt = *report.add_interrupts();
    interrupt.set_kind(std::string(Name(group.kind)));
    interrupt.set_device(group.device_vectors);
    interrupt.set_vfio(seen.irqs[is_msi ? 1 : 2].count);
    interrupt.set_guest(group.shown_vectors);
    interrupt.set_reason(group.limited_by);
    // A rule of the policy hides the capability, whatever the vectors are.
    for (const vfio_pci::CapabilityReport& capability :
         seen.report.capabilities) {
      const auto id =
          is_msi ? pci::CapabilityId::kMsi : pci::CapabilityId::kMsix;
      if (!capability.extended && !capability.shown() &&
          capability.id == static_cast<uint16_t>(id)) {
        interrupt.set_guest(0);
        interrupt.set_reason(capability.reason);
      }
    }
  }
}

void AddNotes(const Attachment& seen, Report& report) {
  for (const std::string& line : seen.report.overrides) report.add_notes(line);
  for (const std::string& line : seen.report.malformed) {
    report.add_notes(absl::StrCat("broken: ", line));
  }
  for (const vfio_pci::Degradation& degradation : seen.report.degraded) {
    report.add_notes(absl::StrCat(degradation.what, " ", Name(degradation.kind),
                                  degradation.why.empty() ? "" : ": ",
                                  degradation.why));
  }
}

void AddOffer(std::string option, std::string_view what, Report& report) {
  Offer& offer = *report.add_offers();
  offer.set_option(std::move(option));
  offer.set_what(std::string(what));
}

}  // namespace

Report MakeReport(const Attachment& seen, pci::Bdf device, std::string source) {
  Report report;
  report.set_address(device.ToString());
  report.set_source(std::move(source));
  if (!seen.report.lines.empty()) {
    report.set_identity(seen.report.lines.front());
  }
  const absl::Span<const uint8_t> image = BestImage(seen.views);
  AddCapabilities(seen, pci::WalkCapabilities(image), /*extended=*/false,
                  report);
  AddCapabilities(seen, pci::WalkExtendedCapabilities(image),
                  /*extended=*/true, report);
  AddBars(seen, report);
  AddRom(seen, report);
  AddInterrupts(seen, report);
  report.set_reset(seen.report.reset.ToString());
  AddNotes(seen, report);
  report.set_hardware_bytes(static_cast<uint32_t>(seen.views.hardware.size()));
  for (Register& reg : CompareViews(seen.views, seen.report)) {
    *report.add_registers() = std::move(reg);
  }
  return report;
}

void AddOffers(const Attachment& seen, Report& report) {
  for (const vfio_pci::CapabilityReport& capability :
       seen.report.capabilities) {
    if (capability.shown() || capability.id == 0) continue;
    AddOffer(absl::StrFormat("--show=%x", capability.offset),
             absl::StrCat("passes ", capability.name), report);
  }
  if (seen.report.rom.readable) {
    AddOffer("--rom", "shows the device's own expansion ROM", report);
  }
  uint16_t vectors = 0;
  for (const vfio_pci::VectorGroupReport& group : seen.report.vector_groups) {
    if (group.shown_vectors > vectors) vectors = group.shown_vectors;
  }
  if (vectors > 1) {
    AddOffer(absl::StrCat("--max_vectors=", vectors / 2),
             "shows fewer interrupt vectors", report);
  }
  if (pci::WalkCapabilities(BestImage(seen.views))
          .Find(pci::CapabilityId::kPciExpress) != nullptr) {
    AddOffer("--below_port", "puts it behind a port of the guest", report);
  }
  if (seen.views.vfio.size() > pci::kConfigSpaceSize) {
    AddOffer("--unlisted_read_only",
             "lets the guest write only what a capability lists", report);
  }
}

}  // namespace passthru::explain
