// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_VFIO_FAKE_VFIO_H_
#define PASSTHRU_TESTING_VFIO_FAKE_VFIO_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "passthru/pci/bdf.h"
#include "passthru/testing/fixture/device.pb.h"
#include "passthru/testing/kernel/kernel_core.h"
#include "passthru/testing/models/device_model.h"
#include "passthru/testing/models/device_platform.h"
#include "passthru/testing/vfio/fake_container.h"
#include "passthru/testing/vfio/fake_group.h"
#include "passthru/testing/vfio/fake_vfio_device.h"
#include "passthru/testing/vfio/type1_iommu.h"
#include "passthru/testing/vfio/vfio_rules.h"

namespace passthru::fake {

// How a captured device is put into the fake machine.
struct DeviceOptions {
  // Where; by default where the fixture was captured.
  std::optional<pci::Bdf> bdf;
  // The IOMMU group; by default the fixture's.
  std::optional<uint32_t> group;
  // False: the machine has no IOMMU in front of the device, and so no group.
  bool has_iommu = true;
  // The host driver bound to it; empty for none.
  std::string driver = "vfio-pci";
  // Its behaviour; null: BARs are plain memory.
  std::unique_ptr<models::DeviceModel> model;
  // The host has an interrupt line for INTx.
  bool has_host_irq = true;
  // How many message vectors the host can spare for it. MSI without interrupt
  // remapping gets 1, whatever this says.
  uint32_t msi_vectors_available = 32;
  uint32_t msix_vectors_available = 2048;
};

// VFIO of one fake kernel: containers, groups, devices, and the IOMMU and PCI
// bus behind them; drivers/vfio and drivers/vfio/pci at the fidelity of their
// errno. It enters /dev/vfio and the devices' sysfs folders into the kernel's
// paths; everything else reaches it through open files.
//
// Not here, and answered as by a kernel that lacks it: iommufd and device
// cdevs, noiommu groups, VGA regions, migration, SR-IOV tokens, dirty bitmaps.
//
// Methods of Subsystem and ForEachContainer() are called with the fake kernel's
// mutex held; all other public methods take it, and must not be called from
// device models. Thread-safe.
class FakeVfio final : public Subsystem {
 public:
  struct Options {
    IommuProperties iommu;
    // See FakeConfig::Options::msi_control_reads_back.
    bool msi_control_reads_back = true;
    // The guest is on a real KVM: see MappedRegisters.
    bool mapped_registers = false;
  };

  // `core` outlives this and everything opened.
  FakeVfio(KernelCore* core, Options options);
  ~FakeVfio() override;
  FakeVfio(const FakeVfio&) = delete;
  FakeVfio& operator=(const FakeVfio&) = delete;

  // Plugs a device in. The fixture is validated first. ALREADY_EXISTS if there
  // is a function at that address.
  absl::Status AddDevice(const fixture::PciDevice& fixture,
                         DeviceOptions options = {});

  // Unbinds the driver and binds another (empty: none).
  absl::Status SetDriver(const pci::Bdf& bdf, std::string driver);

  // Subsystem.
  bool Step() override;
  void AppendResources(std::vector<std::string>& resources) const override;

  // What state a device is in.
  absl::StatusOr<FakeVfioDevice::Snapshot> Snapshot(const pci::Bdf& bdf) const;
  // The DMA mappings that the device can reach; empty without a container.
  std::vector<DmaMapping> DmaMappings(const pci::Bdf& bdf) const;
  // Every DMA access that was refused, in order; the journal has them too.
  std::vector<DmaFault> DmaFaults() const;

  // What every container with an IOMMU maps.
  void ForEachContainer(
      absl::FunctionRef<void(const std::string& name,
                             const std::vector<DmaMapping>& mappings)>
          visit) const;

  // Hardware, by hand: what a device model does, for tests that have none.
  // `action` runs with the fake kernel's mutex held.
  absl::Status WithHardware(
      const pci::Bdf& bdf,
      const std::function<void(models::DevicePlatform&)>& action);
  // The host asks the user to release the device (VFIO_PCI_REQ_IRQ_INDEX), or
  // reports an uncorrectable error (VFIO_PCI_ERR_IRQ_INDEX).
  absl::Status RequestRelease(const pci::Bdf& bdf);
  absl::Status ReportError(const pci::Bdf& bdf);
  // The function loses its registers behind the kernel's back.
  absl::Status BackdoorReset(const pci::Bdf& bdf);

 private:
  std::shared_ptr<FakeGroup> GroupNumbered(uint32_t number);
  void AddToGroup(const std::shared_ptr<FakeGroup>& group,
                  FakeGroup::Member member);
  // Makes or removes /dev/vfio/NUMBER.
  void UpdateNode(const FakeGroup& group);
  FakeVfioDevice* Find(const pci::Bdf& bdf) const;
  absl::StatusOr<FakeVfioDevice*> FindOrError(const pci::Bdf& bdf) const;

  KernelCore* const core_;
  const Options options_;
  const VfioRules rules_;
  int containers_made_ = 0;
  std::vector<std::weak_ptr<FakeContainer>> containers_;
  std::map<uint32_t, std::shared_ptr<FakeGroup>> groups_;
  std::map<pci::Bdf, std::shared_ptr<FakeVfioDevice>> devices_;
  std::vector<DmaFault> dma_faults_;
};

}  // namespace passthru::fake

#endif  // PASSTHRU_TESTING_VFIO_FAKE_VFIO_H_
