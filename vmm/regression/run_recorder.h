// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_VMM_REGRESSION_RUN_RECORDER_H_
#define PASSTHRU_VMM_REGRESSION_RUN_RECORDER_H_

#include <cstdint>
#include <map>
#include <string_view>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "passthru/devices/kernel/syscalls.h"
#include "passthru/devices/vfio_pci/device_report.h"
#include "passthru/devices/vfio_pci/vfio_pci_device.h"
#include "passthru/pci/bdf.h"
#include "passthru/testing/host/simulated_host.h"
#include "passthru/testing/journal/call_recorder.h"
#include "passthru/vmm/report/phase_recorder.h"
#include "passthru/vmm/report/run_report.pb.h"
#include "passthru/vmm/report/timeline.h"
#include "passthru/vmm/vcpu_runner.h"

namespace passthru::vmm {

// Records a regression run for a page or a trace. The run's transcript is the
// same without it. The sections of the transcript are the phases.
//
// Begin() and End() belong to the thread that runs the regression at the time.
class RunRecorder {
 public:
  // Both must outlive this object.
  RunRecorder(fake::SimulatedHost* host, Timeline* timeline);
  ~RunRecorder();
  RunRecorder(const RunRecorder&) = delete;
  RunRecorder& operator=(const RunRecorder&) = delete;

  // The kernel that the run must call.
  kernel::Syscalls* syscalls() { return &calls_; }
  Timeline& timeline() { return *timeline_; }

  // Begins a phase, after a look at the device, which may be null.
  void Begin(std::string_view phase, const vfio_pci::VfioPciDevice* device);
  // Sets the runner of the vCPU, which may be null.
  void SetRunner(const VcpuRunner* runner);
  // Adds the device to the report, before its detach.
  void AddDevice(pci::Bdf host, pci::Bdf guest,
                 const vfio_pci::VfioPciDevice& device);
  void End() { phases_.End(); }

  RunReport& report() { return report_; }

 private:
  CountsByName Exits() const;
  void Look(const vfio_pci::VfioPciDevice& device);

  fake::SimulatedHost* const host_;
  Timeline* const timeline_;
  journal::CallRecorder calls_;
  RunReport report_;
  PhaseRecorder phases_;
  const VcpuRunner* runner_ = nullptr;
  ExitCounts exits_;  // of the runner that is gone
  // The report with the busiest vectors.
  vfio_pci::DeviceReport busiest_;
  absl::Mutex mutex_;
  // By kind and vector.
  std::map<std::string, std::map<uint32_t, uint64_t>> raised_
      ABSL_GUARDED_BY(mutex_);
};

}  // namespace passthru::vmm

#endif  // PASSTHRU_VMM_REGRESSION_RUN_RECORDER_H_
