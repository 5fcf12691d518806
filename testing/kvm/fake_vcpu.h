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
#include "passthru/testing/kvm/fake_kvm_stored_state.h"

namespace passthru::fake {

// How often vCPUs left guest mode, by reason, and how many accesses needed no
// exit.
struct FakeExitCounts {
  uint64_t mmio_reads = 0;
  uint64_t mmio_writes = 0;
  uint64_t io_reads = 0;
  uint64_t io_writes = 0;
  uint64_t halts = 0;
  uint64_t shutdowns = 0;
  uint64_t interrupted = 0;  // EINTR after a signal or immediate_exit.
  uint64_t faults = 0;       // EFAULT because a slot has no memory.

  // Accesses without an exit: those that a slot took, the part of them that a
  // mapped device register took, and stores that an ioeventfd took.
  uint64_t memory_accesses = 0;
  uint64_t register_accesses = 0;
  uint64_t ioeventfds = 0;

  uint64_t total() const {
    return mmio_reads + mmio_writes + io_reads + io_writes + halts + shutdowns +
           interrupted + faults;
  }
  FakeExitCounts& operator+=(const FakeExitCounts& other);
};

// The part of a VM that its vCPUs use. Called under the fake kernel's mutex.
class VcpuPlatform {
 public:
  virtual ~VcpuPlatform() = default;

  // Returns where a slot has this guest-physical byte, or nullopt if no slot
  // has it (MMIO).
  struct Backing {
    uint64_t host_address = 0;
    bool read_only = false;
  };
  virtual std::optional<Backing> Translate(uint64_t guest_address) = 0;

  // Returns whether an ioeventfd took the store.
  virtual bool OnUnbackedWrite(bool pio, uint64_t address, unsigned width,
                               uint64_t value) = 0;

  // Returns whether HLT waits inside KVM_RUN.
  virtual bool InterruptsInKernel() const = 0;

  // Returns how long WaitForInterrupt() waits for an interrupt at most.
  virtual absl::Duration WaitLimit() const = 0;

  // Does one step of hardware work, or returns false if the devices are idle.
  // vCPUs call it so that devices make progress while the guest loads or waits.
  virtual bool StepHardware() = 0;
};

// One vCPU of the fake KVM. It connects KVM_RUN with a GuestProgram.
//
// The program has its own thread, but runs only while some thread is in Run()
// (KVM_RUN). Each access waits for that. An exit hands control to the caller of
// KVM_RUN and waits for the next KVM_RUN. That one takes the result out of
// struct kvm_run, as Linux does.
//
// The vCPU looks loads and stores up in the memory slots page by page. If a
// slot backs the page, the access goes to the slot's host memory, or to the
// device model behind a mapped BAR, without an exit. If that memory was
// unmapped, KVM_RUN fails with EFAULT, and the next KVM_RUN tries the access
// again. An access without a slot, and a store to a read-only slot, exits.
//
// Any thread may call Run(), but only one runs at a time. The methods of
// GuestCpu belong to the guest thread. The others are called with the fake
// kernel's mutex held.
class FakeVcpu final : public guest::GuestCpu,
                       public std::enable_shared_from_this<FakeVcpu> {
 public:
  struct Options {
    KernelCore* core = nullptr;
    VcpuPlatform* platform = nullptr;  // Must outlive Stop().
    unsigned id = 0;
    // Returns the program. Called at each KVM_RUN until it returns one.
    std::function<guest::GuestProgram()> program;
  };
  static kernel::SyscallResult<std::shared_ptr<FakeVcpu>> Create(
      Options options);
  ~FakeVcpu() override;

  // Carries out KVM_RUN. It takes the mutex itself and never holds it while the
  // guest runs.
  kernel::SyscallResult<int> Run();

  // Carries out mmap(2) of the vCPU's descriptor.
  kernel::SyscallResult<void*> MapRun(void* address, size_t length,
                                      int protection, int flags,
                                      uint64_t offset);

  // Gives a message to the local APIC.
  void Inject(const guest::GuestInterrupt& interrupt);

  // Returns whether the vCPU has a program, which can take interrupts.
  bool HasSoftware() const;

  // Ends the guest, whose program runs on without a platform until it returns.
  // Returns the guest's thread, which the caller must join without the mutex.
  // The thread is not joinable if there was none.
  std::thread Stop();

  // Returns the program's result, or nullopt until the program returns.
  std::optional<absl::Status> guest_status() const;
  const FakeExitCounts& counts() const;
  unsigned id() const { return options_.id; }

  kvm_regs& regs() { return regs_; }
  kvm_sregs& sregs() { return sregs_; }
  FakeKvmStoredState& stored_state() { return stored_state_; }
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
    kOutside,  // No thread is in KVM_RUN. The guest waits.
    kRunning,  // A thread is in KVM_RUN. The guest runs.
    kExited,   // The guest exited. KVM_RUN has yet to see it.
  };
  FakeVcpu(Options options, int run_fd, int exit_fd, kvm_run* run);

  // The half of the thread that calls KVM_RUN.
  //
  // Completes the last exit and lets the guest run. Returns the answer of
  // KVM_RUN if the guest must not run.
  std::optional<kernel::SyscallResult<int>> Enter()
      ABSL_LOCKS_EXCLUDED(core_->mutex);
  // `signals` is the mask of blocked signals.
  kernel::SyscallResult<int> WaitForExit(const sigset_t& signals)
      ABSL_LOCKS_EXCLUDED(core_->mutex);
  void CompleteExit() ABSL_EXCLUSIVE_LOCKS_REQUIRED(core_->mutex);
  void StartGuest() ABSL_EXCLUSIVE_LOCKS_REQUIRED(core_->mutex);

  // The half of the guest's thread.
  void RunGuest(const guest::GuestProgram& program);
  bool CallAfterStop();
  bool AwaitGuestMode() ABSL_EXCLUSIVE_LOCKS_REQUIRED(core_->mutex);
  // Leave guest mode with run_ filled in or with an errno, and return in guest
  // mode. Return false if the VM stops instead.
  bool Exit(uint32_t reason) ABSL_EXCLUSIVE_LOCKS_REQUIRED(core_->mutex);
  bool ExitWithError(int error) ABSL_EXCLUSIVE_LOCKS_REQUIRED(core_->mutex);
  void LeaveGuestMode() ABSL_EXCLUSIVE_LOCKS_REQUIRED(core_->mutex);

  // Carry out an access within one page.
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
  const int exit_fd_;  // An eventfd, readable after the guest exits.
  kvm_run* const run_;

  absl::Mutex run_mutex_ ABSL_ACQUIRED_BEFORE(core_->mutex);
  std::atomic<bool> stopping_ = false;
  uint64_t calls_after_stop_ = 0;  // For the guest thread only.

  absl::CondVar changed_;  // New state, stop or interrupt.
  State state_ ABSL_GUARDED_BY(core_->mutex) = State::kOutside;
  int exit_error_ ABSL_GUARDED_BY(core_->mutex) = 0;
  // The bytes in run_ that the next KVM_RUN takes as the result of the exit.
  absl::Span<const uint8_t> pending_result_ ABSL_GUARDED_BY(core_->mutex);
  uint8_t result_[8] ABSL_GUARDED_BY(core_->mutex) = {};
  std::deque<guest::GuestInterrupt> interrupts_ ABSL_GUARDED_BY(core_->mutex);
  bool finished_ ABSL_GUARDED_BY(core_->mutex) = false;
  std::optional<absl::Status> guest_status_ ABSL_GUARDED_BY(core_->mutex);
  FakeExitCounts counts_ ABSL_GUARDED_BY(core_->mutex);
  std::thread guest_ ABSL_GUARDED_BY(core_->mutex);

  // The fake kernel's mutex serializes the vCPU's ioctls.
  kvm_regs regs_{};
  kvm_sregs sregs_{};
  FakeKvmStoredState stored_state_{FakeKvmStoredState::Of::kVcpu};
  bool has_run_ = false;
};

}  // namespace passthru::fake

#endif  // PASSTHRU_TESTING_KVM_FAKE_VCPU_H_
