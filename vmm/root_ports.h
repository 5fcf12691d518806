// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_VMM_ROOT_PORTS_H_
#define PASSTHRU_VMM_ROOT_PORTS_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "passthru/allocator/address_allocator.h"
#include "passthru/devices/interrupts/interrupt_controller.h"
#include "passthru/devices/interrupts/shared_lines.h"
#include "passthru/devices/pci_host/pci_segment.h"
#include "passthru/devices/root_port/root_port.h"
#include "passthru/pci/bar.h"
#include "passthru/pci/bdf.h"
#include "passthru/vmm/bar_windows.h"

namespace passthru::vmm {

// A root port, and the addresses for what is or will be plugged in there. Sizes
// are in bytes, and 0 is no window.
struct RootPortOptions {
  // The device number on bus 0. By default it is the first free one.
  std::optional<uint8_t> slot;
  uint64_t io = uint64_t{4} << 10;
  // For 32-bit BARs, and for those that are not prefetchable.
  uint64_t memory = uint64_t{2} << 20;
  uint64_t prefetchable = uint64_t{1} << 30;
};

// The root ports of a machine, numbered from 0. It does what firmware does on
// hardware: port N leads to bus N + 1, and each has its windows, also with an
// empty slot.
//
// Immutable after Create(). Thread-safe, as the ports are.
class RootPorts {
 public:
  // All pointers must outlive the ports.
  struct Options {
    pci_host::PciSegment* segment = nullptr;
    BarWindows* windows = nullptr;
    interrupts::InterruptController* controller = nullptr;
    interrupts::SharedLines* lines = nullptr;  // null if pins are not wired
    // As RootPort::Options has them.
    std::function<void(size_t port)> on_removal_permitted;
    std::function<void(size_t port)> reset_bus;
  };

  // Returns kInvalidArgument, kAlreadyExists or kResourceExhausted, with the
  // number of the port, if a port cannot be as asked.
  static absl::StatusOr<std::unique_ptr<RootPorts>> Create(
      Options options, absl::Span<const RootPortOptions> ports);
  // Takes the ports off the segment. No device may be left behind them.
  ~RootPorts();

  RootPorts(const RootPorts&) = delete;
  RootPorts& operator=(const RootPorts&) = delete;

  size_t size() const { return ports_.size(); }
  root_port::RootPort& port(size_t number) { return *ports_[number].port; }
  // Returns where the guest has the port.
  pci::Bdf place(size_t number) const { return ports_[number].place; }
  // Returns where firmware has the functions behind the port. The guest may
  // number the bus anew, but they keep this name.
  pci::Bdf Behind(size_t number, uint8_t function = 0) const;
  // Returns the port of such a name, if there is one.
  std::optional<size_t> PortOf(pci::Bdf behind) const;

  // Finds a place for a BAR in the port's windows, or takes the one at
  // `address`. Only a BAR that is prefetchable may be in the prefetchable
  // window.
  absl::StatusOr<allocator::AddressAllocation> PlaceBar(
      size_t number, const pci::Bar& bar, std::optional<uint64_t> address);

  // Returns a port, or all, to the state in which firmware starts the guest.
  // No vCPU should run.
  void Reset(size_t number);
  void ResetAll();

 private:
  // A window, and the places in it.
  struct Window {
    allocator::AddressAllocation range;
    std::unique_ptr<allocator::AddressAllocator> places;
  };
  struct Port {
    pci::Bdf place;
    std::shared_ptr<root_port::RootPort> port;
    root_port::RootPort::Resources resources;
    std::optional<Window> io;
    std::optional<Window> memory;
    std::optional<Window> prefetchable;
  };

  explicit RootPorts(Options options);

  absl::Status Add(const RootPortOptions& wanted);
  absl::StatusOr<pci::Bdf> FindSlot(const RootPortOptions& wanted) const;
  absl::Status TakeWindow(BarWindows::BridgeWindowKind kind, uint64_t size,
                          pci::BridgeWindow& registers,
                          std::optional<Window>& window) const;

  const Options options_;
  std::vector<Port> ports_;
};

}  // namespace passthru::vmm

#endif  // PASSTHRU_VMM_ROOT_PORTS_H_
