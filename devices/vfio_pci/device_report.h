// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_DEVICES_VFIO_PCI_DEVICE_REPORT_H_
#define PASSTHRU_DEVICES_VFIO_PCI_DEVICE_REPORT_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "passthru/devices/interrupts/msix_vector_group.h"
#include "passthru/devices/vfio_pci/bar_area.h"
#include "passthru/devices/vfio_pci/capability_policy.h"
#include "passthru/devices/vfio_pci/config_shadow.h"
#include "passthru/pci/bar.h"

// What a passed-through device is and does, for people and for tests. Plain
// values: a snapshot.

namespace passthru::vfio_pci {

// One capability of the host device, and what became of it.
struct CapabilityReport {
  bool extended = false;
  uint16_t id = 0;
  uint16_t offset = 0;
  std::string name;
  CapabilityTreatment treatment = CapabilityTreatment::kPass;
  // Why it is hidden or virtualized; empty when it passes.
  std::string reason;
  // As the guest sees it, in the manner of lspci; empty when hidden.
  std::string decoded;

  bool shown() const { return treatment != CapabilityTreatment::kHide; }
};

struct BarAreaReport {
  BarArea area;
  // Mapped areas: the guest reaches it without an exit now. Not so while the
  // BAR does not decode, or when the memory slot was refused.
  bool in_guest = false;
  std::string refused;  // why there is no slot, if that is so
  // A slot where the BAR was before could not be deleted: the guest still
  // reaches the device there.
  bool stale_slot = false;
};

struct BarReport {
  pci::Bar bar;  // with the address that the register holds now
  // Decoded and placed at bar.address.
  bool placed = false;
  std::string problem;  // why not, when decode is on
  std::vector<BarAreaReport> areas;
};

// How often what was done. Counted since Create().
struct ConfigCounters {
  uint64_t reads_from_shadow = 0;  // no system call
  uint64_t reads_from_device = 0;
  uint64_t writes_to_shadow = 0;  // no system call
  uint64_t writes_to_device = 0;
  uint64_t failures = 0;

  friend bool operator==(const ConfigCounters&,
                         const ConfigCounters&) = default;
};

struct BarCounters {
  uint64_t device_reads = 0;  // trapped, forwarded to the device
  uint64_t device_writes = 0;
  uint64_t table_reads = 0;  // MSI-X table and PBA, emulated
  uint64_t table_writes = 0;
  uint64_t failures = 0;
  uint64_t placements = 0;  // a BAR came to decode at an address
  uint64_t refused_placements = 0;

  friend bool operator==(const BarCounters&, const BarCounters&) = default;
};

enum class InterruptKind : uint8_t { kNone, kIntx, kMsi, kMsix };
std::string_view Name(InterruptKind kind);

// What of the device works less well than it should, or not at all, because the
// kernel refused something. Everything else works.
enum class DegradationKind : uint8_t {
  kTrapped,        // a part of a BAR that could be mapped costs an exit
  kStaleSlot,      // the guest still reaches a part of a BAR where it was
  kNotAnswering,   // all of its BARs: reads all ones, writes are dropped
  kFromUserSpace,  // a vector's interrupts take the way through user space
  kSilent,         // a vector, or INTx, brings no interrupts
};
std::string_view Name(DegradationKind kind);

struct Degradation {
  DegradationKind kind = DegradationKind::kTrapped;
  std::string what;  // of the device: "BAR0+0x0", "MSI-X vector 3"
  std::string why;   // empty: see the failures
};

// MSI or MSI-X of the device.
struct VectorGroupReport {
  InterruptKind kind = InterruptKind::kMsix;
  uint16_t device_vectors = 0;  // what the device has
  uint16_t shown_vectors = 0;   // what the guest sees; 0 when hidden
  std::string limited_by;       // why there are fewer
  std::vector<interrupts::VectorReport> vectors;
  interrupts::MsixVectorGroupStats stats;
};

struct DeviceReport {
  std::string name;  // of the host device
  // DescribeDevice() of the guest's view: identity, BARs, capabilities.
  std::vector<std::string> lines;
  std::vector<CapabilityReport> capabilities;
  // Why a capability list was cut short, if one was.
  std::vector<std::string> malformed;
  std::vector<BarReport> bars;
  InterruptKind interrupt = InterruptKind::kNone;
  std::vector<VectorGroupReport> vector_groups;
  ConfigCounters config;
  BarCounters bar;
  uint64_t resets = 0;  // FLR and Reset()
  // As it is now.
  std::vector<Degradation> degraded;
  // What failed since Create(): all, and the latest with the call, its
  // arguments and errno, the oldest first.
  uint64_t failure_count = 0;
  std::vector<std::string> failures;
};

// Capabilities and decoded lines.
void FillConfigReport(const ConfigShadow& shadow, DeviceReport& report);

// What `report` says of BARs and vectors, for its `degraded`.
void AddDegradations(DeviceReport& report);

// The report as text, a line each, indented; and parts of it.
std::vector<std::string> ToLines(const DeviceReport& report);
std::vector<std::string> ToLines(const BarReport& report);
std::string ToString(const CapabilityReport& report);

}  // namespace passthru::vfio_pci

#endif  // PASSTHRU_DEVICES_VFIO_PCI_DEVICE_REPORT_H_
