// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_VMM_LINUX_VM_USER_EVENTS_H_
#define PASSTHRU_VMM_LINUX_VM_USER_EVENTS_H_

#include <unistd.h>

#include <atomic>

#include "absl/status/status.h"
#include "passthru/devices/kernel/syscalls.h"
#include "passthru/vmm/linux_vm/linux_vm.h"
#include "passthru/vmm/platform/terminal.h"

namespace passthru::vmm {

// The input of the guest's console, and the signals that end the VM, as events
// of the VM's loop.
//
// Thread-compatible. The VM must outlive it.
class UserEvents {
 public:
  // `signals` is a signalfd.
  UserEvents(LinuxVm* vm, kernel::Syscalls* syscalls, int signals)
      : vm_(vm), syscalls_(syscalls), signals_(signals) {}
  UserEvents(const UserEvents&) = delete;
  UserEvents& operator=(const UserEvents&) = delete;
  ~UserEvents();

  absl::Status Watch();

  // The signal or key that asked for the end, as the signal's number.
  int signal() const { return signal_; }

 private:
  void OnSignal();
  void OnInput();
  // Returns false if nothing is left.
  bool ReadInput();

  LinuxVm* const vm_;
  kernel::Syscalls* const syscalls_;
  const int signals_;
  const RawTerminal terminal_{STDIN_FILENO};
  EscapeKeys keys_;
  std::atomic<bool> watches_input_ = false;
  bool watches_signals_ = false;
  std::atomic<int> signal_ = 0;
};

}  // namespace passthru::vmm

#endif  // PASSTHRU_VMM_LINUX_VM_USER_EVENTS_H_
