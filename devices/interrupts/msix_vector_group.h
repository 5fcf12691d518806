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
#include "passthru/devices/interrupts/interrupt_controller.h"
#include "passthru/devices/interrupts/msi_router.h"
#include "passthru/devices/kernel/event_fd.h"
#include "passthru/devices/kernel/event_loop.h"
#include "passthru/devices/kernel/failure_log.h"
#include "passthru/devices/kernel/syscalls.h"
#include "passthru/pci/msi_message.h"
#include "passthru/pci/vector_index.h"

namespace passthru::interrupts {

// How an interrupt of one vector reaches the guest at the moment.
enum class VectorState : uint8_t {
  kOff,      // no eventfd is armed: the host signals nothing
  kMasked,   // the eventfd keeps count: that is the pending bit
  kWatched,  // the event loop reads the eventfd and injects: KVM_SIGNAL_MSI
  kActive,   // an irqfd injects: no user space involved
};
std::string_view Name(VectorState state);

// One vector as it is now.
struct VectorReport {
  pci::VectorIndex vector;
  VectorState state = VectorState::kOff;
  bool masked = true;  // its own mask bit
  pci::MsiMessage message;
  std::optional<allocator::Gsi> gsi;
  // Unmasked, but no host vector could be had: stays kOff, and silent.
  bool unarmed = false;
  // No route or irqfd could be had: stays kWatched.
  bool user_space_only = false;
  uint64_t user_space_signals = 0;
};

struct MsixVectorGroupStats {
  uint64_t set_irqs_calls = 0;  // HostVectors::Set() and Disable()
  uint64_t irqfd_assigns = 0;
  uint64_t irqfd_deassigns = 0;
  uint64_t user_space_signals = 0;  // KVM_SIGNAL_MSI
  uint64_t failed_promotions = 0;   // vectors that stay kWatched for it
  uint64_t failed_arms = 0;         // no eventfd or no host vector
  uint64_t dropped = 0;             // interrupts whose message is no interrupt
  uint64_t failed_calls = 0;        // other refusals by the kernel

  friend bool operator==(const MsixVectorGroupStats&,
                         const MsixVectorGroupStats&) = default;
};

// The MSI-X or the MSI vectors of one device, and how each one's interrupts
// reach the guest: every vector goes through the states of VectorState.
//
//   kOff      enabled, programmed: eventfd, SET_IRQS, epoll once -> kMasked
//   kMasked   unmask: route committed -> irqfd assigned          -> kActive
//                     else stage it, deliver what is pending     -> kWatched
//   kWatched  event: deliver, perhaps promote                    -> kActive
//             mask: no call                                      -> kMasked
//   kActive   mask: irqfd deassigned                             -> kMasked
//             message changed: irqfd deassigned                  -> kWatched
//
// So that no interrupt is lost or doubled, reading an eventfd and injecting
// what it held are one step under the mutex, against mask and message changes;
// and an irqfd is off before its message changes, on only after its route is
// committed. A vector whose promotion fails stays kWatched until Disable():
// slower, never silent. Host vectors are armed in one call for all entries
// programmed when the function mask clears, then in doubling blocks.
//
// Thread-safe: guest writes arrive from vCPU threads, events from the loop's.
// Nothing is called back but the interfaces given in Options, under the mutex.
class MsixVectorGroup {
 public:
  enum class Kind : uint8_t {
    kMsi,   // all enabled vectors are armed at once, by Enable()
    kMsix,  // vectors are armed as the guest comes to use them
  };

  struct Options {
    Kind kind = Kind::kMsix;
    uint16_t vectors = 0;  // as the guest sees it; 1 to 2048
    kernel::Syscalls* syscalls = nullptr;
    HostVectors* host = nullptr;
    MsiRouter* router = nullptr;
    InterruptController* controller = nullptr;
    kernel::EventLoop* loop = nullptr;
    // Where every failure goes that no caller is told of, and those too.
    kernel::FailureLog* failures = nullptr;
    std::string name;  // for messages: "MSI-X"
  };
  explicit MsixVectorGroup(Options options);
  MsixVectorGroup(const MsixVectorGroup&) = delete;
  MsixVectorGroup& operator=(const MsixVectorGroup&) = delete;

  // As Shutdown().
  ~MsixVectorGroup();

  uint16_t size() const { return static_cast<uint16_t>(options_.vectors); }

  // The guest sets the enable bit; the first `count` vectors are in use (all,
  // for MSI-X). After a failure, which is in the failure log, the group is
  // enabled as far as the guest can tell, and arming is tried again when a
  // vector is unmasked.
  absl::Status Enable(uint16_t count, bool function_masked);

  // The guest clears the enable bit, or the device is reset: nothing signals
  // any more, and no stale count is left for the next Enable(). Messages and
  // masks are kept. When not enabled, tries again to make the kernel give up
  // what it kept at an earlier failure.
  absl::Status Disable();

  // Bit 14 of MSI-X Message Control.
  void SetFunctionMask(bool masked);

  // What the guest has programmed for `vector` (below size()), enabled or not.
  void SetVector(pci::VectorIndex vector, const pci::MsiMessage& message,
                 bool masked);

  // The pending bits of `count` vectors from `first` on: masked, and an
  // interrupt arrived. Vectors beyond size() are not pending.
  std::vector<bool> Pending(pci::VectorIndex first, uint32_t count) const;

  // Disables, and gives everything back: descriptors, GSIs, routes. The group
  // stays off for good. Waits for the event loop, so not under a lock that one
  // of its callbacks takes.
  void Shutdown();

  VectorState state(pci::VectorIndex vector) const;
  std::vector<VectorReport> Describe() const;
  MsixVectorGroupStats stats() const;

 private:
  struct Vector {
    VectorState state = VectorState::kOff;
    bool masked = true;
    pci::MsiMessage message;
    // Created at first use, watched by the loop from then until Shutdown().
    std::optional<kernel::EventFd> event;
    std::optional<allocator::Gsi> gsi;
    bool staged = false;   // the router has `message`
    bool unarmed = false;  // arming it for use failed
    bool user_space_only = false;
    // Deassigning the irqfd failed: the kernel still takes the eventfd's
    // signals for `gsi`, which must not go to another vector.
    bool irqfd_stuck = false;
    uint64_t user_space_signals = 0;

    bool programmed() const { return !masked || message != pci::MsiMessage(); }
  };

  // Arming: host vectors and eventfds (msix_vector_arming.cc).
  absl::Status EnableHost() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status DisableHost() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<uint32_t> SetHost(uint32_t first,
                                   absl::Span<const int> event_fds)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void ArmProgrammed() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status ArmForUse(uint32_t index) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status Arm(uint32_t first, uint32_t count, bool programmed_only)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void FailedTogether(uint32_t first, uint32_t count, const absl::Status& why)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status EnsureEvent(uint32_t index)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // Transitions.
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
  // The kernel has the type on: from the call that enables it to the one that
  // disables it, which may fail and is then tried again.
  bool host_on_ ABSL_GUARDED_BY(mutex_) = false;
  // Vectors from here on cannot be armed: the host had no more when it was
  // asked for all (not dynamic).
  uint32_t host_limit_ ABSL_GUARDED_BY(mutex_) = 0;
  uint32_t armed_ ABSL_GUARDED_BY(mutex_) = 0;
  bool used_routes_ ABSL_GUARDED_BY(mutex_) = false;
  mutable MsixVectorGroupStats stats_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace passthru::interrupts

#endif  // PASSTHRU_DEVICES_INTERRUPTS_MSIX_VECTOR_GROUP_H_
