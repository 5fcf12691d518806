// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_DEVICES_VFIO_PCI_CONFIG_SHADOW_H_
#define PASSTHRU_DEVICES_VFIO_PCI_CONFIG_SHADOW_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "passthru/devices/vfio_pci/capability_policy.h"
#include "passthru/devices/vfio_pci/identity.h"
#include "passthru/pci/bar.h"
#include "passthru/pci/capabilities.h"
#include "passthru/pci/config_reg.h"
#include "passthru/pci/config_space.h"
#include "passthru/pci/msi_capability.h"
#include "passthru/pci/msix_capability.h"
#include "passthru/pci/pcie_capability.h"
#include "passthru/pci/power_management.h"
#include "passthru/pci/registers.h"

namespace passthru::vfio_pci {

// A capability of the device and how the shadow treats it.
struct CapabilityView {
  bool extended = false;
  uint16_t id = 0;
  uint16_t offset = 0;
  uint16_t size = 0;  // number of bytes treated so
  CapabilityTreatment treatment = CapabilityTreatment::kPass;
  std::string reason;
  bool by_vmm = false;  // by a rule of the VMM's own
};

// Bytes of which the guest may read something else than the device answers, and
// why.
struct RegisterView {
  uint16_t offset = 0;
  uint16_t size = 0;
  std::string reason;   // a clause, e.g. "the guest places its BARs"
  bool by_vmm = false;  // by the wish of the VMM

  friend bool operator==(const RegisterView&, const RegisterView&) = default;
};

// The configuration space of a passed-through function as the guest sees it.
// It knows for every bit whether the value is virtual, which means stored here,
// or the device's. The virtual bits are identity and other constants, I/O and
// memory decode of COMMAND, BARs, the expansion ROM, interrupt line and pin,
// the capability lists, MSI and MSI-X, and whatever the policy hides. All other
// bits are the device's, as VFIO presents them.
//
// A BAR reads back what the guest wrote, whether or not it could be placed
// there. So does the register of the expansion ROM, if one is shown. If not,
// the register reads 0.
//
// A function looks as it must where the guest finds it (`on_root_bus`), as in
// QEMU (vfio_setup_pcie_cap()). On the root bus an Endpoint becomes one that is
// integrated into the root complex and has no link, and a Legacy Endpoint,
// which has no place there, loses its PCI Express capability. Below a port an
// integrated endpoint becomes an Endpoint with a link of the lowest speed. A
// PCI Express capability of version 0 is shown as one of version 1.
//
// The shadow makes no system call. It tells which bytes of an access must be
// read from the device or written to it. Capabilities that the policy hides are
// unlinked, read 0 and ignore writes. Capabilities that vfio-pci itself hides
// are unknown to the shadow, and vfio-pci passes accesses to their bytes on to
// the hardware unprotected (vfio_raw_config_write()). The policy can make those
// in extended configuration space read-only.
//
// Thread-compatible.
class ConfigShadow {
 public:
  struct Options {
    CapabilityPolicy policy;
    bool on_root_bus = true;
    // The implemented BARs. Their addresses are ignored.
    std::vector<pci::Bar> bars;
    // The expansion ROM to show. Its address is ignored.
    std::optional<pci::Bar> rom;
    IdentityOverride identity;
    bool intx = false;  // show the interrupt pin
    std::string intx_hidden_reason = "the VMM wires no interrupt pin";
    std::string rom_hidden_reason = "the VMM shows no ROM";
    // The most vectors to show. 0 hides the capability for the reason below.
    uint16_t msi_vectors = 0;
    uint16_t msix_vectors = 0;
    // Where the guest is told the MSI-X PBA is, if not where the device says.
    std::optional<pci::MsixLocation> msix_pba;
    std::string msi_hidden_reason = "the host cannot give it a vector";
    std::string msix_hidden_reason = "the host cannot give it a vector";
  };

  // `image` holds the device's configuration space as read at attach, 256 or
  // 4096 bytes. Returns kUnimplemented if its header is not of type 0.
  static absl::StatusOr<ConfigShadow> Create(absl::Span<const uint8_t> image,
                                             Options options);

  size_t size() const { return space_.size(); }

  // --- Guest accesses of any offset and width. Outside reads are all ones. ---

  // Returns whether any bit of these bytes must be read from the device.
  bool NeedsDevice(uint32_t offset, uint32_t size) const;

  // Replaces the virtual bits of `device`, which the caller read from the
  // device at `offset`.
  void Merge(uint32_t offset, absl::Span<uint8_t> device) const;

  // Stores the virtual and writable bits of `bytes`, byte by byte.
  pci::ConfigWriteResult Write(uint32_t offset,
                               absl::Span<const uint8_t> bytes);

  // Bytes of a write that go to the device, because each has a bit that is the
  // device's and that the policy lets the guest write. `begin` is relative to
  // the write.
  struct Run {
    uint32_t begin = 0;
    uint32_t size = 0;
    friend bool operator==(const Run&, const Run&) = default;
  };
  std::vector<Run> DeviceRuns(uint32_t offset, uint32_t size) const;

  // Returns whether a write of these bytes may change what is mapped or trapped
  // (BARs, COMMAND, power state, function level reset). The answer stays the
  // same for the life of the shadow.
  bool TouchesTopology(uint32_t offset, uint32_t size) const;

  // Returns whether a write of `bytes` would start a function level reset.
  bool StartsReset(uint32_t offset, absl::Span<const uint8_t> bytes) const;

  // Returns whether these bytes include the power state.
  bool CoversPowerState(uint32_t offset, uint32_t size) const;

  // --- Decoded registers. ---

  // Returns the value of a register. Only its virtual bits are kept current.
  template <typename T>
  T Get(pci::ConfigReg<T> reg) const {
    return space_.Get(reg);
  }
  // Returns the implemented BARs with the addresses that their registers hold.
  std::vector<pci::Bar> Bars() const;
  // Returns the expansion ROM with the address and the enable bit that its
  // register holds, if one is shown.
  std::optional<pci::Bar> Rom() const;
  // Returns false if the BAR, or the ROM, is not implemented or its register
  // cannot hold `address`. The enable bit of the ROM stays as it is.
  bool SetBarAddress(pci::BarIndex index, uint64_t address);

  // The capability as shown to the guest. Empty if it is hidden or absent.
  const std::optional<pci::MsiCapability>& msi() const { return msi_; }
  const std::optional<pci::MsixCapability>& msix() const { return msix_; }
  pci::MsiState MsiState() const;
  pci::MsixControl MsixControl() const;
  void SetMsiPending(uint32_t pending);

  const std::optional<pci::PowerManagementCapability>& power_management()
      const {
    return power_management_;
  }

  // Puts the virtual registers into their state after a reset. Nothing decodes,
  // the BARs are 0, and MSI and MSI-X are off.
  void Reset();

  const std::vector<CapabilityView>& capabilities() const {
    return capabilities_;
  }
  // The virtual bytes, in the order in which they were decided. Of entries for
  // the same byte, the last one tells why it is what it is.
  const std::vector<RegisterView>& registers() const { return registers_; }
  // The defects found in the device's lists, which end there for the guest.
  const std::vector<std::string>& malformed() const { return malformed_; }
  absl::Span<const uint8_t> bytes() const { return space_.bytes(); }

 private:
  explicit ConfigShadow(pci::ConfigSpace space, Options options);

  // The steps of Create().
  void BuildHeader();
  void BuildBars();
  void BuildRom();
  void BuildCapabilities();
  void BuildExtendedCapabilities();
  void ProtectUnlisted(absl::Span<const CapabilityView> extended);
  // Emulates what the guest sees of a capability beside its header. `room` is
  // the number of bytes up to the next one.
  void Emulate(const pci::Capability& capability, uint16_t room,
               CapabilityView& view);
  void BuildPowerManagement(const pci::Capability& capability);
  void BuildAdvancedFeatures(const pci::Capability& capability);
  void BuildMsi(const pci::Capability& capability, const CapabilityView& view);
  void BuildMsix(const pci::Capability& capability, const CapabilityView& view);
  // `room` is the number of bytes to the next capability. Changes the reason in
  // `view` if the function cannot look as it must.
  void BuildPcie(const pci::Capability& capability, uint16_t room,
                 CapabilityView& view);
  void RemoveLink(const pci::PcieCapability& pcie);
  void InventLink(const pci::PcieCapability& pcie);
  CapabilityView Decide(const pci::Capability& capability) const;
  CapabilityView Decide(const pci::ExtendedCapability& capability) const;
  void Hide(const CapabilityView& view);

  // Makes these bytes virtual, with their current values. `reason` is for
  // registers().
  void Virtualize(uint32_t offset, uint32_t size, std::string_view reason,
                  bool by_vmm = false);
  template <typename T>
  void Fix(pci::ConfigReg<T> reg, T value, std::string_view reason) {
    space_.Set(reg, value);
    Virtualize(reg.offset, reg.size(), reason);
  }
  void Explain(uint32_t offset, uint32_t size, std::string_view reason,
               bool by_vmm = false);

  pci::ConfigSpace space_;
  std::vector<uint8_t> virtual_;   // a set bit is stored here
  std::vector<uint8_t> no_write_;  // a flag per byte, its writes are dropped
  std::vector<uint8_t> topology_;  // one flag per byte, see TouchesTopology()
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
  std::vector<RegisterView> registers_;
  std::vector<std::string> malformed_;
};

}  // namespace passthru::vfio_pci

#endif  // PASSTHRU_DEVICES_VFIO_PCI_CONFIG_SHADOW_H_
