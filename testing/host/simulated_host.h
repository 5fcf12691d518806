// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_HOST_SIMULATED_HOST_H_
#define PASSTHRU_TESTING_HOST_SIMULATED_HOST_H_

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "passthru/pci/bdf.h"
#include "passthru/testing/fixture/device.pb.h"
#include "passthru/testing/host/fake_kernel.h"
#include "passthru/testing/host/invariants.h"
#include "passthru/testing/models/device_model.h"
#include "passthru/testing/vfio/fake_vfio.h"

namespace passthru::fake {

// A host with devices in it: the simulated kernel, its VFIO, and the hardware
// of fixtures with the behaviour that they name, and the invariants of passing
// them through. What most tests, and the demo, start from.
//
// Thread-safe as its parts are. Must outlive what uses kernel().
class SimulatedHost {
 public:
  struct Options {
    FakeKernel::Options kernel;
    FakeVfio::Options vfio;
    // Whether the end of the host ends the process too if an invariant was
    // broken and nobody took the violation.
    bool enforce_invariants = true;
  };
  SimulatedHost() : SimulatedHost(Options()) {}
  explicit SimulatedHost(Options options);
  // Stops guests and devices, which reach into one another.
  ~SimulatedHost();

  SimulatedHost(const SimulatedHost&) = delete;
  SimulatedHost& operator=(const SimulatedHost&) = delete;

  // Loads a fixture and plugs the device in, with the model that it names.
  // Returns where it is.
  absl::StatusOr<pci::Bdf> AddFixture(const std::string& path,
                                      DeviceOptions options = {});

  FakeKernel& kernel() { return kernel_; }
  FakeVfio& vfio() { return vfio_; }
  // Watches the kernel's user from the beginning.
  Invariants& invariants() { return invariants_; }

 private:
  const bool enforce_invariants_;
  FakeKernel kernel_;
  FakeVfio vfio_;
  Invariants invariants_;
};

// The model of that name (PciDevice.model); null for the empty name.
// kInvalidArgument for one that is not known, with those that are.
absl::StatusOr<std::unique_ptr<models::DeviceModel>> MakeModel(
    const fixture::PciDevice& device);

}  // namespace passthru::fake

#endif  // PASSTHRU_TESTING_HOST_SIMULATED_HOST_H_
