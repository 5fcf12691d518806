// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_VFIO_FAKE_VFIO_DEVICE_H_
#define PASSTHRU_TESTING_VFIO_FAKE_VFIO_DEVICE_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "passthru/devices/kernel/syscalls.h"
#include "passthru/pci/bar_index.h"
#include "passthru/pci/bdf.h"
#include "passthru/testing/fixture/device.pb.h"
#include "passthru/testing/kernel/fake_file.h"
#include "passthru/testing/kernel/kernel_core.h"
#include "passthru/testing/kernel/kernel_version.h"
#include "passthru/testing/models/device_model.h"
#include "passthru/testing/models/device_platform.h"
#include "passthru/testing/vfio/bar_memory.h"
#include "passthru/testing/vfio/fake_config.h"
#include "passthru/testing/vfio/fake_group.h"
#include "passthru/testing/vfio/hardware_function.h"
#include "passthru/testing/vfio/io_event_fd.h"
#include "passthru/testing/vfio/vfio_irqs.h"
#include "passthru/testing/vfio/vfio_rules.h"

namespace passthru::fake {

// A DMA access that the platform refused. Linux reports it only in the host's
// log and not to user space. The fake does the same, and lets tests read the
// record.
struct DmaFault {
  enum class Reason {
    kBusMasterOff,  // COMMAND.BusMaster is clear, or not in D0.
    kNoDomain,      // The group is in no container with an IOMMU.
    kUnmapped,
    kPermission,
    kUnpinned,  // Mapped, but the process then unmapped the memory.
  };
  pci::Bdf bdf;
  uint64_t iova = 0;
  uint64_t size = 0;
  bool is_write = false;
  Reason reason = Reason::kUnmapped;
};

std::string_view Name(DmaFault::Reason reason);

class FakeVfioDevice;

// A function of the host, as a reset of its bus finds it.
struct HostFunction {
  pci::Bdf bdf;
  uint32_t group = 0;
  std::string driver;                // Empty if none is bound.
  FakeVfioDevice* device = nullptr;  // Null if only its driver matters.
};

// One function bound to vfio-pci (struct vfio_pci_core_device). It has the
// hardware and, while a descriptor of it is open, the kernel's state of the
// device. It is also the hardware's platform. DMA goes through the container of
// its group, and interrupts through the eventfds of SET_IRQS.
//
// Guarded by the fake kernel's mutex (Thread-compatible).
class FakeVfioDevice final
    : public models::DevicePlatform,
      public std::enable_shared_from_this<FakeVfioDevice> {
 public:
  struct Options {
    KernelCore* core = nullptr;
    fixture::PciDevice fixture;  // Has passed Validate().
    std::unique_ptr<models::DeviceModel> model;
    std::optional<std::string> vf_token;  // See DeviceOptions.
    pci::Bdf bdf;
    std::shared_ptr<FakeGroup> group;
    VfioRules rules;
    bool interrupt_remapping = true;
    bool has_host_irq = true;
    bool msi_control_reads_back = true;
    bool mapped_registers = false;
    uint32_t msi_vectors_available = 32;
    uint32_t msix_vectors_available = 2048;
    // Returns the functions of the host that are in an IOMMU group.
    std::function<std::vector<HostFunction>()> host_functions;
    std::function<void(const DmaFault&)> on_dma_fault;
    VfioIrqs::Listener on_interrupt;
  };

  static absl::StatusOr<std::shared_ptr<FakeVfioDevice>> Create(
      Options options);
  ~FakeVfioDevice() override;

  const pci::Bdf& bdf() const { return options_.bdf; }
  const std::shared_ptr<FakeGroup>& group() const { return options_.group; }
  std::string Describe() const;
  const std::optional<std::string>& vf_token() const {
    return options_.vf_token;
  }
  HardwareFunction& hardware() { return *hardware_; }
  bool Step();

  // Returns a new open file of the device, which the caller installs. The first
  // open enables and resets the function, and makes the kernel's view of it.
  std::shared_ptr<FakeFile> Open();
  bool is_open() const { return !files_.empty(); }

  // Carry out the calls of the device's files.
  kernel::SyscallResult<int> Ioctl(unsigned long request, void* arg);
  kernel::SyscallResult<size_t> Read(void* buffer, size_t count,
                                     uint64_t offset);
  kernel::SyscallResult<size_t> Write(const void* buffer, size_t count,
                                      uint64_t offset);
  kernel::SyscallResult<void*> Mmap(void* address, size_t length,
                                    int protection, int flags, uint64_t offset);
  MappedAccess MappedLoad(uint64_t offset, absl::Span<uint8_t> data);
  MappedAccess MappedStore(uint64_t offset, absl::Span<const uint8_t> data);
  // Carry out the access of a device to a BAR of this one.
  bool PeerLoad(uint64_t offset, absl::Span<uint8_t> data);
  bool PeerStore(uint64_t offset, absl::Span<const uint8_t> data);
  void OnFileReleased(const FakeFile* file);

  // DevicePlatform.
  absl::Status DmaRead(uint64_t iova, absl::Span<uint8_t> data) override;
  absl::Status DmaWrite(uint64_t iova, absl::Span<const uint8_t> data) override;
  void RaiseMsix(uint16_t vector) override;
  void RaiseMsi(uint16_t vector) override;
  void SetIntx(bool asserted) override;
  uint32_t ReadConfig(uint16_t offset, unsigned width) override;
  void ReadBarMemory(pci::BarIndex bar, uint64_t offset,
                     absl::Span<uint8_t> data) override;
  void WriteBarMemory(pci::BarIndex bar, uint64_t offset,
                      absl::Span<const uint8_t> data) override;

  // Sets how many vectors the host can spare (see DeviceOptions).
  void SetVectorsAvailable(uint32_t msi, uint32_t msix);

  // Returns whether a vector of MSI or MSI-X has an eventfd.
  bool IsArmed(uint32_t vector) const {
    return irqs_ != nullptr && irqs_->is_armed(vector);
  }

  // Signal the eventfds for a release request and an uncorrectable error.
  void RequestRelease();
  void ReportError();

  // Goes to D0 like vfio_pci_set_power_state(), if it is open.
  void GoToD0();
  // Resets the function by a secondary bus reset, as part of a hot reset.
  void BusReset();

  // Resets the function like pci_reset_function(), whoever has it. Returns an
  // errno, or 0.
  int ResetFromFile();

  // Returns whether a mapping of a BAR shows the device now.
  bool MemoryIsReachable() const;
  // Returns whether any of these bytes is in a page that holds a part of the
  // MSI-X table or of its pending bits.
  bool IsOnMsixPage(uint32_t bar, uint64_t offset, uint64_t size) const;

  // For the invariants of tests.
  struct Snapshot {
    size_t open_files = 0;
    size_t mappings = 0;
    bool mappings_alive = false;
    bool bus_master = false;
    unsigned power_state = 0;
    uint64_t resets = 0;
    // Guest accesses that reached the MSI-X table through a mapping, which a
    // VMM must never allow.
    uint64_t mapped_msix_table_accesses = 0;
    VfioIrqs::Snapshot irqs;
    size_t ioeventfds = 0;
  };
  Snapshot GetSnapshot() const;

 private:
  explicit FakeVfioDevice(Options options);

  // Do what vfio_pci_core_enable() and vfio_pci_core_disable() do.
  void Enable();
  void Disable();

  // Carry out ioctls. Those that return int return an errno, or 0 on success.
  int GetInfo(void* arg) const;
  int GetRegionInfo(void* arg);
  int GetIrqInfo(void* arg) const;
  kernel::SyscallResult<int> SetIrqs(const void* arg);
  int Reset();
  int GetHotResetInfo(void* arg) const;
  int HotReset(const void* arg);
  int Feature(const void* arg);
  int FeatureOperation(uint32_t feature, uint32_t operation, size_t argsz,
                       const void* data);
  int SetIoEventFd(const void* arg);

  const fixture::Region* FindRegion(uint32_t index) const;
  uint32_t region_count() const;
  // Returns how many bytes of the region can be read, or 0 if there is none.
  uint64_t RegionSize(uint32_t index) const;
  bool rom_is_readable() const;

  // Returns the functions that a reset of the slot or bus resets, the device
  // itself first.
  std::vector<HostFunction> HotResetSet() const;
  // Returns the ways that reset this function alone, in the order in which the
  // kernel tries them.
  std::vector<fixture::Reset::Method> ResetMethods() const;

  void LoadBar(uint32_t index, uint64_t position, absl::Span<uint8_t> data);
  void StoreBar(uint32_t index, uint64_t position,
                absl::Span<const uint8_t> data);
  bool AnswersPeer(uint32_t index, uint64_t position) const;

  // The parts of an access as vfio_pci_core_do_io_rw() makes them.
  enum class PieceKind { kAccess, kExcluded };
  struct IoPiece {
    PieceKind kind = PieceKind::kAccess;
    size_t size = 0;
  };
  IoPiece NextIoPiece(uint32_t index, uint64_t offset, size_t remaining) const;
  kernel::SyscallResult<size_t> BarAccess(uint32_t index, uint64_t offset,
                                          absl::Span<uint8_t> data,
                                          bool is_write);
  kernel::SyscallResult<size_t> RomRead(uint64_t offset,
                                        absl::Span<uint8_t> data) const;
  kernel::SyscallResult<size_t> ExtraRegionAccess(uint32_t index,
                                                  uint64_t offset,
                                                  absl::Span<uint8_t> data,
                                                  bool is_write);

  // Saves, resets and restores the function, like pci_reset_function().
  void ResetFunction(models::ResetKind kind);
  static models::ResetKind KindOf(fixture::Reset::Method method);

  // Delivers an interrupt, or keeps it until Step() if processors reach the
  // registers directly. They would find the old values there.
  void Raise(std::function<void()> deliver);

  // Makes every mapping follow MemoryIsReachable().
  void UpdateMappings();
  void RemapAll(bool alive);
  bool IsMsixTable(uint32_t bar, uint64_t offset, size_t size) const;

  absl::Status Dma(
      uint64_t iova, uint64_t size, bool is_write,
      const std::function<Type1Iommu::Access(const Type1Iommu&)>& access);

  Options options_;
  std::unique_ptr<HardwareFunction> hardware_;
  std::vector<uint8_t> rom_;
  // Memory of device-specific regions, by index.
  std::map<uint32_t, std::unique_ptr<BarMemory>> extra_regions_;
  uint32_t msix_bar_ = ~uint32_t{0};
  uint64_t msix_table_offset_ = 0;
  uint32_t msix_pba_bar_ = ~uint32_t{0};
  uint64_t msix_pba_offset_ = 0;

  bool does_dma_ = false;  // In Dma().

  // Used only while the device is open.
  std::vector<const FakeFile*> files_;
  std::unique_ptr<VfioIrqs> irqs_;
  std::unique_ptr<FakeConfig> config_;
  std::vector<uint8_t> saved_state_;
  std::vector<std::unique_ptr<IoEventFd>> ioeventfds_;
  // How open reset the function, if it could
  // (vfio_pci_core_device.reset_works).
  std::optional<fixture::Reset::Method> reset_at_open_;
  bool low_power_ = false;  // VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY.
  bool mappings_alive_ = false;

  // The interrupts that wait for the mapped registers to show why they come, in
  // order, if processors reach those directly.
  std::vector<std::function<void()>> raised_;

  uint64_t resets_ = 0;
  uint64_t mapped_msix_table_accesses_ = 0;
};

// An open device descriptor.
class DeviceFile final : public PositionedFile {
 public:
  explicit DeviceFile(std::shared_ptr<FakeVfioDevice> device)
      : device_(std::move(device)) {}

  const std::shared_ptr<FakeVfioDevice>& device() const { return device_; }

  std::string Describe() const override { return device_->Describe(); }
  journal::Call DescribeIoctl(unsigned long request,
                              const void* arg) const override;
  std::string_view IoctlName(unsigned long request) const override;
  kernel::SyscallResult<int> Ioctl(unsigned long request, void* arg) override;
  kernel::SyscallResult<size_t> Pread(void* buffer, size_t count,
                                      uint64_t offset) override;
  kernel::SyscallResult<size_t> Pwrite(const void* buffer, size_t count,
                                       uint64_t offset) override;
  kernel::SyscallResult<void*> Mmap(void* address, size_t length,
                                    int protection, int flags,
                                    uint64_t offset) override;
  MappedAccess MappedLoad(uint64_t offset, absl::Span<uint8_t> data) override;
  MappedAccess MappedStore(uint64_t offset,
                           absl::Span<const uint8_t> data) override;
  bool PeerLoad(uint64_t offset, absl::Span<uint8_t> data) override;
  bool PeerStore(uint64_t offset, absl::Span<const uint8_t> data) override;
  // 6.1 knows only groups (vfio_file_is_group()).
  bool IsVfioFile(KernelVersion version) const override {
    return version > KernelVersion::k6_1;
  }
  void OnRelease() override { device_->OnFileReleased(this); }

 private:
  const std::shared_ptr<FakeVfioDevice> device_;
};

}  // namespace passthru::fake

#endif  // PASSTHRU_TESTING_VFIO_FAKE_VFIO_DEVICE_H_
