// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_DEVICES_VFIO_PCI_VFIO_PCI_DEVICE_IMPL_H_
#define PASSTHRU_DEVICES_VFIO_PCI_VFIO_PCI_DEVICE_IMPL_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/types/span.h"
#include "passthru/allocator/gsi.h"
#include "passthru/devices/interrupts/interrupt_budget.h"
#include "passthru/devices/interrupts/msix_vector_group.h"
#include "passthru/devices/kernel/failure_log.h"
#include "passthru/devices/pci_host/pci_function.h"
#include "passthru/devices/vfio/hot_reset.h"
#include "passthru/devices/vfio/vfio_device.h"
#include "passthru/devices/vfio/vfio_irq_index.h"
#include "passthru/devices/vfio_pci/bar_mapper.h"
#include "passthru/devices/vfio_pci/bar_sizing.h"
#include "passthru/devices/vfio_pci/bar_trap.h"
#include "passthru/devices/vfio_pci/capability_policy.h"
#include "passthru/devices/vfio_pci/config_shadow.h"
#include "passthru/devices/vfio_pci/device_events.h"
#include "passthru/devices/vfio_pci/device_report.h"
#include "passthru/devices/vfio_pci/expansion_rom.h"
#include "passthru/devices/vfio_pci/interrupt_mode.h"
#include "passthru/devices/vfio_pci/intx_line.h"
#include "passthru/devices/vfio_pci/msix_layout.h"
#include "passthru/devices/vfio_pci/msix_table_trap.h"
#include "passthru/devices/vfio_pci/vfio_adapters.h"
#include "passthru/devices/vfio_pci/vfio_pci_device.h"
#include "passthru/pci/bar.h"
#include "passthru/pci/bar_index.h"
#include "passthru/pci/bdf.h"
#include "passthru/pci/msix_capability.h"
#include "passthru/pci/power_management.h"

namespace passthru::vfio_pci {

// Implements VfioPciDevice. Its public methods are those of VfioPciDevice,
// which documents them.
class VfioPciDevice::Impl {
 public:
  explicit Impl(Options options);
  ~Impl();

  // The steps of VfioPciDevice::Create(). If one fails, the destructor undoes
  // those before it.
  absl::Status Initialize();

  uint32_t ConfigRead(uint16_t offset, unsigned width);
  void ConfigWrite(uint16_t offset, absl::Span<const uint8_t> bytes);
  void OnUpstreamChange();
  absl::Span<const pci::Bar> bars() const { return bars_; }
  std::optional<pci::Bar> rom() const { return rom_bar_; }
  absl::Status SetBarAddress(pci::BarIndex index, uint64_t address);
  void ReconcileBars();
  absl::Status Detach();
  DeviceReport Describe() const;
  const std::string& name() const { return name_; }
  pci::Bdf host() const { return host_; }

  // Resets all devices of `vm` that are attached, or `only` one of them, which
  // must be attached.
  static absl::Status ResetTargets(absl::Span<Impl* const> vm, Impl* only);

 private:
  // The steps of Initialize(), in order (vfio_pci_device_create.cc). They store
  // what they make in members, so that the destructor can undo a half-made
  // device.
  absl::Status CheckOptions() const;
  absl::Status ReadImage();
  void DecodeBars();
  absl::Status LoadRom();
  absl::StatusOr<std::vector<uint8_t>> ReadRom();
  void CreateVectorGroups();
  uint32_t VectorsToShow(InterruptKind kind, uint32_t device_vectors);
  uint32_t MsixVectorsToShow(const pci::MsixCapability& capability);
  void ReserveVectors(uint32_t& msi, uint32_t& msix);
  void CreateVectorGroup(InterruptKind kind);
  void CreateBars();
  void BringUpIntx();
  absl::Status CreateShadow();
  absl::Status CheckInterrupts();
  void StartInterrupts();
  absl::Status ConnectEvents();

  // Guest accesses (vfio_pci_device_config.cc).
  void WriteTopology(uint16_t offset, absl::Span<const uint8_t> bytes)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(*layout_lock_);
  void WriteLocked(uint16_t offset, absl::Span<const uint8_t> bytes)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void RefreshDecode() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool WriteDevice(uint16_t offset, absl::Span<const uint8_t> bytes)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool ReadDevice(uint16_t offset, absl::Span<uint8_t> data)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Reads what either mutex guards, which the analysis cannot express.
  bool ReadShadow(uint16_t offset,
                  absl::Span<uint8_t> data) ABSL_NO_THREAD_SAFETY_ANALYSIS;
  static bool CoversMsiPending(const ConfigShadow& shadow, uint32_t offset,
                               uint32_t size);
  void RefreshPowerState(pci::PowerState written)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void LeavePowerSaving() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void RefreshMsiPending(uint16_t offset, uint32_t size)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void UpdateInterrupts() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void WriteEnableBit(InterruptKind kind, bool enable)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // Resets (vfio_pci_device_reset.cc).
  enum class ResetCause { kGuest, kMachine };
  // A hot reset as the kernel describes it.
  struct HotReset {
    std::vector<vfio::HotResetDevice> functions;  // which it resets
    std::vector<Impl*> members;                   // those that are attached
    std::vector<int> group_fds;                   // of all functions

    bool IsAttached(pci::Bdf function) const;
  };
  void FindReset();
  absl::StatusOr<HotReset> PlanHotReset(absl::Span<Impl* const> vm) const;
  absl::Status ResetAlone() ABSL_EXCLUSIVE_LOCKS_REQUIRED(*layout_lock_);
  absl::Status ResetTogether(absl::Span<Impl* const> vm,
                             std::vector<Impl*>& done)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(*layout_lock_);
  static absl::Status ResetMembers(std::vector<Impl*> members,
                                   absl::FunctionRef<void()> reset_bus);
  static void ResetNested(absl::Span<Impl* const> members,
                          absl::FunctionRef<void()> reset_bus,
                          absl::Status& first);
  absl::Status ResetRetracted(ResetCause cause,
                              absl::FunctionRef<void()> reset_device)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(*layout_lock_);
  absl::Status CheckAnswers() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool attached() const ABSL_LOCKS_EXCLUDED(mutex_);
  // Tells Clang that the caller holds the layout lock, which all devices of a
  // VM share.
  void AssertLayoutHeld() const ABSL_ASSERT_EXCLUSIVE_LOCK(*layout_lock_) {}

  absl::Status DetachedError() const;
  // Calls `callback` and marks the thread as in it, for Detach().
  std::function<void()> MarkCallback(std::function<void()> callback) const;
  void FillReport(DeviceReport& report) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(*layout_lock_, mutex_);
  // Where the BARs and the expansion ROM should answer. Those that do not
  // decode have no address.
  struct Places {
    BarAddresses bars;
    std::optional<uint64_t> rom;
  };
  Places Decoded(const ConfigShadow& shadow, pci::PowerState power) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Returns whether the device answers at a BAR's or the ROM's address, unless
  // a port above it does not forward that.
  bool Decodes(const pci::Bar& bar, const ConfigShadow& shadow,
               pci::PowerState power) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool Forwarded(const pci::Bar& bar) const;
  // Returns why a BAR that decodes has no place, if that is due to the port.
  std::string WhyNotForwarded(const pci::Bar& bar) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Call Retract() and Place() of the BARs and of the ROM.
  absl::Status Retract(const Places& desired)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(*layout_lock_) ABSL_LOCKS_EXCLUDED(mutex_);
  void Place(const Places& desired) ABSL_EXCLUSIVE_LOCKS_REQUIRED(*layout_lock_)
      ABSL_LOCKS_EXCLUDED(mutex_);
  RomReport DescribeRom() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(*layout_lock_)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  VectorGroupReport DescribeGroup(InterruptKind kind) const;

  // Announces that the caller will acquire the layout lock, which belongs to
  // the VM. Detach() waits for all of them, so that the VM may be destroyed
  // when it returns. False if Detach() has returned or does not wait any more.
  class LayoutUse {
   public:
    explicit LayoutUse(const Impl* device);
    ~LayoutUse();
    LayoutUse(const LayoutUse&) = delete;
    LayoutUse& operator=(const LayoutUse&) = delete;

    explicit operator bool() const { return device_ != nullptr; }

   private:
    const Impl* device_;  // null if false
  };

  // The MSI or MSI-X vectors that the device has and that the guest is shown.
  struct Vectors {
    uint16_t device = 0;
    uint16_t shown = 0;
    std::string limited_by;  // why fewer are shown, or none
    // Not OK if none are shown because the host lacks something.
    absl::Status unavailable;
    std::unique_ptr<vfio::VfioIrqIndex> host;
    std::unique_ptr<interrupts::MsixVectorGroup> group;
  };

  // Immutable after Create().
  Options options_;  // without the device
  memory::LayoutLock* const layout_lock_;
  std::string name_;
  const pci::Bdf host_;
  kernel::FailureLog failures_;
  std::unique_ptr<vfio::VfioDevice> device_;  // until Detach()
  std::unique_ptr<VfioRegions> regions_;
  std::vector<uint8_t> image_;  // the configuration space at attach
  std::vector<pci::Bar> bars_;
  std::optional<pci::Bar> rom_bar_;    // if the guest is shown a ROM
  bool rom_readable_ = false;          // whether VFIO offers the device's own
  std::vector<std::string> problems_;  // defects of the device
  ResetReport reset_;
  // The device's own capability, whether or not the guest is shown it.
  std::optional<pci::MsixCapability> device_msix_;
  // Where the guest finds the structures. Empty if there is no place for them.
  std::optional<MsixLayout> msix_layout_;
  std::string intx_hidden_reason_;
  absl::Status intx_failure_;  // of the call that should have turned INTx on
  // Why no interrupt of the device can reach the guest, if none can.
  std::string no_interrupts_reason_;
  interrupts::InterruptBudget::Reservation reservation_;
  Vectors msi_;
  Vectors msix_;
  std::unique_ptr<MsixTableTrap> msix_table_;
  std::unique_ptr<VfioIntxHost> intx_host_;
  std::unique_ptr<IntxLine> intx_;
  std::vector<std::shared_ptr<BarTrap>> traps_;
  std::unique_ptr<DeviceEvent> request_event_;
  std::unique_ptr<DeviceEvent> error_event_;

  mutable absl::Mutex mutex_ ABSL_ACQUIRED_AFTER(*layout_lock_);
  std::unique_ptr<BarMapper> mapper_ ABSL_PT_GUARDED_BY(*layout_lock_);
  // The shadow and detached_ change only under both mutexes, so either of them
  // suffices to read. No system call is made under shadow_mutex_, and no other
  // lock is taken, so a read that the shadow answers never waits for a call
  // that another access makes.
  mutable absl::Mutex shadow_mutex_ ABSL_ACQUIRED_AFTER(mutex_);
  std::unique_ptr<ExpansionRom> rom_ ABSL_PT_GUARDED_BY(*layout_lock_);
  std::optional<ConfigShadow> shadow_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<InterruptMode> mode_ ABSL_PT_GUARDED_BY(mutex_);
  pci::PowerState power_state_ ABSL_GUARDED_BY(mutex_) = pci::PowerState::kD0;
  // A write to COMMAND failed, or the device does not decode memory although it
  // should. No BAR answers while this is set.
  bool command_lost_ ABSL_GUARDED_BY(mutex_) = false;
  BarSizing sizing_ ABSL_GUARDED_BY(mutex_);
  // The steps of Detach(). The first thread that calls it claims it. From
  // detached_ on, which is set under the layout lock too, nothing reaches the
  // device. From closed_ on, nothing acquires the layout lock.
  bool claimed_ ABSL_GUARDED_BY(mutex_) = false;
  bool detached_ ABSL_GUARDED_BY(mutex_) = false;
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
  bool detach_ended_ ABSL_GUARDED_BY(mutex_) = false;
  mutable int layout_uses_ ABSL_GUARDED_BY(mutex_) = 0;
  // What Describe() returns when closed_ is set.
  DeviceReport last_report_ ABSL_GUARDED_BY(mutex_);
  ConfigCounters counters_ ABSL_GUARDED_BY(mutex_);
  std::atomic<uint64_t> shadow_reads_ = 0;
  uint64_t resets_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace passthru::vfio_pci

#endif  // PASSTHRU_DEVICES_VFIO_PCI_VFIO_PCI_DEVICE_IMPL_H_
