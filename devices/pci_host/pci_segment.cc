// SPDX-License-Identifier: Apache-2.0

#include "passthru/devices/pci_host/pci_segment.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/synchronization/mutex.h"
#include "absl/types/span.h"
#include "passthru/devices/bus/call_gate.h"
#include "passthru/devices/pci_host/config_pieces.h"
#include "passthru/devices/pci_host/pci_bridge.h"
#include "passthru/devices/pci_host/pci_function.h"
#include "passthru/pci/bdf.h"
#include "passthru/pci/registers.h"

namespace passthru::pci_host {
namespace {

constexpr uint8_t kAbsent = 0xff;

// Returns the device that a function belongs to, which is its routing ID
// without bits 2:0.
uint16_t SlotOf(pci::Bdf bdf) { return bdf.routing_id() >> 3; }

// Corrects the header type if it is within the `width` bytes at `offset`. A
// header type of all ones comes from a function that does not answer, and stays
// as it is.
uint32_t WithMultiFunctionBit(uint32_t value, uint16_t offset, unsigned width,
                              bool multi_function) {
  constexpr uint16_t kRegister = pci::kHeaderType.offset;
  if (kRegister < offset || kRegister >= offset + width) return value;
  const unsigned shift = 8 * (kRegister - offset);
  pci::HeaderType type{.raw = static_cast<uint8_t>(value >> shift)};
  if (type.raw == kAbsent) return value;
  pci::HeaderType::kMultiFunction.Set(type, multi_function);
  return (value & ~(uint32_t{0xff} << shift)) | uint32_t{type.raw} << shift;
}

}  // namespace

// One function. It lives until it is removed and the last call has left it.
struct PciSegment::Entry {
  std::shared_ptr<PciFunction> function;
  // The function, if it is a bridge.
  PciBridge* bridge = nullptr;
  bus::CallGate gate;
};

// A call to a function, or a null `entry` if there is no function. `call` keeps
// the entry alive.
struct PciSegment::Access {
  Entry* entry = nullptr;
  // Whether the function is behind the bridge that `entry` is.
  bool behind = false;
  bool multi_function = false;
  bus::CallGate::Call call;
};

PciSegment::PciSegment(uint16_t number) : number_(number) {}

PciSegment::~PciSegment() = default;

absl::Status PciSegment::Add(pci::Bdf bdf,
                             std::shared_ptr<PciFunction> function) {
  return Insert(bdf, std::move(function), nullptr);
}

absl::Status PciSegment::AddBridge(pci::Bdf bdf,
                                   std::shared_ptr<PciBridge> bridge) {
  PciBridge* const pointer = bridge.get();
  return Insert(bdf, std::move(bridge), pointer);
}

absl::Status PciSegment::Insert(pci::Bdf bdf,
                                std::shared_ptr<PciFunction> function,
                                PciBridge* bridge) {
  if (function == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat("no PCI function to add at ", bdf));
  }
  if (bdf.segment() != number_) {
    return absl::InvalidArgumentError(
        absl::StrFormat("%v is not on PCI segment %04x", bdf, number_));
  }
  auto entry = std::make_shared<Entry>();
  entry->function = std::move(function);
  entry->bridge = bridge;
  absl::MutexLock lock(&mutex_);
  if (!entries_.insert({bdf, std::move(entry)}).second) {
    return absl::AlreadyExistsError(
        absl::StrCat("there is a PCI function at ", bdf, " already"));
  }
  ++functions_in_slot_[SlotOf(bdf)];
  return absl::OkStatus();
}

absl::Status PciSegment::Remove(pci::Bdf bdf) {
  std::shared_ptr<Entry> removed;
  {
    absl::MutexLock lock(&mutex_);
    const auto found = entries_.find(bdf);
    if (found == entries_.end()) {
      return absl::NotFoundError(
          absl::StrCat("there is no PCI function at ", bdf));
    }
    removed = std::move(found->second);
    entries_.erase(found);
    const auto slot = functions_in_slot_.find(SlotOf(bdf));
    if (--slot->second == 0) functions_in_slot_.erase(slot);
  }
  bus::CallGate& gate = removed->gate;
  gate.DropAfterCalls(std::move(removed));
  return absl::OkStatus();
}

void PciSegment::Enter(pci::Bdf bdf, Access& access) {
  absl::ReaderMutexLock lock(&mutex_);
  if (const auto found = entries_.find(bdf); found != entries_.end()) {
    access.entry = found->second.get();
    access.multi_function = functions_in_slot_.at(SlotOf(bdf)) > 1;
  } else {
    access.entry = FindBridge(bdf.bus());
    access.behind = true;
  }
  if (access.entry != nullptr) access.call.Enter(access.entry->gate);
}

PciSegment::Entry* PciSegment::FindBridge(uint8_t bus) const {
  if (bus == 0) return nullptr;
  for (const auto& [bdf, entry] : entries_) {
    if (entry->bridge != nullptr && entry->bridge->Forwards(bus)) {
      return entry.get();
    }
  }
  return nullptr;
}

void PciSegment::ConfigRead(pci::Bdf bdf, uint16_t offset,
                            absl::Span<uint8_t> data) {
  std::fill(data.begin(), data.end(), kAbsent);
  if (offset >= kConfigSize) return;
  Access access;
  Enter(bdf, access);
  if (access.entry == nullptr) return;
  data = data.first(std::min<size_t>(data.size(), kConfigSize - offset));
  if (access.behind) {
    access.entry->bridge->ForwardRead(bdf, offset, data);
    return;
  }
  ForEachConfigPiece(
      offset, data.size(), [&](uint16_t at, size_t position, unsigned width) {
        const uint32_t value =
            WithMultiFunctionBit(access.entry->function->ConfigRead(at, width),
                                 at, width, access.multi_function);
        for (unsigned i = 0; i < width; ++i)
          data[position + i] = static_cast<uint8_t>(value >> (8 * i));
      });
}

void PciSegment::ConfigWrite(pci::Bdf bdf, uint16_t offset,
                             absl::Span<const uint8_t> data) {
  if (offset >= kConfigSize) return;
  Access access;
  Enter(bdf, access);
  if (access.entry == nullptr) return;
  data = data.first(std::min<size_t>(data.size(), kConfigSize - offset));
  if (access.behind) {
    access.entry->bridge->ForwardWrite(bdf, offset, data);
    return;
  }
  ForEachConfigPiece(
      offset, data.size(), [&](uint16_t at, size_t position, unsigned width) {
        access.entry->function->ConfigWrite(at, data.subspan(position, width));
      });
}

absl::StatusOr<pci::Bdf> PciSegment::FreeSlot() const {
  std::array<bool, pci::Bdf::kDevicesPerBus> taken = {};
  for (const pci::Bdf& function : Functions()) {
    if (function.bus() == 0) taken[function.device()] = true;
  }
  const auto free = std::find(taken.begin(), taken.end(), false);
  if (free == taken.end()) {
    return absl::ResourceExhaustedError(
        absl::StrFormat("each of the %d slots of PCI bus 0 has a function: put "
                        "devices into one slot, or behind root ports",
                        taken.size()));
  }
  return pci::Bdf(number_, 0, static_cast<uint8_t>(free - taken.begin()), 0);
}

std::vector<pci::Bdf> PciSegment::Functions() const {
  absl::ReaderMutexLock lock(&mutex_);
  std::vector<pci::Bdf> functions;
  functions.reserve(entries_.size());
  for (const auto& [bdf, entry] : entries_) functions.push_back(bdf);
  return functions;
}

void PciSegment::ForEach(absl::FunctionRef<void(PciFunction&)> visit) {
  for (const pci::Bdf bdf : Functions()) {
    Access access;
    Enter(bdf, access);
    if (access.entry != nullptr && !access.behind) {
      visit(*access.entry->function);
    }
  }
}

}  // namespace passthru::pci_host
