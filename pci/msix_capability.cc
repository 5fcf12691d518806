// SPDX-License-Identifier: Apache-2.0
#include "passthru/pci/msix_capability.h"

#include <array>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "passthru/pci/bar_index.h"
#include "passthru/pci/capability_check.h"
#include "passthru/pci/capability_id.h"
#include "passthru/pci/config_reg.h"

namespace passthru::pci {
namespace {

// BIR values 6 and 7 are reserved, so the ROM cannot be named (PCI 3.0
// 6.8.2.4).
constexpr uint32_t kMaxBir = 5;

absl::Status BadBir(uint8_t offset, absl::string_view what, uint32_t bir) {
  return absl::InvalidArgumentError(absl::StrFormat(
      "MSI-X capability at 0x%02x: %s BIR %d names no BAR", offset, what, bir));
}

absl::Status CheckInside(absl::Span<const uint64_t> bar_sizes, BarIndex bar,
                         uint32_t offset, uint32_t bytes,
                         absl::string_view what) {
  const uint64_t size =
      bar.value() < bar_sizes.size() ? bar_sizes[bar.value()] : 0;
  if (size == 0) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "MSI-X %s is in %v, which is not implemented", what, bar));
  }
  if (uint64_t{offset} + bytes > size) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "MSI-X %s at %v+0x%x, 0x%x bytes, does not fit into the BAR's 0x%x "
        "bytes",
        what, bar, offset, bytes, size));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<MsixCapability> MsixCapability::Parse(
    absl::Span<const uint8_t> config, uint8_t offset) {
  if (absl::Status status =
          CheckCapability(config, offset, CapabilityId::kMsix, kSize);
      !status.ok()) {
    return status;
  }
  const MsixControl control = ReadRegister(config, kControl.At(offset));
  const MsixLocation table = ReadRegister(config, kTable.At(offset));
  const MsixLocation pba = ReadRegister(config, kPba.At(offset));
  const uint32_t table_bir = MsixLocation::kBir.Get(table);
  const uint32_t pba_bir = MsixLocation::kBir.Get(pba);
  if (table_bir > kMaxBir) return BadBir(offset, "table", table_bir);
  if (pba_bir > kMaxBir) return BadBir(offset, "PBA", pba_bir);
  return MsixCapability(
      offset, control.vector_count(), BarIndex(static_cast<uint8_t>(table_bir)),
      table.offset(), BarIndex(static_cast<uint8_t>(pba_bir)), pba.offset());
}

absl::Status MsixCapability::ValidateTable(
    absl::Span<const uint64_t> bar_sizes) const {
  return CheckInside(bar_sizes, table_bar_, table_offset_, table_bytes(),
                     "table");
}

MsixCapability MsixCapability::WithPba(MsixLocation location) const {
  MsixCapability moved = *this;
  moved.pba_bar_ =
      BarIndex(static_cast<uint8_t>(MsixLocation::kBir.Get(location)));
  moved.pba_offset_ = location.offset();
  return moved;
}

absl::Status MsixCapability::Validate(
    absl::Span<const uint64_t> bar_sizes) const {
  if (absl::Status status = ValidateTable(bar_sizes); !status.ok()) {
    return status;
  }
  if (absl::Status status =
          CheckInside(bar_sizes, pba_bar_, pba_offset_, pba_bytes(), "PBA");
      !status.ok()) {
    return status;
  }
  if (table_bar_ == pba_bar_ &&
      uint64_t{table_offset_} < uint64_t{pba_offset_} + pba_bytes() &&
      uint64_t{pba_offset_} < uint64_t{table_offset_} + table_bytes()) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "MSI-X table at %v+0x%x, 0x%x bytes, and PBA at +0x%x, 0x%x bytes, "
        "overlap",
        table_bar_, table_offset_, table_bytes(), pba_offset_, pba_bytes()));
  }
  return absl::OkStatus();
}

std::array<uint8_t, MsixCapability::kSize> MsixCapability::WriteMask() {
  std::array<uint8_t, kSize> masks{};
  MsixControl control;
  MsixControl::kEnable.Set(control, true);
  MsixControl::kFunctionMask.Set(control, true);
  WriteRegister(absl::MakeSpan(masks), kControl, control);
  return masks;
}

}  // namespace passthru::pci
