// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_DEVICES_INTERRUPTS_SHARED_LINES_H_
#define PASSTHRU_DEVICES_INTERRUPTS_SHARED_LINES_H_

#include <map>
#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "passthru/allocator/gsi.h"
#include "passthru/devices/interrupts/interrupt_line.h"

namespace passthru::interrupts {

// Lets emulated devices share pins. A pin is asserted while any of its devices
// asserts it. (KVM takes the levels that user space sets for one pin to be one
// source. The interrupts of passed-through devices are another.)
//
// Thread-safe.
class SharedLines {
 public:
  // `controller` must outlive the lines.
  explicit SharedLines(LineController* controller) : controller_(controller) {}
  SharedLines(const SharedLines&) = delete;
  SharedLines& operator=(const SharedLines&) = delete;

  // Returns a line of a device to `gsi`. This object must outlive the line,
  // whose destructor deasserts it.
  std::unique_ptr<InterruptLine> Connect(allocator::Gsi gsi);

 private:
  class Line;

  // Changes the number of devices that assert `gsi`.
  absl::Status Assert(allocator::Gsi gsi);
  absl::Status Deassert(allocator::Gsi gsi);

  LineController* const controller_;
  absl::Mutex mutex_;
  std::map<allocator::Gsi, int> asserted_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace passthru::interrupts

#endif  // PASSTHRU_DEVICES_INTERRUPTS_SHARED_LINES_H_
