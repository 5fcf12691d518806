// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_JOURNAL_VFIO_OFFSET_H_
#define PASSTHRU_TESTING_JOURNAL_VFIO_OFFSET_H_

#include <cstdint>

namespace passthru::journal {

// A file offset of a vfio-pci device holds the region's index above bit 40
// (VFIO_PCI_OFFSET_SHIFT). No user of the interface may know that: they are
// told each region's offset.
inline constexpr unsigned kRegionShift = 40;

constexpr uint32_t RegionOf(uint64_t file_offset) {
  return static_cast<uint32_t>(file_offset >> kRegionShift);
}

constexpr uint64_t OffsetOf(uint64_t file_offset) {
  return file_offset & ((uint64_t{1} << kRegionShift) - 1);
}

constexpr uint64_t FileOffset(uint32_t region, uint64_t offset = 0) {
  return uint64_t{region} << kRegionShift | offset;
}

}  // namespace passthru::journal

#endif  // PASSTHRU_TESTING_JOURNAL_VFIO_OFFSET_H_
