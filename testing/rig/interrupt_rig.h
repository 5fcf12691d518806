// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_RIG_INTERRUPT_RIG_H_
#define PASSTHRU_TESTING_RIG_INTERRUPT_RIG_H_

#include <linux/kvm.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/types/span.h"
#include "passthru/allocator/gsi.h"
#include "passthru/devices/interrupts/host_vectors.h"
#include "passthru/devices/interrupts/interrupt_controller.h"
#include "passthru/devices/interrupts/routing_table.h"
#include "passthru/devices/kernel/syscalls.h"
#include "passthru/devices/kvm/kvm_vm.h"
#include "passthru/devices/vfio/vfio_device.h"
#include "passthru/devices/vfio/vfio_irq_index.h"
#include "passthru/pci/bdf.h"
#include "passthru/pci/msi_message.h"
#include "passthru/testing/host/simulated_host.h"
#include "passthru/testing/journal/call.h"
#include "passthru/testing/journal/fault_injector.h"
#include "passthru/testing/vfio/vfio_irqs.h"

namespace passthru::fake {

// The calls that a test's subject made, in order, e.g. "irqfd on 24". Tests
// that read it have one thread.
using CallLog = std::vector<std::string>;

// The interrupts of one device and one VM on the simulated host, for tests of
// what is above KVM's and VFIO's interrupt calls. The rig passes the calls on
// to kvm::KvmVm and vfio::VfioIrqIndex, and notes them in a log. So a test's
// subject meets the rules of the simulated kernel.
//
// Thread-safe, except for the log.
class InterruptRig final : public interrupts::InterruptController,
                           public interrupts::RoutingTable,
                           public interrupts::HostVectors {
 public:
  enum class Kind { kMsi, kMsix };
  struct Options {
    Kind kind = Kind::kMsix;
    // Of MSI a power of two of at most 32, of MSI-X at most 2048.
    uint16_t vectors = 8;
    // Whether the host can add MSI-X vectors later, which Linux can since 6.5.
    bool dynamic = true;
    CallLog* log = nullptr;
    // Whether the invariants of a SimulatedHost are checked after every call.
    // That takes time in proportion to the number of irqfds.
    bool check_invariants = true;
  };
  InterruptRig() : InterruptRig(Options()) {}
  explicit InterruptRig(Options options);
  ~InterruptRig() override;

  // Returns the kernel that the subject's eventfds must come from.
  kernel::Syscalls* syscalls() { return &host_.kernel(); }

  // interrupts::InterruptController and interrupts::RoutingTable.
  absl::Status AssignIrqfd(int event_fd, allocator::Gsi gsi) override;
  absl::Status AssignResampleIrqfd(int event_fd, int resample_fd,
                                   allocator::Gsi gsi) override;
  absl::Status DeassignIrqfd(int event_fd, allocator::Gsi gsi) override;
  absl::Status SignalMsi(const pci::MsiMessage& message) override;
  absl::Status SetGsiRouting(
      absl::Span<const kvm_irq_routing_entry> entries) override;

  // interrupts::HostVectors.
  uint32_t count() const override { return vectors_->count(); }
  bool dynamic() const override { return vectors_->dynamic(); }
  absl::StatusOr<uint32_t> Set(uint32_t start,
                               absl::Span<const int> event_fds) override;
  absl::Status Disable() override;

  // Raises `vector` in the device. Returns whether the host had armed it.
  bool Fire(uint16_t vector);

  // Returns the messages that reached the guest since the last call, in order.
  std::vector<pci::MsiMessage> TakeDelivered();
  // Return how many messages ever reached the guest, how many had this data,
  // and how many were lost because their GSI had no route.
  uint64_t delivered() const;
  uint64_t delivered_with(uint32_t data) const;
  uint64_t lost() const { return host_.kernel().kvm().LostInterrupts(); }

  std::vector<kvm_irq_routing_entry> table() const {
    return host_.kernel().kvm().Routes();
  }
  size_t irqfds() const { return host_.kernel().kvm().Irqfds().size(); }
  // Return whether the host has MSI or MSI-X on, the number of host vectors
  // that are allocated, and the number of calls to Set() and Disable().
  bool enabled() const { return Irqs().type != VfioIrqs::Type::kNone; }
  size_t allocated() const { return Irqs().allocated; }
  int host_calls() const { return host_calls_; }

  // Limits how many vectors the host has available.
  void LimitVectors(uint32_t available);

  // Make the next `times` calls of the named kind fail with errno `error`.
  void FailAssign(int times, int error) ABSL_LOCKS_EXCLUDED(failures_) {
    absl::MutexLock lock(&failures_);
    assign_ = {times, error};
  }
  void FailDeassign(int times, int error) ABSL_LOCKS_EXCLUDED(failures_) {
    absl::MutexLock lock(&failures_);
    deassign_ = {times, error};
  }
  void FailRouting(int times, int error) ABSL_LOCKS_EXCLUDED(failures_) {
    absl::MutexLock lock(&failures_);
    routing_ = {times, error};
  }
  void FailSignal(int times, int error) ABSL_LOCKS_EXCLUDED(failures_) {
    absl::MutexLock lock(&failures_);
    signal_ = {times, error};
  }
  void FailSet(int times, int error) ABSL_LOCKS_EXCLUDED(failures_) {
    absl::MutexLock lock(&failures_);
    set_ = {times, error};
  }
  void FailDisable(int times, int error) ABSL_LOCKS_EXCLUDED(failures_) {
    absl::MutexLock lock(&failures_);
    disable_ = {times, error};
  }

 private:
  struct Failure {
    int times = 0;
    int error = 0;
  };

  // Returns how the kernel must fail `call`, if it must.
  std::optional<journal::Fault> Choose(const journal::Call& call);
  void Log(std::string what);
  VfioIrqs::Snapshot Irqs() const { return host_.vfio().Snapshot(bdf_)->irqs; }
  // Fetches the messages that arrived since the last call.
  void Fetch() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(messages_);

  const Options options_;
  mutable SimulatedHost host_;
  pci::Bdf bdf_;
  std::unique_ptr<kvm::KvmVm> vm_;
  std::unique_ptr<vfio::VfioDevice> device_;
  std::unique_ptr<vfio::VfioIrqIndex> vectors_;

  std::atomic<int> host_calls_ = 0;

  // The kernel asks Choose() with its own lock held.
  absl::Mutex failures_;
  Failure assign_ ABSL_GUARDED_BY(failures_);
  Failure deassign_ ABSL_GUARDED_BY(failures_);
  Failure routing_ ABSL_GUARDED_BY(failures_);
  Failure signal_ ABSL_GUARDED_BY(failures_);
  Failure set_ ABSL_GUARDED_BY(failures_);
  Failure disable_ ABSL_GUARDED_BY(failures_);

  mutable absl::Mutex messages_;
  mutable size_t delivered_ ABSL_GUARDED_BY(messages_) = 0;
  mutable std::map<uint32_t, uint64_t> by_data_ ABSL_GUARDED_BY(messages_);
  mutable std::vector<pci::MsiMessage> not_taken_ ABSL_GUARDED_BY(messages_);
};

}  // namespace passthru::fake

#endif  // PASSTHRU_TESTING_RIG_INTERRUPT_RIG_H_
