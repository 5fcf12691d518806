// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_DEVICES_INTERRUPTS_INTERRUPT_BUDGET_H_
#define PASSTHRU_DEVICES_INTERRUPTS_INTERRUPT_BUDGET_H_

#include <cstdint>
#include <limits>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"

namespace passthru::interrupts {

// What one MSI or MSI-X vector costs once the guest uses it.
struct VectorCost {
  uint32_t host_vectors = 1;  // SET_IRQS allocates it when it is armed
  uint32_t event_fds = 1;     // one descriptor, kept until the device goes
  uint32_t routes = 1;        // a GSI and its entry, taken at first unmask
};

// How many vectors the devices of one VM may have.
//
// Host vectors and descriptors are hard limits: without one of them a vector
// cannot signal at all. They are shared out when a device is attached, and one
// that gets less shows the guest a smaller table, so that a driver asks for
// what there is instead of waiting for interrupts that never come. Routes are
// a soft limit: vectors beyond it work, but through user space.
//
// Thread-safe. Must outlive its reservations.
class InterruptBudget {
 public:
  static constexpr uint32_t kUnlimited = std::numeric_limits<uint32_t>::max();

  struct Limits {
    uint32_t host_vectors = kUnlimited;
    uint32_t event_fds = kUnlimited;  // e.g. RLIMIT_NOFILE less a reserve
    uint32_t routes = kUnlimited;     // e.g. GsiRouter::available()
    VectorCost cost = {};
  };

  // The share of one device, given back on destruction. Move-only.
  class Reservation {
   public:
    Reservation() = default;
    Reservation(Reservation&& other) noexcept;
    Reservation& operator=(Reservation&& other) noexcept;
    ~Reservation();

    // How many vectors the device may show.
    uint32_t vectors() const { return vectors_; }
    // Of these, how many can be routed by the kernel.
    uint32_t routed() const { return routed_; }
    // What there was too little of, e.g. "eventfds"; empty if nothing.
    const std::string& limited_by() const { return limited_by_; }

   private:
    friend class InterruptBudget;
    InterruptBudget* budget_ = nullptr;
    uint32_t vectors_ = 0;
    uint32_t routed_ = 0;
    std::string limited_by_;
  };

  explicit InterruptBudget(Limits limits) : limits_(limits) {}
  InterruptBudget(const InterruptBudget&) = delete;
  InterruptBudget& operator=(const InterruptBudget&) = delete;

  // At most `wanted` (not 0) vectors, at least one. kResourceExhausted, with
  // the limit that was hit, when there is none left.
  absl::StatusOr<Reservation> Reserve(uint32_t wanted);

 private:
  void Return(const Reservation& reservation);

  const Limits limits_;
  absl::Mutex mutex_;
  uint64_t vectors_ ABSL_GUARDED_BY(mutex_) = 0;  // reserved
  uint64_t routed_ ABSL_GUARDED_BY(mutex_) = 0;   // of these, with a route
};

}  // namespace passthru::interrupts

#endif  // PASSTHRU_DEVICES_INTERRUPTS_INTERRUPT_BUDGET_H_
