// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/vcpu_runner.h"

#include <pthread.h>
#include <signal.h>

#include <cerrno>
#include <utility>
#include <variant>

#include "absl/log/check.h"
#include "absl/strings/str_cat.h"
#include "passthru/devices/kernel/errors.h"
#include "passthru/devices/kernel/status_macros.h"

namespace passthru::vmm {

class VcpuRunner::ThreadInRun {
 public:
  explicit ThreadInRun(VcpuRunner* runner) : runner_(runner) {
    absl::MutexLock lock(&runner_->thread_mutex_);
    runner_->thread_ = pthread_self();
  }
  ~ThreadInRun() {
    absl::MutexLock lock(&runner_->thread_mutex_);
    runner_->thread_.reset();
  }

 private:
  VcpuRunner* const runner_;
};

int VcpuRunner::KickSignal() { return SIGRTMIN; }

VcpuRunner::VcpuRunner(Options options) : options_(std::move(options)) {
  // The handler lacks SA_RESTART so that KVM_RUN fails with EINTR.
  static const bool installed = [] {
    struct sigaction action = {};
    action.sa_handler = [](int) {};
    return sigaction(KickSignal(), &action, nullptr) == 0;
  }();
  CHECK(installed);
}

absl::Status VcpuRunner::Run() {
  const ThreadInRun in_run(this);
  // Whether the last KVM_RUN failed with EFAULT. If the next one does too,
  // removing slots did not help, and further attempts would hang the guest.
  bool faulted = false;
  while (!stop_.load(std::memory_order_acquire)) {
    auto exit = options_.vcpu->Run();
    if (!exit.ok()) {
      if (kernel::ErrnoOf(exit.status()) != EFAULT || faulted ||
          options_.on_memory_fault == nullptr) {
        return exit.status();
      }
      faulted = true;
      counts_.faults.fetch_add(1, std::memory_order_relaxed);
      options_.on_memory_fault();
      continue;
    }
    faulted = false;
    PASSTHRU_ASSIGN_OR_RETURN(auto go_on, Handle(*exit));
    if (options_.on_handled != nullptr) options_.on_handled(*exit);
    if (!go_on) return absl::OkStatus();
  }
  return absl::OkStatus();
}

void VcpuRunner::Stop() {
  stop_.store(true, std::memory_order_release);
  // This call ends a KVM_RUN that begins later. The signal below ends one that
  // is in progress.
  options_.vcpu->RequestImmediateExit();
  absl::MutexLock lock(&thread_mutex_);
  if (thread_.has_value()) pthread_kill(*thread_, KickSignal());
}

ExitCounts VcpuRunner::counts() const {
  return {.io_reads = counts_.io_reads.load(std::memory_order_relaxed),
          .io_writes = counts_.io_writes.load(std::memory_order_relaxed),
          .mmio_reads = counts_.mmio_reads.load(std::memory_order_relaxed),
          .mmio_writes = counts_.mmio_writes.load(std::memory_order_relaxed),
          .interrupted = counts_.interrupted.load(std::memory_order_relaxed),
          .faults = counts_.faults.load(std::memory_order_relaxed)};
}

absl::StatusOr<bool> VcpuRunner::Handle(const kvm::VcpuExit& exit) {
  const auto failed = [this](auto... what) {
    return absl::InternalError(
        absl::StrCat("vCPU ", options_.vcpu->id(), ": ", what...));
  };
  if (const auto* io = std::get_if<kvm::IoExit>(&exit)) {
    HandleIo(*io);
    return true;
  }
  if (const auto* mmio = std::get_if<kvm::MmioExit>(&exit)) {
    HandleMmio(*mmio);
    return true;
  }
  if (std::holds_alternative<kvm::InterruptedExit>(exit)) {
    counts_.interrupted.fetch_add(1, std::memory_order_relaxed);
    return true;
  }
  if (std::holds_alternative<kvm::ShutdownExit>(exit)) return false;
  if (std::holds_alternative<kvm::HaltExit>(exit)) {
    // With the interrupt controllers in the kernel, a halted vCPU waits inside
    // KVM_RUN, so this exit does not occur.
    return failed("KVM_EXIT_HLT, although KVM has the interrupt controllers");
  }
  if (const auto* event = std::get_if<kvm::SystemEventExit>(&exit)) {
    return failed("KVM_EXIT_SYSTEM_EVENT of type ", event->type,
                  ", which no guest of this machine can cause");
  }
  if (const auto* entry = std::get_if<kvm::FailEntryExit>(&exit)) {
    return failed("the CPU refused to enter the guest, reason ",
                  absl::Hex(entry->hardware_reason));
  }
  if (const auto* error = std::get_if<kvm::InternalErrorExit>(&exit)) {
    return failed("KVM_EXIT_INTERNAL_ERROR, suberror ", error->suberror);
  }
  return failed("the exit reason ", std::get<kvm::UnknownExit>(exit).reason,
                " is not one that this machine knows");
}

void VcpuRunner::HandleIo(const kvm::IoExit& exit) {
  (exit.is_write ? counts_.io_writes : counts_.io_reads)
      .fetch_add(1, std::memory_order_relaxed);
  // REP INS and OUTS access the same port with one item after the other.
  for (uint32_t i = 0; i < exit.count; ++i) {
    const absl::Span<uint8_t> item =
        exit.data.subspan(size_t{i} * exit.width, exit.width);
    if (exit.is_write) {
      options_.pio->Write(exit.port, item);
    } else {
      options_.pio->Read(exit.port, item);
    }
  }
}

void VcpuRunner::HandleMmio(const kvm::MmioExit& exit) {
  (exit.is_write ? counts_.mmio_writes : counts_.mmio_reads)
      .fetch_add(1, std::memory_order_relaxed);
  if (exit.is_write) {
    options_.mmio->Write(exit.address.value(), exit.data);
  } else {
    options_.mmio->Read(exit.address.value(), exit.data);
  }
}

}  // namespace passthru::vmm
