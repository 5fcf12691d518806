// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_VFIO_FAKE_VFIO_H_
#define PASSTHRU_TESTING_VFIO_FAKE_VFIO_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "passthru/pci/bdf.h"
#include "passthru/testing/fixture/device.pb.h"
#include "passthru/testing/kernel/kernel_core.h"
#include "passthru/testing/models/device_model.h"
#include "passthru/testing/models/device_platform.h"
#include "passthru/testing/vfio/bar_entries.h"
#include "passthru/testing/vfio/fake_container.h"
#include "passthru/testing/vfio/fake_group.h"
#include "passthru/testing/vfio/fake_vfio_device.h"
#include "passthru/testing/vfio/pci_bus_files.h"
#include "passthru/testing/vfio/type1_iommu.h"
#include "passthru/testing/vfio/vfio_rules.h"

namespace passthru::fake {

// How to put a captured device into the fake machine.
struct DeviceOptions {
  // Its address. The default is the fixture's.
  std::optional<pci::Bdf> bdf;
  // Its IOMMU group. The default is the fixture's.
  std::optional<uint32_t> group;
  // False if no IOMMU is in front of the device, which then has no group.
  bool has_iommu = true;
  // The host driver bound to the device, or empty for none.
  std::string driver = "vfio-pci";
  // The device's behaviour. If null, its BARs are plain memory.
  std::unique_ptr<models::DeviceModel> model;
  // For a virtual function whose physical function is bound to vfio-pci, the
  // token that the user of that one set. In lower case.
  std::optional<std::string> vf_token;
  // Whether the host has an interrupt line for INTx.
  bool has_host_irq = true;
  // How many message vectors the host can spare for the device. Without
  // interrupt remapping, MSI gets at most 1.
  uint32_t msi_vectors_available = 32;
  uint32_t msix_vectors_available = 2048;
};

// VFIO of one fake kernel: containers, groups, devices, and the IOMMU and PCI
// bus behind them. It answers errno by errno as drivers/vfio and
// drivers/vfio/pci do. It adds /dev/vfio and the devices' sysfs folders to the
// kernel's paths. Code reaches everything else through open files.
//
// It has no iommufd and device cdevs, noiommu groups, VGA regions, migration or
// dirty bitmaps. It answers for them as a kernel that lacks them.
//
// Thread-safe. The methods of Subsystem and ForEachContainer() are called with
// the fake kernel's mutex held. All other public methods take it, so device
// models must not call them.
class FakeVfio final : public Subsystem {
 public:
  struct Options {
    IommuProperties iommu;
    // See FakeConfig::Options::msi_control_reads_back.
    bool msi_control_reads_back = true;
    // Whether the guest is on a real KVM (see MappedRegisters).
    bool mapped_registers = false;
  };

  // `core` must outlive this object and everything opened.
  FakeVfio(KernelCore* core, Options options);
  ~FakeVfio() override;
  FakeVfio(const FakeVfio&) = delete;
  FakeVfio& operator=(const FakeVfio&) = delete;

  // Validates the fixture and plugs the device in. ALREADY_EXISTS if a device
  // behind an IOMMU is at that address.
  absl::Status AddDevice(const fixture::PciDevice& fixture,
                         DeviceOptions options = {});

  // Unbinds the driver and binds another one, or none if `driver` is empty.
  absl::Status SetDriver(const pci::Bdf& bdf, const std::string& driver);

  // Subsystem.
  bool Step() override;
  void AppendResources(std::vector<std::string>& resources) const override;

  // Returns the state of the device.
  absl::StatusOr<FakeVfioDevice::Snapshot> Snapshot(const pci::Bdf& bdf) const;
  // Returns whether a vector of the device's MSI or MSI-X has an eventfd.
  bool IsArmed(const pci::Bdf& bdf, uint32_t vector) const;
  // Returns the DMA mappings that the device can reach, or none without a
  // container.
  std::vector<DmaMapping> DmaMappings(const pci::Bdf& bdf) const;
  // Returns how many page table entries the mappings of the device's BARs take
  // when all of them are present.
  BarEntries CountBarEntries(const pci::Bdf& bdf) const;
  // Returns every DMA access that was refused, in order. The journal has them
  // too.
  std::vector<DmaFault> DmaFaults() const;

  // Visits every container with an IOMMU.
  void ForEachContainer(
      absl::FunctionRef<void(const FakeContainer& container)> visit) const;

  // Calls `action` with the device's platform, so that a test can act as the
  // device without a model. `action` runs with the fake kernel's mutex held.
  absl::Status WithHardware(
      const pci::Bdf& bdf,
      const std::function<void(models::DevicePlatform&)>& action);
  // Has `listener` told of each interrupt of a device that reaches the kernel
  // (see VfioIrqs::Listener). Null ends that. The listener is called with the
  // fake kernel's mutex held.
  using InterruptListener = std::function<void(
      const pci::Bdf& bdf, std::string_view kind, uint32_t vector)>;
  void SetInterruptListener(InterruptListener listener);
  // Changes DeviceOptions::msi_vectors_available and msix_vectors_available.
  absl::Status SetVectorsAvailable(const pci::Bdf& bdf, uint32_t msi,
                                   uint32_t msix);
  // Signal that the host asks the user to release the device
  // (VFIO_PCI_REQ_IRQ_INDEX), or that an uncorrectable error occurred
  // (VFIO_PCI_ERR_IRQ_INDEX).
  absl::Status RequestRelease(const pci::Bdf& bdf);
  absl::Status ReportError(const pci::Bdf& bdf);
  // Resets the function's registers without telling the kernel.
  absl::Status BackdoorReset(const pci::Bdf& bdf);
  // Makes the function leave the bus at its next reset. From then on its
  // registers and BARs read all ones.
  absl::Status DieAtNextReset(const pci::Bdf& bdf);

 private:
  std::shared_ptr<FakeGroup> GroupNumbered(uint32_t number);
  void AddToGroup(const std::shared_ptr<FakeGroup>& group,
                  FakeGroup::Member member);
  // Adds or removes /dev/vfio/NUMBER.
  void UpdateNode(const FakeGroup& group);
  std::vector<HostFunction> HostFunctions() const;

  // What the files of sysfs do. See PciBusFiles::Machine.
  PciBusFiles::Machine MachineForFiles();
  // Returns the group's member, or null. Sets `group` if it is not null.
  FakeGroup::Member* FindMember(const pci::Bdf& bdf,
                                std::shared_ptr<FakeGroup>* group);
  int BindFromFile(const std::string& address, const std::string& driver);
  int ResetFromFile(const std::string& address);
  void RemoveFromFile(const std::string& address);
  void RestoreFromFile(const std::string& address);
  // Changes the driver without checks.
  bool ApplyDriver(const pci::Bdf& bdf, const std::string& driver);
  FakeVfioDevice* Find(const pci::Bdf& bdf) const;
  absl::StatusOr<FakeVfioDevice*> FindOrError(const pci::Bdf& bdf) const;

  KernelCore* const core_;
  const Options options_;
  const VfioRules rules_;
  int containers_made_ = 0;
  std::vector<std::weak_ptr<FakeContainer>> containers_;
  std::map<uint32_t, std::shared_ptr<FakeGroup>> groups_;
  std::map<pci::Bdf, std::shared_ptr<FakeVfioDevice>> devices_;
  std::set<pci::Bdf> without_iommu_;  // The devices that only sysfs knows.
  // The functions that were removed by their file, with their groups.
  std::map<pci::Bdf, std::pair<uint32_t, FakeGroup::Member>> removed_;
  std::vector<DmaFault> dma_faults_;
  InterruptListener on_interrupt_;
  std::unique_ptr<PciBusFiles> files_;
};

}  // namespace passthru::fake

#endif  // PASSTHRU_TESTING_VFIO_FAKE_VFIO_H_
