// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_DEVICES_VFIO_PCI_DEVICE_REPORT_H_
#define PASSTHRU_DEVICES_VFIO_PCI_DEVICE_REPORT_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "passthru/devices/interrupts/msix_vector_group.h"
#include "passthru/devices/vfio/hot_reset.h"
#include "passthru/devices/vfio_pci/bar_mapper.h"
#include "passthru/devices/vfio_pci/capability_policy.h"
#include "passthru/devices/vfio_pci/config_shadow.h"
#include "passthru/devices/vfio_pci/expansion_rom.h"
#include "passthru/devices/vfio_pci/interrupt_kind.h"
#include "passthru/pci/bar.h"

// A snapshot of a passed-through device and its activity, for people and for
// tests. All types are plain values.

namespace passthru::vfio_pci {

// One capability of the host device and how the guest sees it.
struct CapabilityReport {
  bool extended = false;
  uint16_t id = 0;
  uint16_t offset = 0;
  std::string name;
  CapabilityTreatment treatment = CapabilityTreatment::kPass;
  // Why it is treated so. Empty if no rule names it, in which case it is
  // passed.
  std::string reason;
  bool by_vmm = false;  // by a rule of the VMM's own
  // Its registers as the guest sees them, in the style of lspci. Empty if it is
  // hidden.
  std::string decoded;

  bool shown() const { return treatment != CapabilityTreatment::kHide; }
};

// Numbers of configuration accesses since Create().
struct ConfigCounters {
  uint64_t reads_from_shadow = 0;  // no system call
  uint64_t reads_from_device = 0;
  uint64_t writes_to_shadow = 0;  // no system call
  uint64_t writes_to_device = 0;
  uint64_t failures = 0;

  friend bool operator==(const ConfigCounters&,
                         const ConfigCounters&) = default;
};

// Numbers of trapped BAR accesses and of placements since Create().
struct BarCounters {
  uint64_t device_reads = 0;  // trapped, forwarded to the device
  uint64_t device_writes = 0;
  uint64_t table_reads = 0;  // MSI-X table and PBA, emulated
  uint64_t table_writes = 0;
  uint64_t failures = 0;
  uint64_t placements = 0;  // a BAR began to answer at an address
  uint64_t refused_placements = 0;

  friend bool operator==(const BarCounters&, const BarCounters&) = default;
};

// What is slower, smaller or does not work, because the kernel refused a call
// or the host lacks something.
enum class DegradationKind : uint8_t {
  kTrapped,        // a part of a BAR that could be mapped costs an exit
  kStaleSlot,      // a part of a BAR is still reached at an earlier address
  kNotAnswering,   // all BARs read all ones, and writes to them are dropped
  kFromUserSpace,  // a vector's interrupts pass through user space
  kSilent,         // a vector, INTx or the device delivers no interrupts
  kFewerVectors,   // the guest is shown fewer vectors than the device has
  kHidden,         // the guest is not shown a kind of interrupt
};
std::string_view Name(DegradationKind kind);

// One part of a device that is slower or does not work. Every part that a
// report does not list works.
struct Degradation {
  DegradationKind kind = DegradationKind::kTrapped;
  std::string what;  // the part, e.g. "BAR0+0x0" or "MSI-X vector 3"
  std::string why;   // if empty, see the failures
};

// The MSI or the MSI-X vectors of the device.
struct VectorGroupReport {
  InterruptKind kind = InterruptKind::kMsix;
  uint16_t device_vectors = 0;  // how many the device has
  uint16_t shown_vectors = 0;   // how many the guest sees, 0 if hidden
  std::string limited_by;       // why the guest sees fewer
  std::vector<interrupts::VectorReport> vectors;
  interrupts::MsixVectorGroupStats stats;
};

// The ways to reset a device. The kernel chooses how it carries out
// VFIO_DEVICE_RESET, so the first three are what the capabilities offer.
enum class ResetKind : uint8_t {
  kNone,
  kFunctionLevel,    // VFIO_DEVICE_RESET, by FLR of PCI Express or AF
  kPowerManagement,  // VFIO_DEVICE_RESET, by D3hot and D0
  kByKernel,         // VFIO_DEVICE_RESET, by its own bus or a quirk
  kHotReset,         // VFIO_DEVICE_PCI_HOT_RESET of the slot or bus
};
std::string_view Name(ResetKind kind);

// How VfioPciDevice::Reset() resets the device, as found at attach.
struct ResetReport {
  ResetKind kind = ResetKind::kNone;
  // The other functions that a hot reset resets. Empty for other kinds.
  std::vector<vfio::HotResetDevice> also_resets;
  std::string why_none;  // why there is none

  std::string ToString() const;
};

// The report of a whole VfioPciDevice.
struct DeviceReport {
  std::string name;  // VfioPciDevice::name()
  // pci::DescribeDevice() of the guest's view (identity, BARs, capabilities).
  std::vector<std::string> lines;
  // How this identity and what can be written differ from the device's own, by
  // the VMM's wish.
  std::vector<std::string> overrides;
  std::vector<CapabilityReport> capabilities;
  // Why the guest reads something else than the device answers.
  std::vector<RegisterView> registers;
  // The defects of the device's capability lists and BARs.
  std::vector<std::string> malformed;
  std::vector<BarReport> bars;
  RomReport rom;
  InterruptKind interrupt = InterruptKind::kNone;
  // Why the guest sees no interrupt pin although it has a GSI for it. Empty if
  // there is no such reason.
  std::string intx_hidden_reason;
  std::vector<VectorGroupReport> vector_groups;
  ResetReport reset;
  ConfigCounters config;
  BarCounters bar;
  uint64_t resets = 0;  // FLR and Reset()
  // What is degraded now.
  std::vector<Degradation> degraded;
  // The number of failures since Create(), and the latest of them, oldest
  // first, each with the call, its arguments and errno.
  uint64_t failure_count = 0;
  std::vector<std::string> failures;
};

// Returns why the guest reads at `offset` what it reads, or null if it reads
// what the device answers.
const RegisterView* FindReason(const DeviceReport& report, uint16_t offset);

// Fills in lines, capabilities, registers and malformed.
void FillConfigReport(const ConfigShadow& shadow, DeviceReport& report);

// Appends the degraded BARs and vectors of `report` to its `degraded`.
void AddDegradations(DeviceReport& report);

// Returns a report, or a part of one, as indented lines of text.
std::vector<std::string> ToLines(const DeviceReport& report);
std::vector<std::string> ToLines(const BarReport& report);
// Returns "" if there is no ROM to report.
std::string ToString(const RomReport& report);
std::string ToString(const CapabilityReport& report);

}  // namespace passthru::vfio_pci

#endif  // PASSTHRU_DEVICES_VFIO_PCI_DEVICE_REPORT_H_
