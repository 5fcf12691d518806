// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/linux_vm/user_events.h"

#include <signal.h>
#include <sys/signalfd.h>

#include <cerrno>
#include <cstddef>
#include <string_view>

#include "passthru/devices/kernel/epoll_event_loop.h"
#include "passthru/devices/kernel/errors.h"
#include "passthru/devices/kernel/status_macros.h"
#include "passthru/vmm/platform/serial_port.h"

namespace passthru::vmm {

UserEvents::~UserEvents() {
  kernel::EpollEventLoop& loop = vm_->machine().loop();
  if (watches_input_) loop.Remove(STDIN_FILENO).IgnoreError();
  if (watches_signals_) loop.Remove(signals_).IgnoreError();
}

absl::Status UserEvents::Watch() {
  kernel::EpollEventLoop& loop = vm_->machine().loop();
  PASSTHRU_RETURN_IF_ERROR(
      loop.Add(signals_, /*edge_triggered=*/false, [this] { OnSignal(); }));
  watches_signals_ = true;
  absl::Status status =
      loop.Add(STDIN_FILENO, /*edge_triggered=*/false, [this] { OnInput(); });
  watches_input_ = status.ok();
  if (status.ok()) return status;
  // epoll refuses a file and /dev/null, which never make one wait, and a
  // descriptor that is closed.
  const int error = kernel::ErrnoOf(status);
  if (error == EBADF) return absl::OkStatus();
  if (error != EPERM) return status;
  // The port keeps no more.
  for (size_t i = 0; i < SerialPort::kInputLimit && ReadInput(); ++i) {
  }
  return absl::OkStatus();
}

void UserEvents::OnSignal() {
  signalfd_siginfo info = {};
  const auto got = syscalls_->Read(signals_, &info, sizeof(info));
  if (!got.ok() || got.value != sizeof(info)) return;
  signal_ = static_cast<int>(info.ssi_signo);
  vm_->RequestEnd();
}

void UserEvents::OnInput() {
  if (ReadInput()) return;
  // The input is at its end, and would be readable for ever.
  vm_->machine().loop().Remove(STDIN_FILENO).IgnoreError();
  watches_input_ = false;
}

bool UserEvents::ReadInput() {
  char buffer[256];
  const auto got = syscalls_->Read(STDIN_FILENO, buffer, sizeof(buffer));
  if (!got.ok()) return got.error == EINTR || got.error == EAGAIN;
  if (got.value == 0) return false;
  const std::string_view bytes(buffer, got.value);
  if (!terminal_.is_terminal()) {
    vm_->serial().Input(bytes);
    return true;
  }
  const EscapeKeys::Result keys = keys_.Take(bytes);
  vm_->serial().Input(keys.input);
  if (keys.quit) {
    signal_ = SIGINT;
    vm_->RequestEnd();
  }
  return true;
}

}  // namespace passthru::vmm
