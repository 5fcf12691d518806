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
  uint64_t faults = 0;  // EFAULT of KVM_RUN, see on_memory_fault

  uint64_t total() const {
    return io_reads + io_writes + mmio_reads + mmio_writes + interrupted +
           faults;
  }
  friend bool operator==(const ExitCounts&, const ExitCounts&) = default;
};

// The exit loop of one vCPU. Through it the VMM handles every guest access that
// does not reach memory.
//
// One thread may call Run(). Any thread may call Stop() and counts().
class VcpuRunner {
 public:
  struct Options {
    kvm::KvmVcpu* vcpu = nullptr;
    bus::Bus* mmio = nullptr;
    bus::Bus* pio = nullptr;
    // Run() calls this when the guest accessed a memory slot without host
    // memory, because a device left D0 or lost its memory decode without the
    // VMM's doing. The function should make the code that maps BARs remove such
    // slots. Run() fails if this is not set or if the error recurs at once.
    std::function<void()> on_memory_fault;
    // Run() calls this after it has handled an exit, whose data then include
    // what a read answered. May be null.
    std::function<void(const kvm::VcpuExit&)> on_handled;
  };
  explicit VcpuRunner(Options options);

  VcpuRunner(const VcpuRunner&) = delete;
  VcpuRunner& operator=(const VcpuRunner&) = delete;

  // Runs the vCPU until the guest shuts down (by a triple fault or the end of a
  // guest program) or Stop() is called. Returns an error that says why if the
  // vCPU cannot go on.
  absl::Status Run();

  // Makes Run() return soon, even if the vCPU is halted in the kernel, and
  // makes every later Run() return at once. It sends KickSignal() to the thread
  // in Run().
  void Stop();
  // Returns the signal that Stop() sends. The first VcpuRunner installs an
  // empty handler for it.
  static int KickSignal();

  ExitCounts counts() const;

 private:
  // Handles an exit and returns whether Run() should enter the guest again.
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

  // Records which thread is in Run(), so that Stop() can signal it.
  class ThreadInRun;

  const Options options_;
  std::atomic<bool> stop_ = false;
  absl::Mutex thread_mutex_;
  std::optional<pthread_t> thread_ ABSL_GUARDED_BY(thread_mutex_);
  AtomicCounts counts_;
};

}  // namespace passthru::vmm

#endif  // PASSTHRU_VMM_VCPU_RUNNER_H_
