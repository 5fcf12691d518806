// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_VMM_BAR_WINDOWS_H_
#define PASSTHRU_VMM_BAR_WINDOWS_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "passthru/allocator/address_allocator.h"
#include "passthru/devices/vfio/iommu_info.h"
#include "passthru/pci/bar.h"

namespace passthru::vmm {

// The guest addresses at which a VMM puts BARs. 64-bit BARs have all that the
// guest's CPUs reach, less what the platform and the RAM take:
//  1. [256 GiB, 512 GiB), which every IOMMU reaches
//  2. from 512 GiB to the end of the CPUs' addresses
//  3. [4 GiB, 256 GiB), less the RAM at its start
//  4. the window of the 32-bit BARs
// The first of these with room takes the BAR. Eight BARs of 256 GiB fit into 42
// address bits.
//
// Immutable after Create(). Thread-safe.
class BarWindows {
 public:
  // `physical_address_bits` are those of the guest's CPUs. `high_ram_size` is
  // the RAM from 4 GiB on.
  static absl::StatusOr<std::unique_ptr<BarWindows>> Create(
      unsigned physical_address_bits, uint64_t high_ram_size = 0);

  BarWindows(const BarWindows&) = delete;
  BarWindows& operator=(const BarWindows&) = delete;

  // Finds a naturally aligned place for `bar`. A memory BAR gets whole pages,
  // because it is mapped only if it is alone in its page. With `iommu`, a place
  // where other devices reach the BAR comes before one where they do not.
  // Returns kResourceExhausted if the BAR fits nowhere.
  absl::StatusOr<allocator::AddressAllocation> Place(
      const pci::Bar& bar, const std::optional<vfio::IommuInfo>& iommu);

  // Takes the place at `address`. Returns kInvalidArgument if `bar` cannot be
  // there, kOutOfRange if no window holds it, and kAlreadyExists if the place
  // is taken.
  absl::StatusOr<allocator::AddressAllocation> PlaceAt(const pci::Bar& bar,
                                                       uint64_t address);

  // Takes a naturally aligned window for a bridge. The memory window is below
  // 4 GiB, and the prefetchable one above if there is room. Returns
  // kResourceExhausted if it fits nowhere.
  enum class BridgeWindowKind { kIo, kMemory, kPrefetchable };
  absl::StatusOr<allocator::AddressAllocation> PlaceWindow(
      BridgeWindowKind kind, uint64_t size);

 private:
  BarWindows() = default;

  absl::Status AddHighWindow(uint64_t begin, uint64_t end);
  // Returns the windows for `bar` in order of preference.
  std::vector<allocator::AddressAllocator*> For(const pci::Bar& bar) const;

  std::unique_ptr<allocator::AddressAllocator> io_;
  std::unique_ptr<allocator::AddressAllocator> memory32_;
  std::vector<std::unique_ptr<allocator::AddressAllocator>> memory64_;
};

}  // namespace passthru::vmm

#endif  // PASSTHRU_VMM_BAR_WINDOWS_H_
