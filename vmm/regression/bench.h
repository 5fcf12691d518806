// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_VMM_REGRESSION_BENCH_H_
#define PASSTHRU_VMM_REGRESSION_BENCH_H_

#include <cstddef>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "passthru/devices/vfio_pci/vfio_pci_device.h"
#include "passthru/pci/bdf.h"
#include "passthru/testing/guest/guest_cpu.h"
#include "passthru/testing/host/simulated_host.h"
#include "passthru/testing/models/device_platform.h"
#include "passthru/testing/vfio/type1_iommu.h"
#include "passthru/vmm/machine.h"
#include "passthru/vmm/regression/device_facts.h"
#include "passthru/vmm/regression/transcript.h"

namespace passthru::vmm {

// The surroundings of a regression run's guest program, other than its CPU.
// They are the device from the hardware's side and from the VMM's. The
// machine's event loop has no thread and runs in here, so that one thing
// happens after the other and two runs are alike.
//
// Thread-compatible.
class RegressionBench {
 public:
  RegressionBench(fake::SimulatedHost* host, Machine* machine,
                  Transcript* transcript, DeviceFacts* facts)
      : host_(host),
        machine_(machine),
        transcript_(transcript),
        facts_(facts) {}
  RegressionBench(const RegressionBench&) = delete;
  RegressionBench& operator=(const RegressionBench&) = delete;

  // Sets the device, which must be attached. The guest needs it.
  void SetDevice(pci::Bdf host_bdf, pci::Bdf guest_bdf,
                 std::shared_ptr<vfio_pci::VfioPciDevice> device) {
    host_bdf_ = host_bdf;
    guest_bdf_ = guest_bdf;
    device_ = std::move(device);
  }
  void ReleaseDevice() { device_.reset(); }
  // Returns whether the device is set and was not released.
  bool has_device() const { return device_ != nullptr; }

  pci::Bdf guest_bdf() const { return guest_bdf_; }
  vfio_pci::VfioPciDevice& device() const { return *device_; }
  Transcript& transcript() const { return *transcript_; }
  DeviceFacts& facts() const { return *facts_; }
  fake::FakeKvm& kvm() const { return host_->kernel().kvm(); }

  // Returns what the device can reach of the guest's memory.
  std::vector<fake::DmaMapping> DmaMappings() const {
    return host_->vfio().DmaMappings(host_bdf_);
  }

  // Does something on the side of the hardware.
  void Act(const std::function<void(models::DevicePlatform&)>& action) const;

  // Lets the VMM run the callbacks that are due. Returns the messages that
  // reached the guest's local APICs since the last call.
  std::vector<guest::GuestInterrupt> TakeMessages();

 private:
  fake::SimulatedHost* const host_;
  Machine* const machine_;
  Transcript* const transcript_;
  DeviceFacts* const facts_;
  pci::Bdf host_bdf_;
  pci::Bdf guest_bdf_;
  std::shared_ptr<vfio_pci::VfioPciDevice> device_;
  size_t messages_taken_ = 0;
};

}  // namespace passthru::vmm

#endif  // PASSTHRU_VMM_REGRESSION_BENCH_H_
