// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/kvm/fake_vcpu.h"

#include <linux/kvm.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <thread>
#include <utility>

#include "absl/log/check.h"
#include "absl/log/log.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "passthru/devices/kernel/syscalls.h"
#include "passthru/testing/guest/guest_cpu.h"
#include "passthru/testing/journal/task.h"
#include "passthru/testing/kernel/kernel_core.h"
#include "passthru/testing/kvm/fake_kvm_caps.h"

namespace passthru::fake {
namespace {

using kernel::SyscallResult;

// Blocks all signals for this thread while the object lives, except those that
// the thread itself causes. ppoll() unblocks them. A signal that came after the
// check of immediate_exit then interrupts ppoll(), as it would interrupt a
// guest entry.
class SignalsHeldOff {
 public:
  SignalsHeldOff() {
    sigset_t held;
    sigfillset(&held);
    for (const int synchronous :
         {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS}) {
      sigdelset(&held, synchronous);
    }
    pthread_sigmask(SIG_SETMASK, &held, &before_);
  }
  SignalsHeldOff(const SignalsHeldOff&) = delete;
  SignalsHeldOff& operator=(const SignalsHeldOff&) = delete;
  ~SignalsHeldOff() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

  const sigset_t& before() const { return before_; }

 private:
  sigset_t before_;
};

// Reads the flag, which user space may write from a signal handler at any time.
bool ImmediateExit(const kvm_run& run) {
  return *static_cast<const volatile __u8*>(&run.immediate_exit) != 0;
}

}  // namespace

FakeExitCounts& FakeExitCounts::operator+=(const FakeExitCounts& other) {
  mmio_reads += other.mmio_reads;
  mmio_writes += other.mmio_writes;
  io_reads += other.io_reads;
  io_writes += other.io_writes;
  halts += other.halts;
  shutdowns += other.shutdowns;
  interrupted += other.interrupted;
  faults += other.faults;
  memory_accesses += other.memory_accesses;
  register_accesses += other.register_accesses;
  ioeventfds += other.ioeventfds;
  return *this;
}

SyscallResult<std::shared_ptr<FakeVcpu>> FakeVcpu::Create(Options options) {
  const int run_fd = ::memfd_create("kvm-vcpu", MFD_CLOEXEC);
  if (run_fd < 0) return {.error = errno};
  const int exit_fd = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  void* run = MAP_FAILED;
  if (exit_fd >= 0 && ::ftruncate(run_fd, kVcpuMmapSize) == 0) {
    run = ::mmap(nullptr, kVcpuMmapSize, PROT_READ | PROT_WRITE, MAP_SHARED,
                 run_fd, 0);
  }
  if (run == MAP_FAILED) {
    const int error = errno;
    ::close(run_fd);
    if (exit_fd >= 0) ::close(exit_fd);
    return {.error = error};
  }
  return {
      .value = std::shared_ptr<FakeVcpu>(new FakeVcpu(
          std::move(options), run_fd, exit_fd, static_cast<kvm_run*>(run)))};
}

FakeVcpu::FakeVcpu(Options options, int run_fd, int exit_fd, kvm_run* run)
    : options_(std::move(options)),
      core_(options_.core),
      run_fd_(run_fd),
      exit_fd_(exit_fd),
      run_(run) {
  // The state after reset (Intel SDM vol. 3, table 9-1).
  regs_.rip = 0xfff0;
  regs_.rflags = 0x2;
  sregs_.cr0 = 0x60000010;
  sregs_.cs = {.base = 0xffff0000, .limit = 0xffff, .selector = 0xf000};
  sregs_.apic_base = 0xfee00800 | (options_.id == 0 ? 0x100 : 0);
}

FakeVcpu::~FakeVcpu() {
  ::munmap(run_, kVcpuMmapSize);
  ::close(run_fd_);
  ::close(exit_fd_);
}

SyscallResult<void*> FakeVcpu::MapRun(void* address, size_t length,
                                      int protection, int flags,
                                      uint64_t offset) {
  if (journal::Task* const task = journal::CurrentTask(); task != nullptr) {
    task->mapped_fd = run_fd_;
    task->mapped_offset = offset;
    return {.value = address};
  }
  void* const mapped = ::mmap(address, length, protection, flags, run_fd_,
                              static_cast<off_t>(offset));
  if (mapped == MAP_FAILED) return {.error = errno};
  return {.value = mapped};
}

std::optional<absl::Status> FakeVcpu::guest_status() const {
  core_->mutex.AssertHeld();
  return guest_status_;
}

const FakeExitCounts& FakeVcpu::counts() const {
  core_->mutex.AssertHeld();
  return counts_;
}

void FakeVcpu::Inject(const guest::GuestInterrupt& interrupt) {
  core_->mutex.AssertHeld();
  interrupts_.push_back(interrupt);
  changed_.SignalAll();
}

bool FakeVcpu::HasSoftware() const { return options_.program() != nullptr; }

std::thread FakeVcpu::Stop() {
  core_->mutex.AssertHeld();
  stopping_.store(true);
  changed_.SignalAll();
  ::eventfd_write(exit_fd_, 1);
  return std::move(guest_);
}

// Answers like kvm_arch_vcpu_ioctl_run().
SyscallResult<int> FakeVcpu::Run() {
  const absl::MutexLock one_at_a_time(&run_mutex_);
  const SignalsHeldOff signals;
  if (const auto refused = Enter(); refused.has_value()) return *refused;
  return WaitForExit(signals.before());
}

std::optional<SyscallResult<int>> FakeVcpu::Enter() {
  const absl::MutexLock lock(&core_->mutex);
  has_run_ = true;
  // Like complete_userspace_io, this comes before the check of immediate_exit.
  // A VMM can thus have an access completed without running the guest.
  CompleteExit();
  if (ImmediateExit(*run_)) {
    ++counts_.interrupted;
    return SyscallResult<int>{.error = EINTR};
  }
  if (!guest_.joinable() && !finished_) StartGuest();
  // A CPU without software would execute garbage and end in a triple fault. An
  // application processor waits for INIT instead, inside the kernel if the
  // local APICs are there.
  const bool waits_for_init =
      options_.id != 0 && options_.platform->InterruptsInKernel();
  if (stopping_.load() || finished_ ||
      (!guest_.joinable() && !waits_for_init)) {
    run_->exit_reason = KVM_EXIT_SHUTDOWN;
    ++counts_.shutdowns;
    return SyscallResult<int>{};
  }
  state_ = State::kRunning;
  changed_.SignalAll();
  return std::nullopt;
}

SyscallResult<int> FakeVcpu::WaitForExit(const sigset_t& signals) {
  for (;;) {
    pollfd poll{.fd = exit_fd_, .events = POLLIN};
    const bool signalled =
        ::ppoll(&poll, 1, nullptr, &signals) < 0 && errno == EINTR;
    const absl::MutexLock lock(&core_->mutex);
    if (state_ == State::kExited) {
      eventfd_t count;
      ::eventfd_read(exit_fd_, &count);
      state_ = State::kOutside;
      return {.error = std::exchange(exit_error_, 0)};
    }
    if (stopping_.load()) {
      state_ = State::kOutside;
      run_->exit_reason = KVM_EXIT_SHUTDOWN;
      ++counts_.shutdowns;
      return {};
    }
    if (signalled) {
      state_ = State::kOutside;
      run_->exit_reason = KVM_EXIT_INTR;
      ++counts_.interrupted;
      return {.error = EINTR};
    }
  }
}

void FakeVcpu::CompleteExit() {
  if (pending_result_.empty()) return;
  std::memcpy(result_, pending_result_.data(), pending_result_.size());
  pending_result_ = {};
}

void FakeVcpu::StartGuest() {
  guest::GuestProgram program = options_.program();
  if (program == nullptr) return;
  // The thread inherits the blocked signals of KVM_RUN, because signals are
  // meant for the VMM's threads.
  guest_ =
      std::thread([self = shared_from_this(), program = std::move(program)] {
        self->RunGuest(program);
      });
}

void FakeVcpu::RunGuest(const guest::GuestProgram& program) {
  absl::Status status = program(*this);
  const absl::MutexLock lock(&core_->mutex);
  guest_status_ = std::move(status);
  if (!AwaitGuestMode()) return;
  finished_ = true;
  run_->exit_reason = KVM_EXIT_SHUTDOWN;
  ++counts_.shutdowns;
  LeaveGuestMode();
}

bool FakeVcpu::AwaitGuestMode() {
  while (!stopping_.load() && state_ != State::kRunning) {
    changed_.Wait(&core_->mutex);
  }
  return !stopping_.load();
}

void FakeVcpu::LeaveGuestMode() {
  state_ = State::kExited;
  ::eventfd_write(exit_fd_, 1);
}

bool FakeVcpu::Exit(uint32_t reason) {
  run_->exit_reason = reason;
  LeaveGuestMode();
  return AwaitGuestMode();
}

bool FakeVcpu::ExitWithError(int error) {
  exit_error_ = error;
  ++counts_.faults;
  LeaveGuestMode();
  return AwaitGuestMode();
}

}  // namespace passthru::fake
