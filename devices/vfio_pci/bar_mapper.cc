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

namespace passthru::vfio_pci {
namespace {

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
        return area.slot.has_value() && area.slot_address != *entry.address;
      });
}

absl::Status BarMapper::RetractEntry(Entry& entry) {
  entry.problem.clear();
  entry.refused_address.reset();
  absl::Status result;
  for (Area& area : entry.areas) {
    if (area.area.mapped()) area.refused.clear();
    if (!area.slot.has_value()) continue;
    if (absl::Status status = options_.memory->Remove(*area.slot);
        !status.ok()) {
      ++failures_;
      area.refused =
          absl::StrFormat("its slot for the BAR at %#x cannot be deleted: %s",
                          area.slot_address, status.message());
      options_.failures->Add(
          absl::StrFormat("%v stays in guest memory", entry.bar.index), status);
      result.Update(status);
      continue;
    }
    area.slot.reset();
    freed_ = true;
  }
  if (!entry.address.has_value()) return result;
  bus::AddressSpace* const space =
      entry.bar.is_io() ? options_.pio : options_.mmio;
  space->Remove(entry.range);
  entry.address.reset();
  freed_ = true;
  return result;
}

void BarMapper::Place(const BarAddresses& desired) {
  for (Entry& entry : entries_) {
    const std::optional<uint64_t>& address = desired[entry.bar.index.value()];
    if (!address.has_value()) continue;
    if (entry.address != address) PlaceRange(entry, *address);
    if (entry.address == address) PlaceAreas(entry);
  }
  TellOthers();
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
  const uint64_t address = *entry.address;
  for (Area& area : entry.areas) {
    if (area.mapping == nullptr) continue;
    if (area.slot.has_value()) {
      // This slot could not be deleted earlier. If the BAR is back at the
      // slot's address, the slot is valid again.
      if (area.slot_address == address) area.refused.clear();
      continue;
    }
    const absl::StatusOr<memory::AreaId> slot = options_.memory->Add(
        {.guest = memory::GuestAddress(address + area.area.offset),
         .size = area.area.size,
         .host = area.mapping->data(),
         .backing = area.mapping,
         .read_only = entry.read_only,
         .kind = memory::MemoryArea::Kind::kDeviceBar,
         .name = absl::StrFormat("%s %v+0x%x", options_.name, entry.bar.index,
                                 area.area.offset)});
    if (!slot.ok()) {
      // Retries that fail for the same reason are no news.
      if (area.refused == slot.status().message()) continue;
      if (area.refused.empty()) ++refused_;
      area.refused = std::string(slot.status().message());
      options_.failures->Add(
          absl::StrFormat("%v is trapped where it could be mapped",
                          entry.bar.index),
          slot.status());
      continue;
    }
    area.refused.clear();
    area.slot = *slot;
    area.slot_address = address;
  }
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
      const bool in_place = entry.address == area.slot_address;
      report.areas.push_back({.area = area.area,
                              .in_guest = has_slot && in_place,
                              .refused = area.refused,
                              .stale_slot = has_slot && !in_place});
    }
  }
  return reports;
}

}  // namespace passthru::vfio_pci
