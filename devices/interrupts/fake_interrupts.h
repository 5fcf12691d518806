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
#include "passthru/devices/interrupts/routing_table.h"
#include "passthru/pci/msi_message.h"

namespace passthru::interrupts {

// The calls to the fakes below, in order, e.g. "irqfd on 24".
// Thread-compatible. Tests that read it have one thread.
using CallLog = std::vector<std::string>;

// KVM's side of interrupts over real eventfds, for tests of this package. It
// behaves as measured on Linux 6.12:
//  - An assigned irqfd drains its eventfd.
//  - Assigning an irqfd triggers on a pending count, which it does not drain.
//  - Deassigning an irqfd discards the count.
//  - An interrupt of a GSI without a route is lost.
//
// Thread-safe, except for `log`.
class FakeInterruptController final : public InterruptController,
                                      public RoutingTable {
 public:
  explicit FakeInterruptController(CallLog* log = nullptr) : log_(log) {}

  absl::Status AssignIrqfd(int event_fd, allocator::Gsi gsi) override;
  absl::Status AssignResampleIrqfd(int event_fd, int resample_fd,
                                   allocator::Gsi gsi) override;
  absl::Status DeassignIrqfd(int event_fd, allocator::Gsi gsi) override;
  absl::Status SetGsiRouting(
      absl::Span<const kvm_irq_routing_entry> entries) override;
  absl::Status SignalMsi(const pci::MsiMessage& message) override;

  // Signals `event_fd`, as the host's handler of the device's interrupt does.
  void Signal(int event_fd);

  // Returns and forgets the messages that reached the guest, in order. Only a
  // controller with a `log` keeps them.
  std::vector<pci::MsiMessage> TakeDelivered();
  // Return how many interrupts ever reached the guest, and how many were lost
  // because their GSI had no route.
  uint64_t delivered() const;
  uint64_t lost() const;
  // Returns how many messages with this data reached the guest.
  uint64_t delivered_with(uint32_t data) const;

  std::vector<kvm_irq_routing_entry> table() const;
  size_t irqfds() const;

  // Make the next `times` calls of the named kind fail with errno `error`.
  void FailAssign(int times, int error);
  void FailDeassign(int times, int error);
  void FailRouting(int times, int error);
  void FailSignal(int times, int error);
  // Makes SetGsiRouting() refuse tables of more than `entries` entries.
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

// VFIO's side of interrupts, which maps each vector to the eventfd it signals.
// Thread-safe, except for `log`.
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

  // Raises `vector` in the device. Returns whether the host had armed it.
  bool Fire(uint32_t vector);

  bool enabled() const;
  // Returns the number of host vectors that are allocated.
  size_t allocated() const;
  int calls() const;

  // Limits how many vectors the host has available.
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
