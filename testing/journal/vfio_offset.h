// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_JOURNAL_VFIO_OFFSET_H_
#define PASSTHRU_TESTING_JOURNAL_VFIO_OFFSET_H_

#include <cstdint>

namespace passthru::journal {

// vfio-pci puts the region's index above bit 40 of a file offset
// (VFIO_PCI_OFFSET_SHIFT). Users of the interface must not rely on that. They
// read each region's offset from the kernel.
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
