// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_DEVICES_INTERRUPTS_MSIX_VECTOR_GROUP_H_
#define PASSTHRU_DEVICES_INTERRUPTS_MSIX_VECTOR_GROUP_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/types/span.h"
#include "passthru/allocator/gsi.h"
#include "passthru/devices/interrupts/host_vectors.h"
#include "passthru/devices/interrupts/interrupt_budget.h"
#include "passthru/devices/interrupts/interrupt_controller.h"
#include "passthru/devices/interrupts/msi_router.h"
#include "passthru/devices/kernel/event_fd.h"
#include "passthru/devices/kernel/event_loop.h"
#include "passthru/devices/kernel/failure_log.h"
#include "passthru/devices/kernel/syscalls.h"
#include "passthru/pci/msi_message.h"
#include "passthru/pci/vector_index.h"

namespace passthru::interrupts {

// How an interrupt of one vector currently reaches the guest.
enum class VectorState : uint8_t {
  kOff,      // no eventfd is armed, so the host signals nothing
  kMasked,   // the eventfd's count is the pending bit
  kWatched,  // the event loop reads the eventfd and injects (KVM_SIGNAL_MSI)
  kActive,   // an irqfd injects without user space
};
std::string_view Name(VectorState state);

// The current state of one vector.
struct VectorReport {
  pci::VectorIndex vector;
  VectorState state = VectorState::kOff;
  bool masked = true;  // its own mask bit
  pci::MsiMessage message;
  std::optional<allocator::Gsi> gsi;
  // Whether the vector is unmasked but got no eventfd or host vector. It stays
  // kOff and silent.
  bool unarmed = false;
  // Whether the vector got no route or irqfd. It stays kWatched.
  bool user_space_only = false;
  uint64_t user_space_signals = 0;
};

struct MsixVectorGroupStats {
  uint64_t set_irqs_calls = 0;  // HostVectors::Set() and Disable()
  uint64_t irqfd_assigns = 0;
  uint64_t irqfd_deassigns = 0;
  uint64_t user_space_signals = 0;  // KVM_SIGNAL_MSI
  uint64_t failed_promotions = 0;   // each leaves its vector kWatched
  uint64_t failed_arms = 0;         // no eventfd or no host vector
  uint64_t dropped = 0;             // interrupts whose message is no interrupt
  uint64_t failed_calls = 0;        // other refusals by the kernel

  friend bool operator==(const MsixVectorGroupStats&,
                         const MsixVectorGroupStats&) = default;
};

// The MSI-X or the MSI vectors of one device. It delivers their interrupts to
// the guest. Every vector is in one of the states of VectorState:
//
//   state     event            action                               next state
//   kOff      enable, program  eventfd and epoll (once), SET_IRQS   kMasked
//   kMasked   unmask           if route committed, assign irqfd     kActive
//                              else stage, deliver what is pending  kWatched
//   kWatched  interrupt        deliver, perhaps promote             kActive
//             mask             none                                 kMasked
//   kActive   mask             deassign irqfd                       kMasked
//             message change   deassign irqfd                       kWatched
//
// Two rules keep interrupts from being lost or doubled. The group reads an
// eventfd and injects what it held in one step under the mutex, which mask and
// message changes also take. It assigns an irqfd only after the route is
// committed, and deassigns it before the message changes.
//
// A vector whose promotion fails stays kWatched until Disable(), which makes it
// slower but never silent. When the function mask clears, the group arms host
// vectors with one call for each run of programmed entries. Later calls arm
// blocks that double in size. If the host cannot provide what a call requests,
// the group halves the request until it finds how many it gets, and leaves the
// rest kOff. So clearing the function mask makes a number of calls that is
// logarithmic in what fails, and the next unmask of a vector tries it again.
//
// Thread-safe. Guest writes arrive on vCPU threads, and events on the event
// loop's thread. Under the mutex it calls only the interfaces in Options.
class MsixVectorGroup {
 public:
  enum class Kind : uint8_t {
    kMsi,   // Enable() arms all enabled vectors at once
    kMsix,  // vectors are armed when the guest begins to use them
  };

  struct Options {
    Kind kind = Kind::kMsix;
    uint16_t vectors = 0;  // as the guest sees them, 1 to 2048
    kernel::Syscalls* syscalls = nullptr;
    HostVectors* host = nullptr;
    MsiRouter* router = nullptr;
    InterruptController* controller = nullptr;
    kernel::EventLoop* loop = nullptr;
    // Receives failures of the kernel, whether or not a caller is also told.
    kernel::FailureLog* failures = nullptr;
    // The device's share of what its VM may use. Null means no limit.
    InterruptBudget::Reservation* budget = nullptr;
    std::string name;  // in messages, e.g. "MSI-X"
  };
  explicit MsixVectorGroup(Options options);
  MsixVectorGroup(const MsixVectorGroup&) = delete;
  MsixVectorGroup& operator=(const MsixVectorGroup&) = delete;

  // Calls Shutdown().
  ~MsixVectorGroup();

  uint16_t size() const { return static_cast<uint16_t>(options_.vectors); }

  // Enables the first `count` vectors (all, for MSI-X), after the guest set the
  // enable bit. After a failure, which is recorded in the failure log, the
  // group is enabled as far as the guest can tell, and unmasking a vector
  // retries the arming. Returns kFailedPrecondition if the group is enabled
  // already or shut down.
  absl::Status Enable(uint16_t count, bool function_masked);

  // Disables all vectors, after the guest cleared the enable bit or the device
  // was reset. Nothing signals any more, and no stale count remains for the
  // next Enable(). Messages and masks are kept. If the group is not enabled,
  // this retries to disable what the kernel kept on at an earlier failure.
  absl::Status Disable();

  // Sets the function mask, bit 14 of MSI-X Message Control.
  void SetFunctionMask(bool masked);

  // Takes what the guest programmed for `vector`, which must be below size().
  // The group need not be enabled.
  void SetVector(pci::VectorIndex vector, const pci::MsiMessage& message,
                 bool masked);

  // Tries again to arm the unmasked vectors that could not be armed. The guest
  // has no other way to cause that for an MSI without mask bits.
  void RetryUnarmed();

  // Returns the pending bits of `count` vectors from `first` on, at most
  // kMaxPending, with that of `first` in bit 0. A vector is pending if it is
  // masked and an interrupt arrived. Vectors beyond size() are not pending.
  // Allocates no memory.
  static constexpr uint32_t kMaxPending = 64;
  uint64_t Pending(pci::VectorIndex first, uint32_t count) const;

  // Disables the group and releases its descriptors, GSIs and routes. The group
  // cannot be enabled again. Waits for the event loop, so callers must not hold
  // a lock that one of its callbacks takes.
  void Shutdown();

  VectorState state(pci::VectorIndex vector) const;
  std::vector<VectorReport> Describe() const;
  MsixVectorGroupStats stats() const;

 private:
  struct Vector {
    VectorState state = VectorState::kOff;
    bool masked = true;
    pci::MsiMessage message;
    // Created at first use. The loop watches it from then until Shutdown().
    std::optional<kernel::EventFd> event;
    std::optional<allocator::Gsi> gsi;
    bool staged = false;   // the router has `message`
    bool unarmed = false;  // arming it for use failed
    bool user_space_only = false;
    // Deassigning the irqfd failed. The kernel still takes the eventfd's
    // signals for `gsi`, so that GSI must not be given to another vector.
    bool irqfd_stuck = false;
    uint64_t user_space_signals = 0;

    bool programmed() const { return !masked || message != pci::MsiMessage(); }
  };

  // Arming of host vectors and eventfds (msix_vector_arming.cc).
  absl::Status EnableHost() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status DisableHost() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<uint32_t> SetHost(uint32_t first,
                                   absl::Span<const int> event_fds)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status ArmProgrammed() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status ArmRun(uint32_t first, uint32_t end)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // The vectors that a call may have armed, from `first` to before `end`.
  struct Range {
    uint32_t first = 0;
    uint32_t end = 0;
  };
  absl::Status ArmForUse(uint32_t index, Range& armed)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status Arm(uint32_t first, uint32_t count, bool programmed_only)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void FailedTogether(uint32_t first, uint32_t count, const absl::Status& why)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status EnsureEvent(uint32_t index)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // Transitions of single vectors (msix_vector_transitions.cc).
  void OnEvent(uint32_t index);
  void Unmask(uint32_t index) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Open(Vector& vector) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Mask(uint32_t index) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void ChangeMessage(uint32_t index) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void StageMessage(Vector& vector) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void DeliverAndPromote(Vector& vector) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool Deliver(Vector& vector) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void AssignIrqfd(Vector& vector) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void DeassignIrqfd(Vector& vector) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void CommitStuck(Vector& vector) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void ReleaseRoute(Vector& vector) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void FailPromotion(Vector& vector, const absl::Status& why)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status DisableLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void UnmaskAll() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Failed(const Vector& vector, std::string_view what,
              const absl::Status& why) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  uint32_t IndexOf(const Vector& vector) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const Options options_;

  mutable absl::Mutex mutex_;
  std::vector<Vector> vectors_ ABSL_GUARDED_BY(mutex_);
  bool enabled_ ABSL_GUARDED_BY(mutex_) = false;
  bool shut_down_ ABSL_GUARDED_BY(mutex_) = false;
  bool function_masked_ ABSL_GUARDED_BY(mutex_) = false;
  uint32_t count_ ABSL_GUARDED_BY(mutex_) = 0;  // in use while enabled
  bool host_enabled_ ABSL_GUARDED_BY(mutex_) = false;
  // The kernel has the type enabled, from the call that enables it until one
  // that disables it succeeds.
  bool host_on_ ABSL_GUARDED_BY(mutex_) = false;
  // Vectors from this one on cannot be armed, because the host had no more when
  // the group requested all (not dynamic).
  uint32_t host_limit_ ABSL_GUARDED_BY(mutex_) = 0;
  uint32_t armed_ ABSL_GUARDED_BY(mutex_) = 0;
  // All vectors from this one on are kOff.
  uint32_t armed_end_ ABSL_GUARDED_BY(mutex_) = 0;
  bool used_routes_ ABSL_GUARDED_BY(mutex_) = false;
  mutable MsixVectorGroupStats stats_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace passthru::interrupts

#endif  // PASSTHRU_DEVICES_INTERRUPTS_MSIX_VECTOR_GROUP_H_
