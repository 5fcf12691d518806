// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/bar_windows.h"

#include <algorithm>
#include <cstdint>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/str_format.h"
#include "passthru/devices/kernel/page_size.h"
#include "passthru/devices/kernel/status_macros.h"
#include "passthru/devices/memory/iova.h"
#include "passthru/vmm/guest_layout.h"

namespace passthru::vmm {

absl::StatusOr<std::unique_ptr<BarWindows>> BarWindows::Create(
    unsigned physical_address_bits, uint64_t high_ram_size) {
  auto windows = absl::WrapUnique(new BarWindows());
  PASSTHRU_ASSIGN_OR_RETURN(windows->io_, allocator::AddressAllocator::Create(
                                              kPioBase, kPioSize, "I/O BARs"));
  PASSTHRU_ASSIGN_OR_RETURN(windows->memory32_,
                            allocator::AddressAllocator::Create(
                                kMmio32Base, kMmio32Size, "32-bit BARs"));
  const uint64_t reach = uint64_t{1} << std::min(physical_address_bits, 63u);
  const uint64_t near_end = kMmio64Base + kMmio64Size;
  PASSTHRU_RETURN_IF_ERROR(
      windows->AddHighWindow(kMmio64Base, std::min(near_end, reach)));
  PASSTHRU_RETURN_IF_ERROR(windows->AddHighWindow(near_end, reach));
  PASSTHRU_RETURN_IF_ERROR(windows->AddHighWindow(
      kHighRamBase + high_ram_size, std::min(kMmio64Base, reach)));
  return windows;
}

absl::Status BarWindows::AddHighWindow(uint64_t begin, uint64_t end) {
  if (begin >= end) return absl::OkStatus();
  PASSTHRU_ASSIGN_OR_RETURN(
      auto window,
      allocator::AddressAllocator::Create(
          begin, end - begin,
          absl::StrFormat("64-bit BARs in [0x%x, 0x%x)", begin, end)));
  memory64_.push_back(std::move(window));
  return absl::OkStatus();
}

std::vector<allocator::AddressAllocator*> BarWindows::For(
    const pci::Bar& bar) const {
  if (bar.is_io()) return {io_.get()};
  std::vector<allocator::AddressAllocator*> windows;
  if (bar.is_64bit()) {
    for (const auto& window : memory64_) windows.push_back(window.get());
  }
  windows.push_back(memory32_.get());
  return windows;
}

absl::StatusOr<allocator::AddressAllocation> BarWindows::Place(
    const pci::Bar& bar, const std::optional<vfio::IommuInfo>& iommu) {
  const uint64_t size =
      bar.is_io() ? bar.size : std::max(bar.size, kernel::PageSize());
  std::optional<allocator::AddressAllocation> out_of_reach;
  absl::Status refusal;
  for (allocator::AddressAllocator* const window : For(bar)) {
    absl::StatusOr<allocator::AddressAllocation> place = window->Allocate(size);
    if (!place.ok()) {
      refusal.Update(place.status());
      continue;
    }
    if (bar.is_io() || !iommu.has_value() ||
        iommu->Allows(memory::Iova(place->address()), size)) {
      return place;
    }
    if (!out_of_reach.has_value()) out_of_reach = *std::move(place);
  }
  if (out_of_reach.has_value()) return *std::move(out_of_reach);
  return refusal;
}

absl::StatusOr<allocator::AddressAllocation> BarWindows::PlaceAt(
    const pci::Bar& bar, uint64_t address) {
  PASSTHRU_RETURN_IF_ERROR(pci::ValidateBarAddress(bar, address));
  for (allocator::AddressAllocator* const window : For(bar)) {
    if (address < window->base() ||
        address - window->base() >= window->size()) {
      continue;
    }
    return window->AllocateAt(address, bar.size);
  }
  return absl::OutOfRangeError(
      absl::StrFormat("0x%x is in no window for this BAR", address));
}

absl::StatusOr<allocator::AddressAllocation> BarWindows::PlaceWindow(
    BridgeWindowKind kind, uint64_t size) {
  switch (kind) {
    case BridgeWindowKind::kIo:
      return io_->Allocate(size);
    case BridgeWindowKind::kMemory:
      return memory32_->Allocate(size);
    case BridgeWindowKind::kPrefetchable:
      break;
  }
  for (const auto& window : memory64_) {
    absl::StatusOr<allocator::AddressAllocation> place = window->Allocate(size);
    if (place.ok()) return place;
  }
  return memory32_->Allocate(size);
}

}  // namespace passthru::vmm
