// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/root_ports.h"

#include <algorithm>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/log/log.h"
#include "absl/memory/memory.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "passthru/allocator/gsi.h"
#include "passthru/devices/interrupts/interrupt_line.h"
#include "passthru/devices/kernel/errors.h"
#include "passthru/devices/kernel/page_size.h"
#include "passthru/devices/kernel/status_macros.h"
#include "passthru/pci/bar_index.h"
#include "passthru/pci/bridge_windows.h"
#include "passthru/vmm/guest_layout.h"

namespace passthru::vmm {

absl::StatusOr<std::unique_ptr<RootPorts>> RootPorts::Create(
    Options options, absl::Span<const RootPortOptions> ports) {
  auto created = absl::WrapUnique(new RootPorts(std::move(options)));
  for (const RootPortOptions& wanted : ports) {
    if (absl::Status status = created->Add(wanted); !status.ok()) {
      return kernel::Annotate(status,
                              absl::StrCat("root port ", created->size()));
    }
  }
  return created;
}

RootPorts::RootPorts(Options options) : options_(std::move(options)) {}

RootPorts::~RootPorts() {
  for (const Port& port : ports_) {
    if (absl::Status status = options_.segment->Remove(port.place);
        !status.ok()) {
      LOG(ERROR) << "the root port at " << port.place
                 << " stays on its bus: " << status;
    }
  }
}

absl::Status RootPorts::Add(const RootPortOptions& wanted) {
  const size_t number = ports_.size();
  Port port;
  // Bus 0 has fewer slots than there are bus numbers.
  PASSTHRU_ASSIGN_OR_RETURN(port.place, FindSlot(wanted));
  port.resources.secondary_bus = static_cast<uint8_t>(number + 1);
  port.resources.subordinate_bus = static_cast<uint8_t>(number + 1);
  using Kind = BarWindows::BridgeWindowKind;
  pci::BridgeWindows& windows = port.resources.windows;
  PASSTHRU_RETURN_IF_ERROR(
      TakeWindow(Kind::kIo, wanted.io, windows.io, port.io));
  PASSTHRU_RETURN_IF_ERROR(
      TakeWindow(Kind::kMemory, wanted.memory, windows.memory, port.memory));
  PASSTHRU_RETURN_IF_ERROR(TakeWindow(Kind::kPrefetchable, wanted.prefetchable,
                                      windows.prefetchable, port.prefetchable));

  std::unique_ptr<interrupts::InterruptLine> line;
  if (options_.lines != nullptr) {
    line =
        options_.lines->Connect(allocator::Gsi(IntxGsi(port.place.device())));
  }
  const auto with_number =
      [number](
          const std::function<void(size_t)>& whom) -> std::function<void()> {
    if (whom == nullptr) return nullptr;
    return [number, whom] { whom(number); };
  };
  port.port =
      std::make_shared<root_port::RootPort>(root_port::RootPort::Options{
          .name = absl::StrCat("root port ", number, " at ", port.place),
          .port_number = static_cast<uint8_t>(number + 1),
          .slot_number = static_cast<uint16_t>(number + 1),
          .controller = options_.controller,
          .line = std::move(line),
          .on_removal_permitted = with_number(options_.on_removal_permitted),
          .reset_bus = with_number(options_.reset_bus)});
  PASSTHRU_RETURN_IF_ERROR(port.port->Reset(port.resources));
  PASSTHRU_RETURN_IF_ERROR(options_.segment->AddBridge(port.place, port.port));
  ports_.push_back(std::move(port));
  return absl::OkStatus();
}

absl::StatusOr<pci::Bdf> RootPorts::FindSlot(
    const RootPortOptions& wanted) const {
  if (!wanted.slot.has_value()) return options_.segment->FreeSlot();
  if (*wanted.slot < pci::Bdf::kDevicesPerBus) {
    return pci::Bdf(options_.segment->number(), 0, *wanted.slot, 0);
  }
  return absl::InvalidArgumentError(
      absl::StrFormat("bus 0 has slots 0 to %d, and none of number %d",
                      pci::Bdf::kDevicesPerBus - 1, *wanted.slot));
}

absl::Status RootPorts::TakeWindow(BarWindows::BridgeWindowKind kind,
                                   uint64_t size, pci::BridgeWindow& registers,
                                   std::optional<Window>& window) const {
  if (size == 0) return absl::OkStatus();
  PASSTHRU_ASSIGN_OR_RETURN(allocator::AddressAllocation range,
                            options_.windows->PlaceWindow(kind, size));
  registers = {.base = range.address(), .size = size};
  PASSTHRU_ASSIGN_OR_RETURN(
      auto places, allocator::AddressAllocator::Create(
                       range.address(), size,
                       absl::StrCat("a window of root port ", ports_.size())));
  window.emplace(
      Window{.range = std::move(range), .places = std::move(places)});
  return absl::OkStatus();
}

pci::Bdf RootPorts::Behind(size_t number, uint8_t function) const {
  return pci::Bdf(options_.segment->number(),
                  ports_[number].resources.secondary_bus, 0, function);
}

std::optional<size_t> RootPorts::PortOf(pci::Bdf behind) const {
  for (size_t number = 0; number < ports_.size(); ++number) {
    if (Behind(number, behind.function()) == behind) return number;
  }
  return std::nullopt;
}

absl::StatusOr<allocator::AddressAllocation> RootPorts::PlaceBar(
    size_t number, const pci::Bar& bar, std::optional<uint64_t> address) {
  Port& port = ports_[number];
  absl::Status refusal = absl::ResourceExhaustedError(
      absl::StrFormat("root port %d has no window for %s: give it one", number,
                      bar.is_io() ? "ports" : "memory"));
  std::vector<std::optional<Window>*> windows;
  if (bar.is_io()) {
    windows = {&port.io};
  } else if (bar.prefetchable) {
    windows = {&port.prefetchable, &port.memory};
  } else {
    windows = {&port.memory};
  }
  for (std::optional<Window>* const window : windows) {
    if (!window->has_value()) continue;
    allocator::AddressAllocator& places = *(*window)->places;
    // A BAR smaller than a page can be mapped if it is alone in its page.
    const uint64_t size = bar.is_io() || address.has_value()
                              ? bar.size
                              : std::max(bar.size, kernel::PageSize());
    absl::StatusOr<allocator::AddressAllocation> place =
        address.has_value() ? places.AllocateAt(*address, size)
                            : places.Allocate(size);
    refusal = place.status();
    if (!place.ok()) continue;
    // A 32-bit BAR cannot be in a window above 4 GiB.
    refusal = pci::ValidateBarAddress(bar, place->address());
    if (refusal.ok()) return place;
  }
  return refusal;
}

void RootPorts::Reset(size_t number) {
  // The windows were accepted when the port was made.
  if (absl::Status status =
          ports_[number].port->Reset(ports_[number].resources);
      !status.ok()) {
    LOG(ERROR) << status;
  }
}

void RootPorts::ResetAll() {
  for (size_t number = 0; number < ports_.size(); ++number) Reset(number);
}

}  // namespace passthru::vmm
