// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_KERNEL_KERNEL_CORE_H_
#define PASSTHRU_TESTING_KERNEL_KERNEL_CORE_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "absl/synchronization/mutex.h"
#include "passthru/testing/journal/call.h"
#include "passthru/testing/journal/fault_injector.h"
#include "passthru/testing/journal/journal.h"
#include "passthru/testing/kernel/eventfd_table.h"
#include "passthru/testing/kernel/fake_sysfs.h"
#include "passthru/testing/kernel/file_table.h"
#include "passthru/testing/kernel/kernel_version.h"
#include "passthru/testing/kernel/mapping_table.h"

namespace passthru::fake {

// The state that all parts of one fake kernel share, and the mutex that
// serializes them. FakeKernel owns it and takes the mutex around every call of
// a FakeFile. The parts, interrupts included, therefore run as if on a
// single-CPU kernel. When a device signals, the irqfd drains and the vCPU
// receives in the same step.
//
// Methods of FakeFile, EventfdWaiter and DevicePlatform run with the mutex
// held. Public methods that a test calls take it themselves.
struct KernelCore {
  explicit KernelCore(KernelVersion kernel_version) : version(kernel_version) {}
  KernelCore(const KernelCore&) = delete;
  KernelCore& operator=(const KernelCore&) = delete;

  const KernelVersion version;

  // These have mutexes of their own, so that callers may use them with or
  // without `mutex`.
  journal::Journal journal;
  journal::FaultInjector faults;

  absl::Mutex mutex;
  FileTable files ABSL_GUARDED_BY(mutex);
  MappingTable mappings ABSL_GUARDED_BY(mutex);
  EventfdTable eventfds ABSL_GUARDED_BY(mutex);
  FakeSysfs paths ABSL_GUARDED_BY(mutex);

  // Signalled when device models may have work to do, which is after every call
  // into the fake and every guest access that a model saw.
  absl::CondVar device_work;
};

// A part of the fake kernel, such as VFIO or KVM. All methods are called with
// the mutex held.
class Subsystem {
 public:
  virtual ~Subsystem() = default;

  // Does one bounded piece of asynchronous hardware work. Returns false if
  // idle.
  virtual bool Step() { return false; }

  // Appends one line for each object that user space created and has not yet
  // destroyed, such as "vm 1: slot 3 [0xe0000000, +0x1000)". Descriptors and
  // mappings are not among them.
  virtual void AppendResources(std::vector<std::string>& resources) const = 0;
};

// Watches the fake kernel. It is called after everything that may have changed
// the kernel, which is each call that the fake carried out or refused and each
// step of a device. Calls that go to the real kernel without the fake's mutex
// (epoll_wait, reads of an eventfd) change nothing in the fake, so the observer
// does not see them.
//
// Called with the fake kernel's mutex held.
class KernelObserver {
 public:
  virtual ~KernelObserver() = default;

  // `describe` returns the call, of which most observers need no more than its
  // name. `result` is the result of a successful call as the journal shows it.
  // `error` is an errno, or 0 on success.
  virtual void OnCall(std::string_view name,
                      absl::FunctionRef<journal::Call()> describe,
                      int64_t result, int error) = 0;
  virtual void OnHardwareStep() = 0;
};

}  // namespace passthru::fake

#endif  // PASSTHRU_TESTING_KERNEL_KERNEL_CORE_H_
