// SPDX-License-Identifier: Apache-2.0

#include "passthru/devices/pci_host/pci_config_mmio.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#include "absl/log/check.h"
#include "absl/status/status.h"
#include "absl/types/span.h"
#include "passthru/devices/pci_host/pci_segment.h"
#include "passthru/pci/bdf.h"

namespace passthru::pci_host {
namespace {

constexpr unsigned kMaxBuses = 256;
// Address bits 27:12 are the routing ID and bits 11:0 the register (PCIe 5.0,
// table 7-1).
constexpr unsigned kFunctionShift = 12;

// Calls visit(bdf, register, position, length) for each function that an access
// touches, with the part of the access that belongs to it.
template <typename Visitor>
void ForEachFunction(uint16_t segment, uint64_t offset, size_t length,
                     Visitor visit) {
  for (size_t position = 0; position < length;) {
    const uint64_t at = offset + position;
    const uint64_t config_register = at % PciSegment::kConfigSize;
    const size_t part = std::min<size_t>(
        length - position, PciSegment::kConfigSize - config_register);
    visit(pci::Bdf::FromRoutingId(segment,
                                  static_cast<uint16_t>(at >> kFunctionShift)),
          static_cast<uint16_t>(config_register), position, part);
    position += part;
  }
}

}  // namespace

PciConfigMmio::PciConfigMmio(std::shared_ptr<PciSegment> segment,
                             unsigned bus_count)
    : segment_(std::move(segment)), size_(bus_count * kBytesPerBus) {
  CHECK(segment_ != nullptr);
  CHECK_GT(bus_count, 0u);
  CHECK_LE(bus_count, kMaxBuses);
}

absl::Status PciConfigMmio::Read(uint64_t offset, absl::Span<uint8_t> data) {
  std::fill(data.begin(), data.end(), 0xff);
  if (offset >= size_) return absl::OkStatus();
  ForEachFunction(
      segment_->number(), offset,
      std::min<uint64_t>(data.size(), size_ - offset),
      [&](pci::Bdf bdf, uint16_t at, size_t position, size_t length) {
        segment_->ConfigRead(bdf, at, data.subspan(position, length));
      });
  return absl::OkStatus();
}

absl::Status PciConfigMmio::Write(uint64_t offset,
                                  absl::Span<const uint8_t> data) {
  if (offset >= size_) return absl::OkStatus();
  ForEachFunction(
      segment_->number(), offset,
      std::min<uint64_t>(data.size(), size_ - offset),
      [&](pci::Bdf bdf, uint16_t at, size_t position, size_t length) {
        segment_->ConfigWrite(bdf, at, data.subspan(position, length));
      });
  return absl::OkStatus();
}

}  // namespace passthru::pci_host
