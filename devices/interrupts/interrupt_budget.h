// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_DEVICES_INTERRUPTS_INTERRUPT_BUDGET_H_
#define PASSTHRU_DEVICES_INTERRUPTS_INTERRUPT_BUDGET_H_

#include <cstdint>
#include <limits>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"

namespace passthru::interrupts {

// The number of vectors that the devices of one VM may use at the same time.
//
// A vector costs a host vector and a descriptor from the moment when the guest
// first uses it, and nothing before. So a device takes vectors from the budget
// when it arms them, and returns them when it is detached. Each device that is
// attached has a few vectors of its own (Limits::guaranteed) that no other
// device can take. All others belong to the device that arms them first.
//
// The guest is shown at most as many vectors as the budget has left at attach,
// so that a driver requests vectors that can exist.
//
// Routes are not limited here. Vectors that get no route from the MsiRouter
// work, but through user space.
//
// Thread-safe. It must outlive its reservations.
class InterruptBudget {
 public:
  static constexpr uint32_t kUnlimited = std::numeric_limits<uint32_t>::max();

  struct Limits {
    uint32_t host_vectors = kUnlimited;
    uint32_t event_fds = kUnlimited;  // e.g. EventFdLimit()
    // How many vectors each device can count on, if it has so many.
    uint32_t guaranteed = 16;
  };

  // The share of one device, returned to the budget on destruction. Move-only.
  // It must not be moved or destroyed during a call to it.
  class Reservation {
   public:
    // A reservation without a budget, which limits nothing.
    Reservation() = default;
    Reservation(Reservation&& other) noexcept;
    Reservation& operator=(Reservation&& other) noexcept;
    ~Reservation();

    // Returns how many vectors the device may show.
    uint32_t vectors() const { return vectors_; }
    // Returns the scarce resource, e.g. "eventfds", or an empty string if
    // nothing was scarce.
    const std::string& limited_by() const { return limited_by_; }

    // Takes one vector from the budget, which the device is about to arm.
    // Returns kResourceExhausted, naming the limit that was hit, if none is
    // left for this device.
    absl::Status Take();
    // Returns `count` vectors that were taken.
    void Return(uint32_t count);

   private:
    friend class InterruptBudget;
    InterruptBudget* budget_ = nullptr;
    uint32_t vectors_ = 0;
    std::string limited_by_;
    // Guarded by the budget's mutex.
    uint64_t guaranteed_ = 0;
    uint64_t taken_ = 0;
  };

  explicit InterruptBudget(Limits limits) : limits_(limits) {}
  InterruptBudget(const InterruptBudget&) = delete;
  InterruptBudget& operator=(const InterruptBudget&) = delete;

  // Enters a device that would like to show `wanted` vectors, which must not be
  // 0, and grants it between one and `wanted`. Returns kResourceExhausted,
  // naming the limit that was hit, if no vector is left.
  absl::StatusOr<Reservation> Reserve(uint32_t wanted);

 private:
  uint64_t Capacity() const;
  const char* Scarce() const;
  const char* Advice() const;

  const Limits limits_;
  absl::Mutex mutex_;
  // The sum over all devices of what each has taken or is guaranteed, whichever
  // is more.
  uint64_t held_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace passthru::interrupts

#endif  // PASSTHRU_DEVICES_INTERRUPTS_INTERRUPT_BUDGET_H_
