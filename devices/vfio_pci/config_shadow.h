// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_DEVICES_VFIO_PCI_CONFIG_SHADOW_H_
#define PASSTHRU_DEVICES_VFIO_PCI_CONFIG_SHADOW_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "passthru/devices/vfio_pci/capability_policy.h"
#include "passthru/pci/bar.h"
#include "passthru/pci/capabilities.h"
#include "passthru/pci/config_reg.h"
#include "passthru/pci/config_space.h"
#include "passthru/pci/msi_capability.h"
#include "passthru/pci/msix_capability.h"
#include "passthru/pci/power_management.h"
#include "passthru/pci/registers.h"

namespace passthru::vfio_pci {

// A capability of the device and what the shadow makes of it.
struct CapabilityView {
  bool extended = false;
  uint16_t id = 0;
  uint16_t offset = 0;
  uint16_t size = 0;  // bytes that are treated
  CapabilityTreatment treatment = CapabilityTreatment::kPass;
  std::string reason;
};

// The configuration space of a passed-through function as the guest sees it.
// For every bit it knows whether the value is virtual, kept here, or the
// device's. Virtual are: identity and other constants, I/O and memory decode of
// COMMAND, BARs, the expansion ROM, interrupt line and pin, the capability
// lists, MSI and MSI-X, and whatever the policy hides; the rest is the
// device's, as VFIO presents it.
//
// A BAR reads back what the guest wrote, whatever became of the placement. The
// expansion ROM is not there: its register reads 0. The guest's firmware boots
// from the device's own driver, and an option ROM of the host's platform would
// run code that expects another machine.
//
// It makes no system call: it says which bytes an access must take from or give
// to the device. Hidden capabilities are unlinked, read 0 and swallow writes,
// for vfio-pci passes their bytes on to the hardware unprotected.
//
// Thread-compatible.
class ConfigShadow {
 public:
  struct Options {
    CapabilityPolicy policy;
    bool on_root_bus = true;
    // The BARs, as DecodeBars() has them; addresses are ignored.
    std::vector<pci::Bar> bars;
    bool intx = false;  // show the interrupt pin
    // How many vectors to show, at most; none: the capability is hidden, for
    // the reason given.
    uint16_t msi_vectors = 0;
    uint16_t msix_vectors = 0;
    std::string msi_hidden_reason = "the host cannot give it a vector";
    std::string msix_hidden_reason = "the host cannot give it a vector";
  };

  // `image` is what the device's configuration space read at attach: 256 or
  // 4096 bytes with a type 0 header.
  static absl::StatusOr<ConfigShadow> Create(absl::Span<const uint8_t> image,
                                             Options options);

  size_t size() const { return space_.size(); }

  // --- The guest's accesses. Any offset and width; outside: all ones. ---

  // Must the device be read for any bit of these bytes?
  bool NeedsDevice(uint32_t offset, uint32_t size) const;

  // `device` is what the device read at `offset`; virtual bits are replaced.
  void Merge(uint32_t offset, absl::Span<uint8_t> device) const;

  // Stores what of `bytes` is virtual and writable, byte by byte.
  pci::ConfigWriteResult Write(uint32_t offset,
                               absl::Span<const uint8_t> bytes);

  // The runs of a write's bytes that the device gets, relative to the write:
  // those of which any bit is the device's.
  struct Run {
    uint32_t begin = 0;
    uint32_t size = 0;
    friend bool operator==(const Run&, const Run&) = default;
  };
  std::vector<Run> DeviceRuns(uint32_t offset, uint32_t size) const;

  // May a write of these bytes change what is mapped or trapped: BARs, COMMAND,
  // power state, function level reset? Does not change over the shadow's life.
  bool TouchesTopology(uint32_t offset, uint32_t size) const;

  // Would a write of `bytes` start a function level reset?
  bool StartsReset(uint32_t offset, absl::Span<const uint8_t> bytes) const;

  // Is the power state, or the control word of MSI or MSI-X, among the bytes?
  bool CoversPowerState(uint32_t offset, uint32_t size) const;

  // --- The registers' meaning. ---

  // A virtual register's value; others are what they were at attach.
  template <typename T>
  T Get(pci::ConfigReg<T> reg) const {
    return space_.Get(reg);
  }
  // The implemented BARs with the addresses that their registers hold.
  std::vector<pci::Bar> Bars() const;
  // False if `address` does not fit the BAR's register.
  bool SetBarAddress(pci::BarIndex index, uint64_t address);

  // Of the capability as shown; none if it is hidden or absent.
  const std::optional<pci::MsiCapability>& msi() const { return msi_; }
  const std::optional<pci::MsixCapability>& msix() const { return msix_; }
  pci::MsiState MsiState() const;
  pci::MsixControl MsixControl() const;
  void SetMsiPending(uint32_t pending);

  const std::optional<pci::PowerManagementCapability>& power_management()
      const {
    return power_management_;
  }

  // As a reset leaves the function: no decode, BARs 0, MSI and MSI-X off.
  void Reset();

  const std::vector<CapabilityView>& capabilities() const {
    return capabilities_;
  }
  // What was wrong with the device's lists; they were cut there.
  const std::vector<std::string>& malformed() const { return malformed_; }
  absl::Span<const uint8_t> bytes() const { return space_.bytes(); }

 private:
  explicit ConfigShadow(pci::ConfigSpace space, Options options);

  // Building (config_shadow_build.cc).
  void BuildHeader();
  void BuildBars();
  void BuildCapabilities();
  void BuildExtendedCapabilities();
  void BuildMsi(const pci::Capability& capability);
  void BuildMsix(const pci::Capability& capability);
  void BuildPcie(const pci::Capability& capability);
  CapabilityView Decide(const pci::Capability& capability) const;
  CapabilityView Decide(const pci::ExtendedCapability& capability) const;
  void Hide(const CapabilityView& view);

  // Makes these bytes virtual, with the values they have.
  void Virtualize(uint32_t offset, uint32_t size);
  template <typename T>
  void Fix(pci::ConfigReg<T> reg, T value) {
    space_.Set(reg, value);
    Virtualize(reg.offset, reg.size());
  }

  pci::ConfigSpace space_;
  std::vector<uint8_t> virtual_;   // ones: kept here
  std::vector<uint8_t> topology_;  // per byte: see TouchesTopology()
  Options options_;
  std::optional<pci::MsiCapability> msi_;
  std::optional<pci::MsixCapability> msix_;
  std::optional<pci::PowerManagementCapability> power_management_;
  // The byte that holds "initiate FLR", and the bit in it.
  struct ResetTrigger {
    uint16_t offset;
    uint8_t bit;
  };
  std::vector<ResetTrigger> reset_triggers_;
  std::vector<CapabilityView> capabilities_;
  std::vector<std::string> malformed_;
};

}  // namespace passthru::vfio_pci

#endif  // PASSTHRU_DEVICES_VFIO_PCI_CONFIG_SHADOW_H_
