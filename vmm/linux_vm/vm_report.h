// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_VMM_LINUX_VM_VM_REPORT_H_
#define PASSTHRU_VMM_LINUX_VM_VM_REPORT_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "passthru/devices/kernel/syscalls.h"
#include "passthru/devices/kvm/vcpu_exit.h"
#include "passthru/devices/vfio_pci/device_report.h"
#include "passthru/devices/vfio_pci/vfio_pci_device.h"
#include "passthru/pci/bdf.h"
#include "passthru/testing/journal/call_recorder.h"
#include "passthru/vmm/linux_vm/linux_vm.h"
#include "passthru/vmm/report/phase_recorder.h"
#include "passthru/vmm/report/run_report.pb.h"
#include "passthru/vmm/report/timeline.h"

namespace passthru::vmm {

// The report of one run of a LinuxVm, with its timeline. It needs bounded
// memory however long the VM runs, because the timeline keeps the first and the
// last events, and the rest is counts.
//
// The owner creates it before the VM, which it outlives. Begin() and the last
// four methods belong to the thread that runs the VM.
class VmReport {
 public:
  // The events that the timeline keeps at most.
  static constexpr size_t kMostEvents = 20'000;
  // The devices that were given back last and are in the report.
  static constexpr int kMostDevices = 64;

  struct Options {
    kernel::Syscalls* syscalls = nullptr;
    // The files of simulated devices. Empty for real ones.
    std::map<pci::Bdf, std::string> fixtures;
  };
  explicit VmReport(Options options);
  VmReport(const VmReport&) = delete;
  VmReport& operator=(const VmReport&) = delete;

  // Has a VM of these options report to this object, and call the kernel
  // through it.
  void AddTo(LinuxVm::Options& options);
  // Says which VM that is. Until End() it must live.
  void Watch(LinuxVm* vm) { vm_ = vm; }

  // Records that a simulated device interrupted. Thread-safe.
  void OnInterrupt(const pci::Bdf& host, std::string_view kind,
                   uint32_t vector);

  void Begin(std::string_view phase) { phases_.Begin(phase); }
  void End();
  const RunReport& report() const { return report_; }
  // Returns the report as a page, and the timeline for trace viewers.
  absl::StatusOr<std::string> Html() const;
  std::string Trace() const;

 private:
  CountsByName Exits() const;
  void OnHandled(const kvm::VcpuExit& exit);
  void BeforeDetach(pci::Bdf guest);
  // Looks at the devices if it is time to. A guest that shuts down turns its
  // interrupts off before it ends, so a report from the end alone would not
  // show them.
  void LookNowAndThen();
  void Look(pci::Bdf guest, const vfio_pci::VfioPciDevice& device)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(look_mutex_);
  void CountInterrupts(const pci::Bdf& host);

  const Options options_;
  Timeline timeline_{kMostEvents};
  journal::CallRecorder calls_;
  RunReport report_;
  PhaseRecorder phases_;
  LinuxVm* vm_ = nullptr;
  std::atomic<uint64_t> console_reads_ = 0;
  std::atomic<uint64_t> console_writes_ = 0;
  std::atomic<uint64_t> exits_ = 0;

  // Kernel calls and calls of a device are made with this held.
  absl::Mutex look_mutex_;
  uint64_t exits_at_look_ ABSL_GUARDED_BY(look_mutex_) = 0;
  absl::Time looked_ ABSL_GUARDED_BY(look_mutex_);
  // By guest address, the report with the busiest vectors, and the latest of
  // several.
  std::map<pci::Bdf, vfio_pci::DeviceReport> busiest_
      ABSL_GUARDED_BY(look_mutex_);

  absl::Mutex mutex_;
  // By host address and kind, and then by vector. Of a real device the host
  // knows the vectors of the kind that is in use, which has no name here.
  std::map<std::pair<pci::Bdf, std::string>, std::map<uint32_t, uint64_t>>
      raised_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace passthru::vmm

#endif  // PASSTHRU_VMM_LINUX_VM_VM_REPORT_H_
