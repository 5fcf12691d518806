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

// The cost of one MSI or MSI-X vector that the guest uses.
struct VectorCost {
  uint32_t host_vectors = 1;  // allocated by SET_IRQS when the vector is armed
  uint32_t event_fds = 1;     // one descriptor, kept until detach
  uint32_t routes = 1;        // a GSI and its entry, from the first unmask on
};

// The number of vectors that the devices of one VM may have.
//
// Host vectors and descriptors are hard limits, because a vector without one of
// them cannot signal at all. A device reserves its share of them when it is
// attached. If it gets less than it requested, it shows the guest a smaller
// table, so that a driver requests the vectors that exist instead of waiting
// for interrupts that never come. Routes are a soft limit. Vectors beyond it
// work, but through user space.
//
// Thread-safe. It must outlive its reservations.
class InterruptBudget {
 public:
  static constexpr uint32_t kUnlimited = std::numeric_limits<uint32_t>::max();

  struct Limits {
    uint32_t host_vectors = kUnlimited;
    uint32_t event_fds = kUnlimited;  // e.g. RLIMIT_NOFILE minus a reserve
    uint32_t routes = kUnlimited;     // e.g. GsiRouter::available()
    VectorCost cost = {};
  };

  // The share of one device, returned to the budget on destruction. Move-only.
  class Reservation {
   public:
    Reservation() = default;
    Reservation(Reservation&& other) noexcept;
    Reservation& operator=(Reservation&& other) noexcept;
    ~Reservation();

    // Returns how many vectors the device may show.
    uint32_t vectors() const { return vectors_; }
    // Returns how many of these the kernel can route.
    uint32_t routed() const { return routed_; }
    // Returns the scarce resource, e.g. "eventfds", or an empty string if
    // nothing was scarce.
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

  // Reserves between one and `wanted` vectors. `wanted` must not be 0. Returns
  // kResourceExhausted, naming the limit that was hit, if no vector is left.
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
