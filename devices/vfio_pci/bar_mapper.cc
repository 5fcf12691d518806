// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/vfio_pci/bar_mapper.h"

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/log/check.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_format.h"
#include "passthru/devices/kernel/page_size.h"

namespace passthru::vfio_pci {
namespace {

constexpr char kNotAlone[] =
    "smaller than a page, and not alone in its page of the guest";

// Returns OK if the guest's CPUs reach the whole BAR at `address`.
absl::Status CheckReach(const pci::Bar& bar, uint64_t address, unsigned bits) {
  if (bar.is_io() || bits >= 64) return absl::OkStatus();
  if ((address + (bar.size - 1)) >> bits == 0) return absl::OkStatus();
  return absl::OutOfRangeError(
      absl::StrFormat("%v: %#x is beyond the %u address bits of the guest's "
                      "CPUs",
                      bar.index, address, bits));
}

}  // namespace

BarMapper::BarMapper(Options options, std::vector<Bar> bars)
    : options_(std::move(options)) {
  for (Bar& bar : bars) {
    CHECK(!bar.bar.index.is_rom());
    Entry& entry = entries_.emplace_back();
    entry.bar = bar.bar;
    entry.trap = std::move(bar.trap);
    entry.read_only = bar.read_only;
    for (const BarArea& area : bar.areas) {
      entry.areas.emplace_back().area = area;
    }
    MapAreas(entry);
  }
  if (options_.retries != nullptr) {
    options_.retries->Add(this);
    waits_ = true;
  }
}

BarMapper::~BarMapper() { Unmap().IgnoreError(); }  // Logged.

void BarMapper::MapAreas(Entry& entry) {
  for (Area& area : entry.areas) {
    if (!area.area.mapped()) continue;
    absl::StatusOr<kernel::MappedRegion> mapping = options_.regions->MapBar(
        entry.bar.index, area.area.offset, area.area.size);
    if (!mapping.ok()) {
      ++failures_;
      area.area.kind = BarAreaKind::kMapFailed;
      area.refused = std::string(mapping.status().message());
      options_.failures->Add(
          absl::StrFormat("%v is trapped where it could be mapped",
                          entry.bar.index),
          mapping.status());
      continue;
    }
    area.mapping =
        std::make_shared<const kernel::MappedRegion>(*std::move(mapping));
  }
}

absl::Status BarMapper::Retract(const BarAddresses& desired) {
  absl::Status result;
  for (Entry& entry : entries_) {
    if (!Stays(entry, desired)) result.Update(RetractEntry(entry));
  }
  return result;
}

bool BarMapper::Stays(const Entry& entry, const BarAddresses& desired) {
  if (!entry.address.has_value() ||
      entry.address != desired[entry.bar.index.value()]) {
    return false;
  }
  return std::none_of(
      entry.areas.begin(), entry.areas.end(), [&entry](const Area& area) {
        return area.slot.has_value() &&
               (area.in_the_way || area.slot_address != *entry.address);
      });
}

absl::Status BarMapper::RetractEntry(Entry& entry) {
  entry.problem.clear();
  entry.refused_address.reset();
  absl::Status result;
  for (Area& area : entry.areas) {
    if (area.area.mapped()) area.refused.clear();
    area.shares_page.clear();
    if (area.slot.has_value()) result.Update(RemoveSlot(entry, area));
  }
  if (!entry.address.has_value()) return result;
  bus::AddressSpace* const space =
      entry.bar.is_io() ? options_.pio : options_.mmio;
  space->Remove(entry.range);
  entry.address.reset();
  freed_ = true;
  return result;
}

absl::Status BarMapper::RemoveSlot(const Entry& entry, Area& area) {
  if (absl::Status status = options_.memory->Remove(*area.slot); !status.ok()) {
    ++failures_;
    area.refused =
        absl::StrFormat("its slot for the BAR at %#x cannot be deleted: %s",
                        area.slot_address, status.message());
    options_.failures->Add(
        absl::StrFormat("%v stays in guest memory", entry.bar.index), status);
    return status;
  }
  area.slot.reset();
  area.in_the_way = false;
  freed_ = true;
  return absl::OkStatus();
}

// Makes all ranges before the slots, because a range takes the page of a BAR
// that is smaller than one.
void BarMapper::Place(const BarAddresses& desired) {
  for (Entry& entry : entries_) {
    const std::optional<uint64_t>& address = desired[entry.bar.index.value()];
    if (address.has_value() && entry.address != address) {
      PlaceRange(entry, *address);
    }
  }
  for (Entry& entry : entries_) {
    const std::optional<uint64_t>& address = desired[entry.bar.index.value()];
    if (address.has_value() && entry.address == address) PlaceAreas(entry);
  }
  TellOthers();
}

void BarMapper::LeavePages(bus::RangeHandle own) {
  for (Entry& entry : entries_) {
    if (!entry.address.has_value() || entry.range != own) continue;
    for (Area& area : entry.areas) {
      if (!area.slot.has_value()) continue;
      area.in_the_way = true;
      area.shares_page = kNotAlone;
      RemoveSlot(entry, area).IgnoreError();  // Logged, and tried again.
    }
  }
}

void BarMapper::TellOthers() {
  if (std::exchange(freed_, false) && options_.retries != nullptr) {
    options_.retries->Retry(this);
  }
}

void BarMapper::RetryRefused() {
  for (Entry& entry : entries_) {
    if (const auto refused = std::exchange(entry.refused_address, {})) {
      entry.problem.clear();
      PlaceRange(entry, *refused);
    }
    if (entry.address.has_value()) PlaceAreas(entry);
  }
}

void BarMapper::PlaceRange(Entry& entry, uint64_t address) {
  absl::Status status = pci::ValidateBarAddress(entry.bar, address);
  if (status.ok()) {
    status = CheckReach(entry.bar, address, options_.physical_address_bits);
  }
  if (!status.ok()) {
    // Not logged, because this is normal before placement and during sizing.
    entry.problem = std::string(status.message());
    return;
  }
  bus::AddressSpace* const space =
      entry.bar.is_io() ? options_.pio : options_.mmio;
  const absl::StatusOr<bus::RangeHandle> range = space->Add(
      address, entry.bar.size, entry.trap, bus::AddressSpace::kBarPriority);
  if (!range.ok()) {
    ++refused_;
    entry.refused_address = address;
    entry.problem = std::string(range.status().message());
    options_.failures->Add(
        absl::StrFormat("%v does not answer", entry.bar.index), range.status());
    return;
  }
  entry.range = *range;
  entry.address = address;
  ++placements_;
}

void BarMapper::PlaceAreas(Entry& entry) {
  for (Area& area : entry.areas) {
    if (area.mapping != nullptr) PlaceArea(entry, area);
  }
}

bool BarMapper::HasItsPages(const Entry& entry, Area& area) {
  if (!area.smaller_than_page()) return true;
  area.shares_page.clear();
  if (!kernel::IsPageAligned(*entry.address)) {
    area.shares_page =
        "smaller than a page, and not where a page of the guest begins";
  } else if (!options_.mmio->HoldPages(entry.range, *entry.address,
                                       area.mapping->size(), this)) {
    area.shares_page = kNotAlone;
  }
  return area.shares_page.empty();
}

void BarMapper::PlaceArea(const Entry& entry, Area& area) {
  const uint64_t address = *entry.address;
  // This slot could not be deleted earlier.
  if (area.slot.has_value() && area.slot_address != address) return;
  if (!HasItsPages(entry, area)) {
    if (!area.slot.has_value()) area.refused.clear();
    return;
  }
  if (area.slot.has_value()) {
    // If the BAR is back at the slot's address, the slot is valid again.
    area.refused.clear();
    area.in_the_way = false;
    return;
  }
  const absl::StatusOr<memory::AreaId> slot = options_.memory->Add(
      {.guest = memory::GuestAddress(address + area.area.offset),
       .size = area.mapping->size(),
       .host = area.mapping->data(),
       .backing = area.mapping,
       .read_only = entry.read_only,
       .kind = memory::MemoryArea::Kind::kDeviceBar,
       .name = absl::StrFormat("%s %v+0x%x", options_.name, entry.bar.index,
                               area.area.offset)});
  if (!slot.ok()) {
    // Retries that fail for the same reason are no news.
    if (area.refused == slot.status().message()) return;
    if (area.refused.empty()) ++refused_;
    area.refused = std::string(slot.status().message());
    options_.failures->Add(
        absl::StrFormat("%v is trapped where it could be mapped",
                        entry.bar.index),
        slot.status());
    return;
  }
  area.refused.clear();
  area.slot = *slot;
  area.slot_address = address;
}

absl::Status BarMapper::Unmap() {
  absl::Status result = Retract({});
  for (Entry& entry : entries_) {
    for (Area& area : entry.areas) {
      // Retract() could not delete the slot, so the guest still reaches this
      // memory. If it were unmapped, the process might map something else
      // there.
      if (area.slot.has_value()) {
        options_.memory->Abandon(*area.slot).IgnoreError();  // Logged.
        area.slot.reset();
      }
      area.mapping.reset();
    }
  }
  TellOthers();
  if (std::exchange(waits_, false)) options_.retries->Remove(this);
  return result;
}

std::vector<BarReport> BarMapper::Describe(
    absl::Span<const pci::Bar> bars) const {
  std::vector<BarReport> reports;
  for (const Entry& entry : entries_) {
    BarReport& report = reports.emplace_back();
    report.bar = entry.bar;
    for (const pci::Bar& bar : bars) {
      if (bar.index == entry.bar.index) report.bar = bar;
    }
    report.placed = entry.address.has_value();
    report.problem = entry.problem;
    for (const Area& area : entry.areas) {
      const bool has_slot = area.slot.has_value();
      const bool in_place =
          entry.address == area.slot_address && !area.in_the_way;
      report.areas.push_back({.area = area.area,
                              .in_guest = has_slot && in_place,
                              .refused = area.refused,
                              .stale_slot = has_slot && !in_place,
                              .shares_page = area.shares_page});
    }
  }
  return reports;
}

}  // namespace passthru::vfio_pci
