// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_DEVICES_KERNEL_EVENT_LOOP_H_
#define PASSTHRU_DEVICES_KERNEL_EVENT_LOOP_H_

#include <functional>

#include "absl/status/status.h"

namespace passthru::kernel {

// A loop that calls functions when descriptors become readable. Devices wait
// with it for the eventfds of vectors that the kernel does not deliver itself.
// The interface is narrow, so that a VMM with an event loop of its own can
// implement it. EpollEventLoop is this library's implementation.
//
// Callbacks of one loop run one at a time, and the loop holds no lock
// meanwhile. They call Add() and Remove(), and take the locks of devices.
//
// Implementations are thread-safe.
class EventLoop {
 public:
  virtual ~EventLoop() = default;

  // Watches `fd`, which must stay open until Remove(). `callback` runs whenever
  // `fd` is readable, in error or hung up. With `edge_triggered`, it runs only
  // once for each arrival, and once at first if `fd` is readable already.
  // Returns AlreadyExists if `fd` is watched already.
  virtual absl::Status Add(int fd, bool edge_triggered,
                           std::function<void()> callback) = 0;

  // Stops watching `fd`. By the time this returns, the callback has finished,
  // will not run again, and is destroyed with everything that it captured. If
  // the callback itself calls this, it continues and is destroyed after it
  // returns. The caller must not hold a lock that the callback takes. Returns
  // NotFound if `fd` is not watched.
  virtual absl::Status Remove(int fd) = 0;
};

}  // namespace passthru::kernel

#endif  // PASSTHRU_DEVICES_KERNEL_EVENT_LOOP_H_
