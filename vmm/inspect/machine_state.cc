// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/inspect/machine_state.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "passthru/allocator/memory_slot.h"
#include "passthru/devices/bus/bus.h"
#include "passthru/devices/interrupts/gsi_router.h"
#include "passthru/devices/interrupts/msix_vector_group.h"
#include "passthru/devices/kernel/failure_log.h"
#include "passthru/devices/memory/guest_address.h"
#include "passthru/devices/memory/memory_area.h"
#include "passthru/devices/passthrough/group_dma_space.h"
#include "passthru/devices/passthrough/version.h"
#include "passthru/devices/root_port/root_port.h"
#include "passthru/devices/vfio/dma_listener.h"
#include "passthru/devices/vfio_pci/bar_area.h"
#include "passthru/devices/vfio_pci/device_report.h"
#include "passthru/devices/vfio_pci/interrupt_kind.h"
#include "passthru/pci/bar.h"
#include "passthru/pci/bar_index.h"
#include "passthru/pci/bdf.h"
#include "passthru/pci/msi_message.h"
#include "passthru/vmm/root_ports.h"

namespace passthru::vmm {
namespace {

using interrupts::VectorReport;
using interrupts::VectorState;
using vfio_pci::DeviceReport;

std::string Hex(uint64_t value) { return absl::StrFormat("0x%x", value); }

void AddExits(const ExitCounts& exits, StateTree& tree) {
  tree.Value("port_reads", exits.io_reads);
  tree.Value("port_writes", exits.io_writes);
  tree.Value("memory_reads", exits.mmio_reads);
  tree.Value("memory_writes", exits.mmio_writes);
  tree.Value("interrupted", exits.interrupted);
  tree.Value("memory_faults", exits.faults);
}

void AddBuses(Machine& machine, StateTree& tree) {
  StateTree::Table& table = tree.AddTable(
      "buses", {"bus", "reads", "writes", "unanswered", "failed"});
  for (const bus::Bus* bus : {&machine.mmio(), &machine.pio()}) {
    const bus::BusStats stats = bus->stats();
    table.rows.push_back(
        {bus->name(), stats.reads, stats.writes, stats.misses, stats.failures});
  }
}

// A slot whose area is gone could not be deleted, or is just being deleted.
void AddSlots(Machine& machine, StateTree& tree) {
  std::map<memory::GuestAddress, allocator::MemorySlot> slots =
      machine.slots().Slots();
  StateTree::Table& table = tree.AddTable(
      "slots", {"slot", "address", "size", "kind", "read_only", "what"});
  for (const memory::MemoryArea& area : machine.memory().Areas()) {
    const auto slot = slots.extract(area.guest);
    table.rows.push_back(
        {slot.empty() ? StateValue(nullptr)
                      : StateValue(uint64_t{slot.mapped().value()}),
         Hex(area.guest.value()), Hex(area.size),
         area.kind == memory::MemoryArea::Kind::kRam ? "RAM" : "BAR",
         area.read_only, area.name});
  }
  for (const auto& [address, slot] : slots) {
    table.rows.push_back({uint64_t{slot.value()}, Hex(address.value()), nullptr,
                          nullptr, false, "being removed"});
  }
}

void AddDma(const DeviceManager& devices, StateTree& tree) {
  const passthrough::GroupDmaReport report = devices.DescribeDma();
  StateTree& dma = tree.Tree("dma");
  dma.Values("groups", {report.groups.begin(), report.groups.end()});
  StateTree::Table& table =
      dma.AddTable("mappings", {"iova", "size", "read_only", "what"});
  for (const vfio::DmaMapping& mapping : report.mappings) {
    table.rows.push_back({Hex(mapping.guest.value()), Hex(mapping.size),
                          mapping.read_only, mapping.name});
  }
  dma.Value("unreachable_bars", uint64_t{report.unreachable_bars});
  dma.List("failures", report.failures);
}

void AddRoutes(const interrupts::GsiRouter& router, StateTree& tree) {
  const interrupts::GsiRouterStats stats = router.stats();
  StateTree& routing = tree.Tree("routing");
  routing.Value("table_size", uint64_t{stats.table_size});
  routing.Value("available", uint64_t{router.available()});
  routing.Value("routing_calls", stats.routing_calls);
  routing.Value("entries_copied", stats.entries_copied);
  routing.Value("failed_commits", stats.failed_commits);
  routing.Value("refused_messages", stats.refused_messages);
  routing.Value("refused_routes", stats.refused_routes);
  StateTree::Table& table =
      routing.AddTable("routes", {"gsi", "committed", "message"});
  for (const interrupts::GsiRouteReport& route : router.Routes()) {
    table.rows.push_back({uint64_t{route.gsi.value()}, route.committed,
                          route.message.has_value()
                              ? StateValue(route.message->ToString())
                              : StateValue(nullptr)});
  }
}

void AddPorts(RootPorts& ports, StateTree& tree) {
  StateTree::Table& table = tree.AddTable(
      "root_ports",
      {"port", "guest", "card", "link", "asked", "lost_interrupts"});
  for (size_t i = 0; i < ports.size(); ++i) {
    const root_port::RootPort& port = ports.port(i);
    table.rows.push_back({uint64_t{i}, ports.place(i).ToString(),
                          port.card_present(), port.link_active(),
                          port.removal_requested(), port.failures().count()});
  }
}

// Says where the guest finds a BAR, or why it does not.
std::string Place(const vfio_pci::BarReport& report) {
  if (report.placed) return Hex(report.bar.address);
  return report.problem.empty() ? "not decoding" : report.problem;
}

void AddBars(const DeviceReport& report,
             const std::vector<pci::BarIndex>& unplaced, StateTree& tree) {
  StateTree::Table& table =
      tree.AddTable("bars", {"bar", "offset", "size", "guest", "access"});
  for (const vfio_pci::BarReport& bar : report.bars) {
    std::string place = Place(bar);
    if (!bar.placed && std::find(unplaced.begin(), unplaced.end(),
                                 bar.bar.index) != unplaced.end()) {
      place = "no room";
    }
    for (const vfio_pci::BarAreaReport& area : bar.areas) {
      table.rows.push_back({absl::StrCat(bar.bar.index), Hex(area.area.offset),
                            Hex(area.area.size), place,
                            area.in_guest ? StateValue("mapped")
                            : bar.placed  ? StateValue("trapped")
                                          : StateValue(nullptr)});
    }
  }
}

void AddVectors(const vfio_pci::VectorGroupReport& group, StateTree& tree) {
  StateTree& vectors = tree.Tree(std::string(vfio_pci::Name(group.kind)));
  vectors.Value("of_the_device", uint64_t{group.device_vectors});
  vectors.Value("shown", uint64_t{group.shown_vectors});
  vectors.Value("set_irqs_calls", group.stats.set_irqs_calls);
  vectors.Value("irqfd_calls",
                group.stats.irqfd_assigns + group.stats.irqfd_deassigns);
  vectors.Value("from_user_space", group.stats.user_space_signals);
  vectors.Value("dropped", group.stats.dropped);
  vectors.Value("failed_calls", group.stats.failed_promotions +
                                    group.stats.failed_arms +
                                    group.stats.failed_calls);
  StateTree::Table& table = vectors.AddTable(
      "in_use",
      {"vector", "state", "masked", "gsi", "from_user_space", "message"});
  for (const VectorReport& vector : group.vectors) {
    if (vector.state == VectorState::kOff &&
        vector.message == pci::MsiMessage()) {
      continue;
    }
    table.rows.push_back(
        {uint64_t{vector.vector.value()},
         std::string(interrupts::Name(vector.state)), vector.masked,
         vector.gsi.has_value() ? StateValue(uint64_t{vector.gsi->value()})
                                : StateValue(nullptr),
         vector.user_space_signals, vector.message.ToString()});
  }
}

void AddCounters(const DeviceReport& report, StateTree& tree) {
  StateTree& config = tree.Tree("configuration");
  config.Value("reads_from_shadow", report.config.reads_from_shadow);
  config.Value("reads_from_device", report.config.reads_from_device);
  config.Value("writes_to_shadow", report.config.writes_to_shadow);
  config.Value("writes_to_device", report.config.writes_to_device);
  config.Value("failed", report.config.failures);
  StateTree& traps = tree.Tree("traps");
  traps.Value("device_reads", report.bar.device_reads);
  traps.Value("device_writes", report.bar.device_writes);
  traps.Value("table_reads", report.bar.table_reads);
  traps.Value("table_writes", report.bar.table_writes);
  traps.Value("failed", report.bar.failures);
}

void AddDevice(const DeviceReport& report, pci::Bdf guest,
               std::optional<size_t> port,
               const std::vector<pci::BarIndex>& unplaced, StateTree& tree) {
  StateTree& device = tree.Tree(report.name);
  device.Value("is", report.lines.empty() ? "" : report.lines.front());
  device.Value("guest", guest.ToString());
  device.Value("root_port", OrNull(port));
  device.Value("interrupts", std::string(vfio_pci::Name(report.interrupt)));
  device.Value("resets", report.resets);
  AddBars(report, unplaced, device);
  for (const vfio_pci::VectorGroupReport& group : report.vector_groups) {
    AddVectors(group, device);
  }
  AddCounters(report, device);
  StateTree::Table& degraded =
      device.AddTable("degraded", {"what", "how", "why"});
  for (const vfio_pci::Degradation& degradation : report.degraded) {
    degraded.rows.push_back({degradation.what,
                             std::string(vfio_pci::Name(degradation.kind)),
                             degradation.why});
  }
  device.Value("failure_count", report.failure_count);
  device.List("last_failures", report.failures);
}

}  // namespace

StateTree DescribeMachine(Machine& machine, DeviceManager& devices,
                          const ExitCounts& exits) {
  StateTree tree;
  tree.Value("passthru", std::string(kVersion));
  tree.Value("vcpus", uint64_t{machine.vcpu_count()});
  AddExits(exits, tree.Tree("exits"));
  AddBuses(machine, tree);
  AddSlots(machine, tree);
  AddDma(devices, tree);
  AddRoutes(machine.router(), tree);
  AddPorts(devices.root_ports(), tree);
  StateTree& all = tree.Tree("devices");
  for (const pci::Bdf guest : devices.Devices()) {
    const auto device = devices.Find(guest);
    // It may have been unplugged meanwhile.
    if (device == nullptr) continue;
    AddDevice(device->Describe(), guest, devices.root_ports().PortOf(guest),
              devices.UnplacedBars(guest), all);
  }
  tree.List("failures", devices.failures().Recent());
  return tree;
}

}  // namespace passthru::vmm
