// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/vfio_pci/msix_layout.h"

#include <algorithm>
#include <cstdint>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_format.h"
#include "passthru/devices/kernel/status_macros.h"
#include "passthru/pci/bar_index.h"

namespace passthru::vfio_pci {
namespace {

// The unit that MSI-X structures do not share with other registers (PCI 3.0
// 6.8.2). It does not depend on the host's page size.
constexpr uint64_t kStructurePage = 4096;

}  // namespace

absl::StatusOr<MsixLayout> PlanMsix(const pci::MsixCapability& device,
                                    absl::Span<const uint64_t> bar_sizes) {
  PASSTHRU_RETURN_IF_ERROR(device.ValidateTable(bar_sizes));
  const absl::Status sound = device.Validate(bar_sizes);
  if (sound.ok()) {
    return MsixLayout{.shown = device, .max_vectors = device.table_size()};
  }
  // All of these are multiples of 8, which is how the PBA is aligned (PCI 3.0
  // 6.8.2.5).
  const uint64_t bar_size = bar_sizes[device.table_bar().value()];
  const uint64_t begin = device.table_offset();
  const uint64_t end = begin + device.table_bytes();
  const uint64_t size = device.pba_bytes();
  const uint64_t page = begin / kStructurePage * kStructurePage;
  const uint64_t page_end = std::min(
      (end + kStructurePage - 1) / kStructurePage * kStructurePage, bar_size);

  uint64_t offset = 0;
  uint16_t vectors = device.table_size();
  std::string_view place;
  if (end + size <= page_end) {
    offset = end;
    place = "behind its table";
  } else if (page + size <= begin) {
    offset = begin - size;
    place = "in front of its table";
  } else {
    offset = end - size;
    place = "in place of its table's last entries";
    const uint64_t entries = (size + pci::MsixCapability::kEntrySize - 1) /
                             pci::MsixCapability::kEntrySize;
    if (entries >= vectors) {
      return absl::InvalidArgumentError(
          absl::StrFormat("%s, and its table leaves no room for pending bits",
                          sound.message()));
    }
    vectors = static_cast<uint16_t>(vectors - entries);
  }
  MsixLayout layout = {.shown = device.WithPba(pci::MsixLocation::At(
                           device.table_bar(), static_cast<uint32_t>(offset))),
                       .max_vectors = vectors};
  layout.moved =
      absl::StrFormat("%s; the guest sees the PBA %s, at %v+0x%x",
                      sound.message(), place, device.table_bar(), offset);
  return layout;
}

}  // namespace passthru::vfio_pci
