// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/interrupts/fake_interrupts.h"

#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/log/check.h"
#include "absl/strings/str_cat.h"
#include "passthru/devices/kernel/errors.h"
#include "passthru/devices/kernel/status_macros.h"

namespace passthru::interrupts {
namespace {

bool Readable(int fd) {
  pollfd poll_fd = {.fd = fd, .events = POLLIN, .revents = 0};
  return poll(&poll_fd, 1, 0) == 1;
}

void Drain(int fd) {
  uint64_t count;
  const ssize_t size = read(fd, &count, sizeof(count));
  CHECK(size == sizeof(count) || errno == EAGAIN);
}

}  // namespace

absl::Status FakeInterruptController::AssignIrqfd(int event_fd,
                                                  allocator::Gsi gsi) {
  absl::MutexLock lock(&mutex_);
  Log(absl::StrCat("irqfd on ", gsi.value()));
  PASSTHRU_RETURN_IF_ERROR(Fails(assign_, "KVM_IRQFD"));
  if (!irqfds_.emplace(event_fd, gsi.value()).second) {
    return kernel::ErrnoError(EBUSY, "KVM_IRQFD");
  }
  if (Readable(event_fd)) Inject(gsi.value());
  return absl::OkStatus();
}

absl::Status FakeInterruptController::AssignResampleIrqfd(int event_fd, int,
                                                          allocator::Gsi gsi) {
  return AssignIrqfd(event_fd, gsi);
}

absl::Status FakeInterruptController::DeassignIrqfd(int event_fd,
                                                    allocator::Gsi gsi) {
  absl::MutexLock lock(&mutex_);
  Log(absl::StrCat("irqfd off ", gsi.value()));
  PASSTHRU_RETURN_IF_ERROR(Fails(deassign_, "KVM_IRQFD"));
  const auto it = irqfds_.find(event_fd);
  if (it == irqfds_.end() || it->second != gsi.value()) return absl::OkStatus();
  irqfds_.erase(it);
  Drain(event_fd);
  return absl::OkStatus();
}

absl::Status FakeInterruptController::SetGsiRouting(
    absl::Span<const kvm_irq_routing_entry> entries) {
  absl::MutexLock lock(&mutex_);
  Log(absl::StrCat("route ", entries.size()));
  PASSTHRU_RETURN_IF_ERROR(Fails(routing_, "KVM_SET_GSI_ROUTING"));
  if (entries.size() > max_entries_) {
    return kernel::ErrnoError(EINVAL, "KVM_SET_GSI_ROUTING");
  }
  table_.assign(entries.begin(), entries.end());
  routes_.clear();
  for (const kvm_irq_routing_entry& entry : entries) {
    if (entry.type != KVM_IRQ_ROUTING_MSI) continue;
    const uint64_t high = entry.u.msi.address_hi;
    const pci::MsiMessage message = {
        .address = (high << 32) | entry.u.msi.address_lo,
        .data = entry.u.msi.data};
    CHECK(routes_.emplace(entry.gsi, message).second);
  }
  return absl::OkStatus();
}

absl::Status FakeInterruptController::SignalMsi(
    const pci::MsiMessage& message) {
  absl::MutexLock lock(&mutex_);
  Log(absl::StrCat("signal ", message.data));
  PASSTHRU_RETURN_IF_ERROR(Fails(signal_, "KVM_SIGNAL_MSI"));
  Deliver(message);
  return absl::OkStatus();
}

void FakeInterruptController::Signal(int event_fd) {
  absl::MutexLock lock(&mutex_);
  const auto it = irqfds_.find(event_fd);
  if (it != irqfds_.end()) {
    Drain(event_fd);
    Inject(it->second);
    return;
  }
  const uint64_t one = 1;
  CHECK_EQ(write(event_fd, &one, sizeof(one)),
           static_cast<ssize_t>(sizeof(one)));
}

void FakeInterruptController::Inject(uint32_t gsi) {
  const auto it = routes_.find(gsi);
  if (it == routes_.end()) {
    ++lost_;
  } else {
    Deliver(it->second);
  }
}

void FakeInterruptController::Deliver(const pci::MsiMessage& message) {
  ++delivered_count_;
  ++delivered_by_data_[message.data];
  if (log_ != nullptr) delivered_.push_back(message);
}

void FakeInterruptController::Log(std::string what) {
  if (log_ != nullptr) log_->push_back(std::move(what));
}

absl::Status FakeInterruptController::Fails(Failure& failure,
                                            const char* what) {
  if (failure.times == 0) return absl::OkStatus();
  --failure.times;
  return kernel::ErrnoError(failure.error, what);
}

std::vector<pci::MsiMessage> FakeInterruptController::TakeDelivered() {
  absl::MutexLock lock(&mutex_);
  return std::exchange(delivered_, {});
}

uint64_t FakeInterruptController::delivered() const {
  absl::MutexLock lock(&mutex_);
  return delivered_count_;
}

uint64_t FakeInterruptController::lost() const {
  absl::MutexLock lock(&mutex_);
  return lost_;
}

uint64_t FakeInterruptController::delivered_with(uint32_t data) const {
  absl::MutexLock lock(&mutex_);
  const auto it = delivered_by_data_.find(data);
  return it == delivered_by_data_.end() ? 0 : it->second;
}

std::vector<kvm_irq_routing_entry> FakeInterruptController::table() const {
  absl::MutexLock lock(&mutex_);
  return table_;
}

size_t FakeInterruptController::irqfds() const {
  absl::MutexLock lock(&mutex_);
  return irqfds_.size();
}

void FakeInterruptController::FailAssign(int times, int error) {
  absl::MutexLock lock(&mutex_);
  assign_ = {times, error};
}

void FakeInterruptController::FailDeassign(int times, int error) {
  absl::MutexLock lock(&mutex_);
  deassign_ = {times, error};
}

void FakeInterruptController::FailRouting(int times, int error) {
  absl::MutexLock lock(&mutex_);
  routing_ = {times, error};
}

void FakeInterruptController::FailSignal(int times, int error) {
  absl::MutexLock lock(&mutex_);
  signal_ = {times, error};
}

void FakeInterruptController::LimitRoutes(size_t entries) {
  absl::MutexLock lock(&mutex_);
  max_entries_ = entries;
}

absl::StatusOr<uint32_t> FakeHostVectors::Set(uint32_t start,
                                              absl::Span<const int> event_fds) {
  absl::MutexLock lock(&mutex_);
  ++calls_;
  const uint32_t end = start + static_cast<uint32_t>(event_fds.size());
  if (log_ != nullptr)
    log_->push_back(absl::StrCat("set ", start, "+", event_fds.size()));
  if (failures_ > 0) {
    --failures_;
    return kernel::ErrnoError(error_, "VFIO_DEVICE_SET_IRQS");
  }
  if (event_fds.empty() || end > count_) {
    return kernel::ErrnoError(EINVAL, "VFIO_DEVICE_SET_IRQS");
  }
  if (!enabled_) {
    if (end > limit_) return limit_;
    for (uint32_t i = 0; i < end; ++i) allocated_.insert(i);
  }
  for (uint32_t i = start; i < end; ++i) {
    const int fd = event_fds[i - start];
    if (fd == kNoEventFd) {
      fds_.erase(i);
      continue;
    }
    if (allocated_.count(i) == 0 &&
        (!dynamic_ || allocated_.size() >= limit_)) {
      for (uint32_t j = start; j <= i; ++j) fds_.erase(j);
      return kernel::ErrnoError(dynamic_ ? ENOSPC : EINVAL,
                                "VFIO_DEVICE_SET_IRQS");
    }
    allocated_.insert(i);
    CHECK(fds_.emplace(i, fd).second) << "vector " << i << " was armed already";
  }
  enabled_ = true;
  return 0;
}

absl::Status FakeHostVectors::Disable() {
  absl::MutexLock lock(&mutex_);
  ++calls_;
  if (log_ != nullptr) log_->push_back("set off");
  if (disable_failures_ > 0) {
    --disable_failures_;
    return kernel::ErrnoError(disable_error_, "VFIO_DEVICE_SET_IRQS");
  }
  if (!enabled_) return kernel::ErrnoError(EINVAL, "VFIO_DEVICE_SET_IRQS");
  enabled_ = false;
  fds_.clear();
  allocated_.clear();
  return absl::OkStatus();
}

bool FakeHostVectors::Fire(uint32_t vector) {
  absl::MutexLock lock(&mutex_);
  const auto it = fds_.find(vector);
  if (it == fds_.end()) return false;
  controller_->Signal(it->second);
  return true;
}

bool FakeHostVectors::enabled() const {
  absl::MutexLock lock(&mutex_);
  return enabled_;
}

size_t FakeHostVectors::allocated() const {
  absl::MutexLock lock(&mutex_);
  return allocated_.size();
}

int FakeHostVectors::calls() const {
  absl::MutexLock lock(&mutex_);
  return calls_;
}

void FakeHostVectors::LimitVectors(uint32_t available) {
  absl::MutexLock lock(&mutex_);
  limit_ = available;
}

void FakeHostVectors::FailDisable(int times, int error) {
  absl::MutexLock lock(&mutex_);
  disable_failures_ = times;
  disable_error_ = error;
}

void FakeHostVectors::FailSet(int times, int error) {
  absl::MutexLock lock(&mutex_);
  failures_ = times;
  error_ = error;
}

}  // namespace passthru::interrupts
