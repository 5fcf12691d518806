// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/host/invariants.h"

#include <sys/mman.h>
#include <sys/types.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/log/log.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "passthru/testing/journal/call.h"
#include "passthru/testing/journal/journal.h"
#include "passthru/testing/journal/task.h"
#include "passthru/testing/journal/vfio_offset.h"
#include "passthru/testing/kernel/mapping_table.h"
#include "passthru/testing/kvm/fake_kvm_slots.h"
#include "passthru/testing/vfio/fake_container.h"
#include "passthru/testing/vfio/fake_vfio_device.h"
#include "passthru/testing/vfio/type1_iommu.h"

namespace passthru::fake {
namespace {

uint64_t Field(const journal::Call& call, std::string_view field) {
  const journal::CallField* const found = call.Find(field);
  return found == nullptr ? 0 : static_cast<uint64_t>(found->number);
}

bool Overlaps(uint64_t a, uint64_t a_size, uint64_t b, uint64_t b_size) {
  return a < b + b_size && b < a + a_size;
}

// Returns the largest page table entry that so many bytes of a BAR can have.
uint64_t LargestBarEntry(uint64_t length) {
  constexpr uint64_t kGiB = uint64_t{1} << 30;
  constexpr uint64_t kTwoMiB = uint64_t{2} << 20;
  return length >= kGiB ? kGiB : length >= kTwoMiB ? kTwoMiB : 1;
}

std::string Describe(const FakeKvm::VmTables& vm, const FakeKvmSlot& slot) {
  return absl::StrFormat("%s: memory slot %u [0x%x, +0x%x)", vm.name, slot.slot,
                         slot.guest_address, slot.size);
}

std::string Describe(const std::string& container, const DmaMapping& mapping) {
  return absl::StrFormat("%s: DMA mapping [0x%x, +0x%x)", container,
                         mapping.iova, mapping.size);
}

}  // namespace

void Invariants::OnCall(std::string_view name,
                        absl::FunctionRef<journal::Call()> describe,
                        int64_t result, int error) {
  mutex_->AssertHeld();
  const auto when = [&] {
    return absl::StrCat("after ", journal::JournalEntry{.call = describe(),
                                                        .result = result,
                                                        .error = error}
                                      .ToString());
  };
  NoteRefusal(name, describe, error);
  if (error == 0 && (name == "munmap" || name == "mmap")) {
    const journal::Call call = describe();
    if (name == "munmap") {
      CheckUnmapped(Field(call, "addr"), Field(call, "length"), when);
    } else if ((Field(call, "flags") & MAP_FIXED) != 0) {
      // The call replaced the mappings there.
      CheckUnmapped(static_cast<uint64_t>(result), Field(call, "length"), when);
    }
  }
  Check(when);
}

void Invariants::OnHardwareStep() {
  mutex_->AssertHeld();
  Check([] { return std::string("after a step of a device"); });
}

void Invariants::Check(When when) {
  found_.clear();
  kernel_->kvm().ForEachVm([this](const FakeKvm::VmTables& vm) {
    mutex_->AssertHeld();
    CheckSlots(vm);
    CheckRoutes(vm);
  });
  if (dma_rule_ == DmaRule::kAlways) CheckDma();
  for (const std::string& what : found_) {
    if (!known_.contains(what)) Report(absl::StrCat(what, ", ", when()));
  }
  known_.swap(found_);
}

void Invariants::CheckDmaOfRun() {
  const absl::MutexLock lock(mutex_);
  found_.clear();
  CheckDma();
  for (const std::string& what : found_) {
    if (known_dma_.insert(what).second) {
      Report(absl::StrCat(what, ", when a vCPU runs"));
    }
  }
}

void Invariants::CheckSlots(const FakeKvm::VmTables& vm) {
  for (const auto& [number, slot] : vm.slots.by_number()) {
    ForEachPiece(vm.process, slot,
                 [this, &vm, &slot = slot](const Piece& piece) {
                   mutex_->AssertHeld();
                   CheckPiece(vm, slot, piece);
                 });
  }
}

void Invariants::CheckPiece(const FakeKvm::VmTables& vm,
                            const FakeKvmSlot& slot, const Piece& piece) {
  const auto* const file = dynamic_cast<const DeviceFile*>(piece.file);
  if (file == nullptr) return;
  const FakeVfioDevice& device = *file->device();
  const uint32_t bar = journal::RegionOf(piece.offset);
  const uint64_t offset = journal::OffsetOf(piece.offset);
  const auto what = [&] {
    return absl::StrFormat("%s leads to %s, BAR %u [0x%x, +0x%x)",
                           Describe(vm, slot), device.Describe(), bar, offset,
                           piece.length);
  };
  if (device.IsOnMsixPage(bar, offset, piece.length)) {
    found_.insert(absl::StrCat(
        what(),
        ", which has a page of the MSI-X table or of its pending bits"));
  }
  const uint64_t guest =
      slot.guest_address + (piece.address - slot.host_address);
  const uint64_t entry = LargestBarEntry(piece.length);
  if ((piece.address - piece.offset) % entry != 0 ||
      (guest - piece.offset) % entry != 0) {
    found_.insert(absl::StrFormat(
        "%s, but guest address 0x%x, host address 0x%x and offset are not "
        "equal modulo 0x%x",
        what(), guest, piece.address, entry));
  }
  if (!device.MemoryIsReachable() && !stuck_slots_.contains(slot.slot)) {
    found_.insert(absl::StrCat(
        what(), ", which does not answer: memory decode is off, or not D0"));
  }
}

void Invariants::CheckRoutes(const FakeKvm::VmTables& vm) {
  vm.irqfds.ForEachGsi([this, &vm](uint32_t gsi) {
    mutex_->AssertHeld();
    if (!vm.routing.Of(gsi).empty()) return;
    found_.insert(absl::StrFormat(
        "%s: an irqfd is assigned to GSI %u, which has no route", vm.name,
        gsi));
  });
}

// Returns the slots of all VMs, because DMA has no VM. Callers have one VM.
const std::vector<Invariants::SlotOf>& Invariants::Slots() {
  slots_.clear();
  kernel_->kvm().ForEachVm([this](const FakeKvm::VmTables& vm) {
    mutex_->AssertHeld();
    for (const auto& [number, slot] : vm.slots.by_number()) {
      slots_.push_back({.process = vm.process, .slot = slot});
    }
  });
  std::sort(slots_.begin(), slots_.end(), [](const SlotOf& a, const SlotOf& b) {
    return a.slot.guest_address < b.slot.guest_address;
  });
  return slots_;
}

void Invariants::CheckDma() {
  const std::vector<SlotOf>& slots = Slots();
  if (slots.empty()) return;
  vfio_->ForEachContainer([&](const FakeContainer& container) {
    mutex_->AssertHeld();
    for (const auto& [iova, mapping] : container.iommu()->by_iova()) {
      if (mapping.vaddr_invalid || stuck_iovas_.contains(mapping.iova)) {
        continue;
      }
      // How much of the mapping, from its start, is the guest's memory.
      uint64_t covered = 0;
      for (const SlotOf& each : slots) {
        const FakeKvmSlot& slot = each.slot;
        const uint64_t at = mapping.iova + covered;
        if (at < slot.guest_address || at >= slot.guest_end()) continue;
        if (slot.host_address + (at - slot.guest_address) !=
            mapping.vaddr + covered) {
          break;
        }
        covered = slot.guest_end() - mapping.iova;
        if (covered >= mapping.size) break;
      }
      if (covered < mapping.size) {
        found_.insert(absl::StrFormat(
            "%s is not the guest's memory from 0x%x on",
            Describe(container.Describe(), mapping), iova + covered));
      }
    }
  });
}

void Invariants::CheckUnmapped(uint64_t address, uint64_t length, When when) {
  // Another process may use the same addresses.
  const pid_t process = journal::CurrentProcess();
  kernel_->kvm().ForEachVm([&](const FakeKvm::VmTables& vm) {
    mutex_->AssertHeld();
    if (vm.process != process) return;
    for (const auto& [number, slot] : vm.slots.by_number()) {
      if (!Overlaps(slot.host_address, slot.size, address, length)) continue;
      Report(
          absl::StrCat(Describe(vm, slot), " has lost its memory, ", when()));
    }
  });
  vfio_->ForEachContainer([&](const FakeContainer& container) {
    mutex_->AssertHeld();
    for (const auto& [iova, mapping] : container.iommu()->by_iova()) {
      if (mapping.process != process ||
          !Overlaps(mapping.vaddr, mapping.size, address, length)) {
        continue;
      }
      Report(absl::StrCat(Describe(container.Describe(), mapping),
                          " has lost its memory while it is pinned, ", when()));
    }
  });
}

void Invariants::NoteRefusal(std::string_view name,
                             absl::FunctionRef<journal::Call()> describe,
                             int error) {
  if (name == "KVM_SET_USER_MEMORY_REGION" ||
      name == "KVM_SET_USER_MEMORY_REGION2") {
    const journal::Call call = describe();
    if (error == 0) {
      stuck_slots_.erase(Field(call, "slot"));
    } else if (Field(call, "memory_size") == 0) {
      stuck_slots_.insert(Field(call, "slot"));
    }
  } else if (name == "VFIO_IOMMU_UNMAP_DMA") {
    const journal::Call call = describe();
    if (error == 0) {
      stuck_iovas_.erase(Field(call, "iova"));
    } else {
      stuck_iovas_.insert(Field(call, "iova"));
    }
  }
}

void Invariants::ForEachPiece(
    pid_t process, const FakeKvmSlot& slot,
    absl::FunctionRef<void(const Piece&)> visit) const {
  kernel_->core().mutex.AssertHeld();
  const uint64_t end = slot.host_address + slot.size;
  kernel_->core().mappings.ForEachIn(
      process, slot.host_address, slot.size, [&](const Mapping& mapping) {
        Piece piece{.address = std::max(mapping.address, slot.host_address),
                    .file = mapping.file.get()};
        piece.offset = mapping.offset + (piece.address - mapping.address);
        piece.length = std::min(mapping.end(), end) - piece.address;
        visit(piece);
      });
}

void Invariants::CheckAtRest() {
  const absl::MutexLock lock(mutex_);
  vfio_->ForEachContainer([this](const FakeContainer& container) {
    mutex_->AssertHeld();
    for (const auto& [process, slot] : Slots()) {
      bool bar = false;
      ForEachPiece(process, slot, [&bar](const Piece& piece) {
        bar |= piece.file != nullptr;
      });
      const auto& mappings = container.iommu()->by_iova();
      const bool mapped = std::any_of(
          mappings.begin(), mappings.end(), [&slot = slot](const auto& entry) {
            return entry.second.iova <= slot.guest_address &&
                   slot.guest_end() - 1 <= entry.second.last();
          });
      if (bar || mapped) continue;
      Report(absl::StrFormat(
          "%s: guest RAM [0x%x, +0x%x) is not mapped for DMA, at rest",
          container.Describe(), slot.guest_address, slot.size));
    }
  });
}

void Invariants::CheckNothingLeft() {
  for (const std::string& leak : kernel_->CheckLeaks().leaks) {
    const absl::MutexLock lock(mutex_);
    Report(absl::StrCat(leak, ", left at the end"));
  }
}

std::vector<std::string> Invariants::Take() {
  const absl::MutexLock lock(mutex_);
  return std::exchange(violations_, {});
}

void Invariants::Report(std::string violation) {
  LOG(ERROR) << "Broken invariant: " << violation;
  violations_.push_back(std::move(violation));
}

}  // namespace passthru::fake
