// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_VMM_VCPU_RUNNER_H_
#define PASSTHRU_VMM_VCPU_RUNNER_H_

#include <pthread.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "passthru/devices/bus/bus.h"
#include "passthru/devices/kvm/kvm_vcpu.h"

namespace passthru::vmm {

// How often and why a vCPU left guest mode.
struct ExitCounts {
  uint64_t io_reads = 0;
  uint64_t io_writes = 0;
  uint64_t mmio_reads = 0;
  uint64_t mmio_writes = 0;
  uint64_t interrupted = 0;
  uint64_t faults = 0;  // KVM_RUN: EFAULT, see VcpuRunner::Options

  uint64_t total() const {
    return io_reads + io_writes + mmio_reads + mmio_writes + interrupted +
           faults;
  }
  friend bool operator==(const ExitCounts&, const ExitCounts&) = default;
};

// The exit loop of one vCPU: here every guest access that is not to memory
// enters the VMM.
//
// Run() is called by one thread; Stop() and counts() by any.
class VcpuRunner {
 public:
  struct Options {
    kvm::KvmVcpu* vcpu = nullptr;
    bus::Bus* mmio = nullptr;
    bus::Bus* pio = nullptr;
    // Called when the guest touched a slot whose memory is gone (a device left
    // D0 or its decode was turned off behind our back). Whoever maps BARs takes
    // such slots away. Without it, or when the fault comes again at once, Run()
    // fails.
    std::function<void()> on_memory_fault;
  };
  explicit VcpuRunner(Options options);

  VcpuRunner(const VcpuRunner&) = delete;
  VcpuRunner& operator=(const VcpuRunner&) = delete;

  // Until the guest shuts down (a triple fault, the end of a guest program) or
  // Stop(). Fails when the vCPU cannot go on, and says why.
  absl::Status Run();

  // Makes Run() return soon, also when the vCPU is halted in the kernel: the
  // thread in Run() gets a signal of no effect (KickSignal()), whose handler is
  // installed by the first VcpuRunner. For good: a later Run() returns at once.
  void Stop();
  static int KickSignal();

  ExitCounts counts() const;

 private:
  // Whether to go on.
  absl::StatusOr<bool> Handle(const kvm::VcpuExit& exit);
  void HandleIo(const kvm::IoExit& exit);
  void HandleMmio(const kvm::MmioExit& exit);

  struct AtomicCounts {
    std::atomic<uint64_t> io_reads = 0;
    std::atomic<uint64_t> io_writes = 0;
    std::atomic<uint64_t> mmio_reads = 0;
    std::atomic<uint64_t> mmio_writes = 0;
    std::atomic<uint64_t> interrupted = 0;
    std::atomic<uint64_t> faults = 0;
  };

  // Marks the thread that is in Run(), for Stop() to signal.
  class ThreadInRun;

  const Options options_;
  std::atomic<bool> stop_ = false;
  absl::Mutex thread_mutex_;
  std::optional<pthread_t> thread_ ABSL_GUARDED_BY(thread_mutex_);
  AtomicCounts counts_;
};

}  // namespace passthru::vmm

#endif  // PASSTHRU_VMM_VCPU_RUNNER_H_
