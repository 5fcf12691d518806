// SPDX-License-Identifier: Apache-2.0

#include "passthru/devices/pci_host/pci_config_io.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <utility>

#include "absl/log/check.h"
#include "absl/status/status.h"
#include "absl/types/span.h"
#include "passthru/devices/pci_host/pci_segment.h"
#include "passthru/pci/bdf.h"
#include "passthru/pci/field.h"
#include "passthru/pci/little_endian.h"

namespace passthru::pci_host {
namespace {

// CONFIG_ADDRESS (PCI 3.0, 3.2.2.3.2, figure 3-2). Bits 30:24 and 1:0 are
// reserved and read as zero.
struct ConfigAddress {
  using Raw = uint32_t;
  Raw raw = 0;
  static constexpr pci::Field<ConfigAddress, 31> kEnable{};
  static constexpr pci::Field<ConfigAddress, 23, 8> kRoutingId{};
  static constexpr pci::Field<ConfigAddress, 7, 2> kRegister{};

  static constexpr Raw kWritable = 0x80fffffc;
};

// The reset control register of Intel's chipsets, from the address port on.
constexpr uint64_t kResetControl = 1;

// The data ports follow the address port.
constexpr uint64_t kData = 4;

pci::Bdf BdfOf(ConfigAddress address, const PciSegment& segment) {
  return pci::Bdf::FromRoutingId(
      segment.number(),
      static_cast<uint16_t>(ConfigAddress::kRoutingId.Get(address)));
}

// Returns the register that the data port at `offset` accesses.
uint16_t RegisterOf(ConfigAddress address, uint64_t offset) {
  return static_cast<uint16_t>(
      uint64_t{ConfigAddress::kRegister.Get(address)} * 4 + (offset - kData));
}

}  // namespace

PciConfigIo::PciConfigIo(std::shared_ptr<PciSegment> segment,
                         std::function<void(uint8_t)> on_reset_control)
    : segment_(std::move(segment)),
      on_reset_control_(std::move(on_reset_control)) {
  CHECK(segment_ != nullptr);
}

absl::Status PciConfigIo::Read(uint64_t offset, absl::Span<uint8_t> data) {
  std::fill(data.begin(), data.end(), 0xff);
  if (offset < kData) {
    const size_t length = std::min<size_t>(data.size(), kData - offset);
    if (length == kData)
      pci::StoreLittleEndian<uint32_t>(data, 0, address_.load());
    data.remove_prefix(length);
    offset += length;
  }
  if (data.empty() || offset >= kPortCount) return absl::OkStatus();
  const ConfigAddress address{.raw = address_.load()};
  if (!ConfigAddress::kEnable.Get(address)) return absl::OkStatus();
  segment_->ConfigRead(
      BdfOf(address, *segment_), RegisterOf(address, offset),
      data.first(std::min<size_t>(data.size(), kPortCount - offset)));
  return absl::OkStatus();
}

absl::Status PciConfigIo::Write(uint64_t offset,
                                absl::Span<const uint8_t> data) {
  if (offset == kResetControl && data.size() == 1) {
    if (on_reset_control_ != nullptr) on_reset_control_(data[0]);
    return absl::OkStatus();
  }
  if (offset < kData) {
    const size_t length = std::min<size_t>(data.size(), kData - offset);
    if (length == kData) {
      address_.store(pci::LoadLittleEndian<uint32_t>(data, 0) &
                     ConfigAddress::kWritable);
    }
    data.remove_prefix(length);
    offset += length;
  }
  if (data.empty() || offset >= kPortCount) return absl::OkStatus();
  const ConfigAddress address{.raw = address_.load()};
  if (!ConfigAddress::kEnable.Get(address)) return absl::OkStatus();
  segment_->ConfigWrite(
      BdfOf(address, *segment_), RegisterOf(address, offset),
      data.first(std::min<size_t>(data.size(), kPortCount - offset)));
  return absl::OkStatus();
}

}  // namespace passthru::pci_host
