// SPDX-License-Identifier: Apache-2.0
#ifndef LOOP_H_
#define LOOP_H_

#include <sys/epoll.h>

#include <functional>
#include <map>
#include <thread>
#include <utility>

#include "passthru/passthru.h"

namespace example {

// The VMM's event loop: an epoll instance and a thread. All descriptors are
// added before Start().
class Loop {
 public:
  explicit Loop(passthru::kernel::Syscalls* kernel)
      : kernel_(kernel),
        epoll_(kernel, kernel->EpollCreate(EPOLL_CLOEXEC).value),
        stop_(*passthru::kernel::EventFd::Create(kernel)) {}
  ~Loop() {
    stop_.Signal().IgnoreError();
    if (thread_.joinable()) thread_.join();
  }

  void Add(int fd, std::function<void()> call) {
    epoll_event event = {.events = EPOLLIN, .data = {.fd = fd}};
    kernel_->EpollCtl(epoll_.get(), EPOLL_CTL_ADD, fd, &event);
    calls_[fd] = std::move(call);
  }

  void Start() {
    Add(stop_.fd(), [this] { stopping_ = true; });
    thread_ = std::thread([this] {
      epoll_event event = {};
      while (!stopping_) {
        if (kernel_->EpollWait(epoll_.get(), &event, 1, -1).value == 1) {
          calls_[event.data.fd]();
        }
      }
    });
  }

 private:
  passthru::kernel::Syscalls* const kernel_;
  const passthru::kernel::FileDescriptor epoll_;
  passthru::kernel::EventFd stop_;
  std::map<int, std::function<void()>> calls_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace example

#endif  // LOOP_H_
