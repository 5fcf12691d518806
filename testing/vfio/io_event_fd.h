// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_VFIO_IO_EVENT_FD_H_
#define PASSTHRU_TESTING_VFIO_IO_EVENT_FD_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <utility>

#include "passthru/testing/kernel/eventfd_table.h"

namespace passthru::fake {

// One VFIO_DEVICE_IOEVENTFD, which writes a value to a BAR whenever an eventfd
// is signalled, without user space.
//
// Guarded by the fake kernel's mutex (Thread-compatible).
class IoEventFd final : public EventfdWaiter {
 public:
  struct Target {
    uint32_t bar = 0;
    uint64_t offset = 0;
    uint64_t data = 0;
    uint32_t width = 0;
    friend bool operator==(const Target&, const Target&) = default;
  };

  // `table` must outlive this object. `write` does the write.
  IoEventFd(EventfdTable* table, std::shared_ptr<FakeEventfd> eventfd,
            Target target, std::function<void()> write)
      : table_(table),
        eventfd_(std::move(eventfd)),
        target_(target),
        write_(std::move(write)) {
    table_->Attach(*eventfd_, this);
  }
  ~IoEventFd() override {
    if (eventfd_ != nullptr) table_->Detach(*eventfd_, this);
  }
  IoEventFd(const IoEventFd&) = delete;
  IoEventFd& operator=(const IoEventFd&) = delete;

  const Target& target() const { return target_; }

  void OnSignal() override { write_(); }
  // The entry stays until user space deletes it, but no signal can arrive.
  void OnHangup() override { eventfd_.reset(); }

 private:
  EventfdTable* const table_;
  std::shared_ptr<FakeEventfd> eventfd_;
  const Target target_;
  const std::function<void()> write_;
};

}  // namespace passthru::fake

#endif  // PASSTHRU_TESTING_VFIO_IO_EVENT_FD_H_
