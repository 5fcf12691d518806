// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_KVM_FAKE_VCPU_H_
#define PASSTHRU_TESTING_KVM_FAKE_VCPU_H_

#include <linux/kvm.h>
#include <signal.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "passthru/devices/kernel/syscalls.h"
#include "passthru/testing/guest/guest_cpu.h"
#include "passthru/testing/kernel/kernel_core.h"

namespace passthru::fake {

// How often vCPUs left guest mode, by reason, and what they did without.
struct FakeExitCounts {
  uint64_t mmio_reads = 0;
  uint64_t mmio_writes = 0;
  uint64_t io_reads = 0;
  uint64_t io_writes = 0;
  uint64_t halts = 0;
  uint64_t shutdowns = 0;
  uint64_t interrupted = 0;  // EINTR: a signal, or immediate_exit.
  uint64_t faults = 0;       // EFAULT: a slot with nothing behind it.

  // No exits: accesses that a slot took, and those of them that a mapped
  // device register saw; stores that an ioeventfd took.
  uint64_t memory_accesses = 0;
  uint64_t register_accesses = 0;
  uint64_t ioeventfds = 0;

  uint64_t total() const {
    return mmio_reads + mmio_writes + io_reads + io_writes + halts + shutdowns +
           interrupted + faults;
  }
  FakeExitCounts& operator+=(const FakeExitCounts& other);
};

// What a vCPU asks of its VM, under the fake kernel's mutex.
class VcpuPlatform {
 public:
  virtual ~VcpuPlatform() = default;

  // Where a slot has this guest-physical byte, nullopt for a miss (MMIO).
  struct Backing {
    uint64_t host_address = 0;
    bool read_only = false;
  };
  virtual std::optional<Backing> Translate(uint64_t guest_address) = 0;

  // Whether an ioeventfd took the store.
  virtual bool OnUnbackedWrite(bool pio, uint64_t address, unsigned width,
                               uint64_t value) = 0;

  // Whether HLT waits inside KVM_RUN.
  virtual bool InterruptsInKernel() const = 0;

  // How long WaitForInterrupt() waits before it says that none comes.
  virtual absl::Duration WaitLimit() const = 0;

  // One step of hardware work, false when idle. Time passes for devices while
  // the guest loads and waits.
  virtual bool StepHardware() = 0;
};

// One vCPU of the fake KVM: KVM_RUN on one side, a GuestProgram on the other.
//
// The program runs on a thread of its own, but only while some thread is in
// Run() (KVM_RUN): each access waits for that, and an exit hands control over
// and waits for the next KVM_RUN, with which the kernel takes the result out of
// struct kvm_run, as Linux does.
//
// A store or load is looked up in the memory slots page by page. A hit is
// carried out on the slot's host memory, or by the device model behind a mapped
// BAR, without an exit; on memory that is gone it fails KVM_RUN with EFAULT and
// is tried again at the next one. A miss, and a store to a read-only slot,
// exits.
//
// Run() may be called by any thread, one at a time. The GuestCpu half is the
// guest thread's. The rest is called with the fake kernel's mutex held.
class FakeVcpu final : public guest::GuestCpu,
                       public std::enable_shared_from_this<FakeVcpu> {
 public:
  struct Options {
    KernelCore* core = nullptr;
    VcpuPlatform* platform = nullptr;  // Outlives Stop().
    unsigned id = 0;
    // Fetches the program at the first KVM_RUN that finds one.
    std::function<guest::GuestProgram()> program;
  };
  static kernel::SyscallResult<std::shared_ptr<FakeVcpu>> Create(
      Options options);
  ~FakeVcpu() override;

  // KVM_RUN. Takes the mutex itself and never holds it while the guest runs.
  kernel::SyscallResult<int> Run();

  // mmap(2) of the vCPU's descriptor.
  kernel::SyscallResult<void*> MapRun(void* address, size_t length,
                                      int protection, int flags,
                                      uint64_t offset);

  // A message reached the local APIC.
  void Inject(const guest::GuestInterrupt& interrupt);

  // Whether there is software that can take interrupts: a program.
  bool HasSoftware() const;

  // Ends the guest: it runs on without a platform until it returns. The thread
  // to be joined, without the mutex; not joinable when there was none.
  std::thread Stop();

  // What the program returned.
  std::optional<absl::Status> guest_status() const;
  const FakeExitCounts& counts() const;
  unsigned id() const { return options_.id; }

  kvm_regs& regs() { return regs_; }
  kvm_sregs& sregs() { return sregs_; }
  bool has_run() const { return has_run_; }

  // GuestCpu.
  uint64_t Load(uint64_t address, unsigned width) override;
  void Store(uint64_t address, unsigned width, uint64_t value) override;
  uint32_t In(uint16_t port, unsigned width) override;
  void Out(uint16_t port, unsigned width, uint32_t value) override;
  std::optional<guest::GuestInterrupt> WaitForInterrupt() override;
  bool Stopping() const override { return stopping_.load(); }

 private:
  enum class State {
    kOutside,  // Nobody is in KVM_RUN: the guest stands still.
    kRunning,  // Somebody is, and the guest runs.
    kExited,   // The guest left; KVM_RUN has not noticed yet.
  };
  FakeVcpu(Options options, int run_fd, int exit_fd, kvm_run* run);

  // KVM_RUN's half.
  //
  // The answer, if there is one without the guest running.
  std::optional<kernel::SyscallResult<int>> Enter()
      ABSL_LOCKS_EXCLUDED(core_->mutex);
  // `signals` is the mask of those not let through.
  kernel::SyscallResult<int> WaitForExit(const sigset_t& signals)
      ABSL_LOCKS_EXCLUDED(core_->mutex);
  void CompleteExit() ABSL_EXCLUSIVE_LOCKS_REQUIRED(core_->mutex);
  void StartGuest() ABSL_EXCLUSIVE_LOCKS_REQUIRED(core_->mutex);

  // The guest's half.
  void RunGuest(const guest::GuestProgram& program);
  bool CallAfterStop();
  bool AwaitGuestMode() ABSL_EXCLUSIVE_LOCKS_REQUIRED(core_->mutex);
  // Leaves guest mode with run_ filled in, or with an errno, and returns in
  // guest mode again; false when the VM stops instead.
  bool Exit(uint32_t reason) ABSL_EXCLUSIVE_LOCKS_REQUIRED(core_->mutex);
  bool ExitWithError(int error) ABSL_EXCLUSIVE_LOCKS_REQUIRED(core_->mutex);
  void LeaveGuestMode() ABSL_EXCLUSIVE_LOCKS_REQUIRED(core_->mutex);

  // Within one page.
  bool LoadFragment(uint64_t address, absl::Span<uint8_t> data)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(core_->mutex);
  bool StoreFragment(uint64_t address, absl::Span<const uint8_t> data)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(core_->mutex);
  bool LoadBacked(uint64_t host_address, absl::Span<uint8_t> data)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(core_->mutex);
  bool StoreBacked(uint64_t host_address, absl::Span<const uint8_t> data)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(core_->mutex);
  bool MmioExit(uint64_t address, absl::Span<uint8_t> data, bool is_write)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(core_->mutex);
  bool IoExit(uint16_t port, absl::Span<uint8_t> data, bool is_write)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(core_->mutex);

  const Options options_;
  KernelCore* const core_;
  const int run_fd_;   // The memory of struct kvm_run.
  const int exit_fd_;  // An eventfd: readable when the guest left.
  kvm_run* const run_;

  absl::Mutex run_mutex_ ABSL_ACQUIRED_BEFORE(core_->mutex);
  std::atomic<bool> stopping_ = false;
  uint64_t calls_after_stop_ = 0;  // The guest thread's.

  absl::CondVar changed_;  // State, stopping, or an interrupt came.
  State state_ ABSL_GUARDED_BY(core_->mutex) = State::kOutside;
  int exit_error_ ABSL_GUARDED_BY(core_->mutex) = 0;
  // The exit whose result the next KVM_RUN takes: bytes in run_.
  absl::Span<const uint8_t> pending_result_ ABSL_GUARDED_BY(core_->mutex);
  uint8_t result_[8] ABSL_GUARDED_BY(core_->mutex) = {};
  std::deque<guest::GuestInterrupt> interrupts_ ABSL_GUARDED_BY(core_->mutex);
  bool finished_ ABSL_GUARDED_BY(core_->mutex) = false;
  std::optional<absl::Status> guest_status_ ABSL_GUARDED_BY(core_->mutex);
  FakeExitCounts counts_ ABSL_GUARDED_BY(core_->mutex);
  std::thread guest_ ABSL_GUARDED_BY(core_->mutex);

  // The vCPU's ioctls are serialized by the fake kernel's mutex.
  kvm_regs regs_{};
  kvm_sregs sregs_{};
  bool has_run_ = false;
};

}  // namespace passthru::fake

#endif  // PASSTHRU_TESTING_KVM_FAKE_VCPU_H_
