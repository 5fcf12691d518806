// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_HOST_SIMULATED_HOST_H_
#define PASSTHRU_TESTING_HOST_SIMULATED_HOST_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "passthru/pci/bdf.h"
#include "passthru/testing/fixture/device.pb.h"
#include "passthru/testing/host/fake_kernel.h"
#include "passthru/testing/host/invariants.h"
#include "passthru/testing/models/device_model.h"
#include "passthru/testing/models/virtio/virtio_net_model.h"
#include "passthru/testing/vfio/fake_vfio.h"

namespace passthru::fake {

// What a model gets that no fixture says.
struct ModelOptions {
  // The size of a disk in memory, a multiple of 512, or 0 for the model's own.
  uint64_t disk_bytes = 0;
  // A disk image instead, or empty.
  std::string disk_file;
  // The serial number of a disk, or empty for the model's own.
  std::string serial_number;
  // The last byte of a network device's MAC address.
  uint8_t mac_tail = 0x56;
};

// A host with devices. It has the simulated kernel, its VFIO, the hardware of
// fixtures with the models that they name, and the invariants of passing
// devices through. Most tests, and the demo, start from it.
//
// Thread-safe as its parts are. Must outlive the users of kernel().
class SimulatedHost {
 public:
  struct Options {
    FakeKernel::Options kernel;
    FakeVfio::Options vfio;
    // Whether the destructor ends the process if an invariant was broken and no
    // caller took the violation.
    bool enforce_invariants = true;
    Invariants::DmaRule dma_rule = Invariants::DmaRule::kAlways;
  };
  SimulatedHost() : SimulatedHost(Options()) {}
  explicit SimulatedHost(Options options);
  // Stops guests and devices, which access one another.
  ~SimulatedHost();

  SimulatedHost(const SimulatedHost&) = delete;
  SimulatedHost& operator=(const SimulatedHost&) = delete;

  // Loads a fixture, plugs the device in with the model that it names or that
  // its class has (see MakeModel()), and returns its address. A model in
  // `options` takes precedence. Disks get different serial numbers, if `model`
  // has none, because a driver takes two that are equal for one (NVMe base 2.0,
  // 4.5.1).
  absl::StatusOr<pci::Bdf> AddFixture(const std::string& path,
                                      DeviceOptions options = {},
                                      const ModelOptions& model = {});

  // Wires two virtio network devices of fixtures back to back, so that what one
  // sends arrives at the other.
  absl::Status Connect(pci::Bdf first, pci::Bdf second);

  // Returns why a device of a fixture has no model, although there is one for
  // its class. Empty if it has one, or if there is none for the class.
  std::string WhyNoModel(pci::Bdf device) const;

  FakeKernel& kernel() { return kernel_; }
  FakeVfio& vfio() { return vfio_; }
  // Watches the kernel from the construction on.
  Invariants& invariants() { return invariants_; }

 private:
  const bool enforce_invariants_;
  FakeKernel kernel_;
  FakeVfio vfio_;
  Invariants invariants_;
  int added_ = 0;  // Fixtures.
  std::map<pci::Bdf, std::string> without_model_;
  // The models of virtio network devices, which vfio_ owns.
  std::map<pci::Bdf, models::virtio::VirtioNetModel*> networks_;
};

// Makes the model that the fixture names (PciDevice.model), or that of its
// class if the fixture names none and WhyNoModel() has nothing against it, or
// null. kInvalidArgument for an unknown name, with the list of known ones, for
// a disk image that cannot be used, and for a disk of a device that has none.
absl::StatusOr<std::unique_ptr<models::DeviceModel>> MakeModel(
    const fixture::PciDevice& device, const ModelOptions& options = {});

// Returns why the model of the class of a function cannot be the function's.
// Empty if it can, or if there is no model for the class.
std::string WhyNoModel(const fixture::PciDevice& device);

}  // namespace passthru::fake

#endif  // PASSTHRU_TESTING_HOST_SIMULATED_HOST_H_
