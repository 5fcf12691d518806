// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_DEVICES_INTERRUPTS_FAKE_INTERRUPTS_H_
#define PASSTHRU_DEVICES_INTERRUPTS_FAKE_INTERRUPTS_H_

#include <linux/kvm.h>

#include <cstdint>
#include <map>
#include <set>
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
#include "passthru/pci/msi_message.h"

namespace passthru::interrupts {

// What the fakes below were asked, in order, e.g. "irqfd on 24".
// Thread-compatible: tests that look at it have one thread.
using CallLog = std::vector<std::string>;

// KVM's side of interrupts over real eventfds, for tests of this package: an
// attached irqfd drains; assigning triggers on a pending count and does not
// drain it; deassigning discards the count; an interrupt of a GSI without a
// route is lost. As measured on Linux 6.12.
//
// Thread-safe, but for `log`.
class FakeInterruptController final : public InterruptController {
 public:
  explicit FakeInterruptController(CallLog* log = nullptr) : log_(log) {}

  absl::Status AssignIrqfd(int event_fd, allocator::Gsi gsi) override;
  absl::Status AssignResampleIrqfd(int event_fd, int resample_fd,
                                   allocator::Gsi gsi) override;
  absl::Status DeassignIrqfd(int event_fd, allocator::Gsi gsi) override;
  absl::Status SetGsiRouting(
      absl::Span<const kvm_irq_routing_entry> entries) override;
  absl::Status SignalMsi(const pci::MsiMessage& message) override;

  // What the device's interrupt handler on the host does.
  void Signal(int event_fd);

  // The messages that reached the guest, in order, and forgets them.
  std::vector<pci::MsiMessage> TakeDelivered();
  // How many reached it in all, and how many were lost for want of a route.
  uint64_t delivered() const;
  uint64_t lost() const;
  // With this message's data.
  uint64_t delivered_with(uint32_t data) const;

  std::vector<kvm_irq_routing_entry> table() const;
  size_t irqfds() const;

  // Failures to come: each call that is named fails so many times.
  void FailAssign(int times, int error);
  void FailDeassign(int times, int error);
  void FailRouting(int times, int error);
  void FailSignal(int times, int error);
  // The largest table that is accepted.
  void LimitRoutes(size_t entries);

 private:
  struct Failure {
    int times = 0;
    int error = 0;
  };

  void Log(std::string what) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status Fails(Failure& failure, const char* what)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Inject(uint32_t gsi) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Deliver(const pci::MsiMessage& message)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  CallLog* const log_;
  mutable absl::Mutex mutex_;
  std::map<int, uint32_t> irqfds_ ABSL_GUARDED_BY(mutex_);
  std::vector<kvm_irq_routing_entry> table_ ABSL_GUARDED_BY(mutex_);
  std::map<uint32_t, pci::MsiMessage> routes_ ABSL_GUARDED_BY(mutex_);
  std::vector<pci::MsiMessage> delivered_ ABSL_GUARDED_BY(mutex_);
  std::map<uint32_t, uint64_t> delivered_by_data_ ABSL_GUARDED_BY(mutex_);
  uint64_t delivered_count_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t lost_ ABSL_GUARDED_BY(mutex_) = 0;
  Failure assign_ ABSL_GUARDED_BY(mutex_);
  Failure deassign_ ABSL_GUARDED_BY(mutex_);
  Failure routing_ ABSL_GUARDED_BY(mutex_);
  Failure signal_ ABSL_GUARDED_BY(mutex_);
  size_t max_entries_ ABSL_GUARDED_BY(mutex_) = 4096;
};

// VFIO's side: which vector signals which eventfd. Thread-safe, but for `log`.
class FakeHostVectors final : public HostVectors {
 public:
  FakeHostVectors(FakeInterruptController* controller, uint32_t count,
                  bool dynamic, CallLog* log = nullptr)
      : controller_(controller), count_(count), dynamic_(dynamic), log_(log) {}

  uint32_t count() const override { return count_; }
  bool dynamic() const override { return dynamic_; }
  absl::StatusOr<uint32_t> Set(uint32_t start,
                               absl::Span<const int> event_fds) override;
  absl::Status Disable() override;

  // The device raises `vector`. Returns whether the host had armed it.
  bool Fire(uint32_t vector);

  bool enabled() const;
  // How many host vectors are allocated.
  size_t allocated() const;
  int calls() const;

  // The host has only so many vectors.
  void LimitVectors(uint32_t available);
  void FailSet(int times, int error);
  void FailDisable(int times, int error);

 private:
  FakeInterruptController* const controller_;
  const uint32_t count_;
  const bool dynamic_;
  CallLog* const log_;
  mutable absl::Mutex mutex_;
  bool enabled_ ABSL_GUARDED_BY(mutex_) = false;
  std::map<uint32_t, int> fds_ ABSL_GUARDED_BY(mutex_);
  std::set<uint32_t> allocated_ ABSL_GUARDED_BY(mutex_);
  uint32_t limit_ ABSL_GUARDED_BY(mutex_) = ~0u;
  int calls_ ABSL_GUARDED_BY(mutex_) = 0;
  int failures_ ABSL_GUARDED_BY(mutex_) = 0;
  int error_ ABSL_GUARDED_BY(mutex_) = 0;
  int disable_failures_ ABSL_GUARDED_BY(mutex_) = 0;
  int disable_error_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace passthru::interrupts

#endif  // PASSTHRU_DEVICES_INTERRUPTS_FAKE_INTERRUPTS_H_
