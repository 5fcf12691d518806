// SPDX-License-Identifier: Apache-2.0
//
// How devices come and go while the VM runs, and when it ends.

#include <algorithm>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/log/log.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "passthru/devices/kernel/keep_first.h"
#include "passthru/pci/bdf.h"
#include "passthru/vmm/device_manager.h"
#include "passthru/vmm/linux_vm/linux_vm.h"
#include "passthru/vmm/root_ports.h"

namespace passthru::vmm {

std::optional<absl::StatusOr<VmEnd>> LinuxVm::AwaitDue(
    std::vector<pci::Bdf>& due) {
  absl::MutexLock lock(&mutex_);
  absl::Time deadline = absl::InfiniteFuture();
  for (const auto& [guest, departure] : leaving_) {
    deadline = std::min(deadline, departure->deadline);
  }
  mutex_.AwaitWithDeadline(absl::Condition(this, &LinuxVm::HasWork), deadline);
  if (end_.has_value()) return end_;
  leaving_changed_ = false;
  const absl::Time now = absl::Now();
  for (const auto& [guest, departure] : leaving_) {
    if (departure->let_go || departure->deadline <= now) due.push_back(guest);
  }
  return std::nullopt;
}

void LinuxVm::TellRequests() {
  std::vector<pci::Bdf> wanted;
  {
    absl::MutexLock lock(&mutex_);
    for (const auto& [guest, departure] : leaving_) {
      if (!departure->wanted_by_host || departure->told) continue;
      departure->told = true;
      wanted.push_back(guest);
    }
  }
  for (const pci::Bdf guest : wanted) {
    const bool has_port = devices_->root_ports().PortOf(guest).has_value();
    LOG(WARNING) << "the host wants " << HostNameOf(guest)
                 << (has_port ? absl::StrCat(
                                    " back. The guest is asked for it, and "
                                    "loses it if it does not let go within ",
                                    absl::FormatDuration(unplug_time_))
                              : " back. The guest loses it without notice, "
                                "because it is not behind a root port "
                                "(--root_ports)");
  }
}

std::string LinuxVm::HostNameOf(pci::Bdf guest) const {
  const auto device = devices_->Find(guest);
  return device == nullptr ? absl::StrCat("the device at guest ", guest)
                           : device->name();
}

pci::Bdf LinuxVm::CardOf(pci::Bdf guest) const {
  const RootPorts& ports = devices_->root_ports();
  const std::optional<size_t> number = ports.PortOf(guest);
  return number.has_value() ? ports.Behind(*number) : guest;
}

LinuxVm::Departure& LinuxVm::Leaving(pci::Bdf card) {
  leaving_changed_ = true;
  std::shared_ptr<Departure>& departure = leaving_[card];
  if (departure == nullptr) departure = std::make_shared<Departure>();
  return *departure;
}

// Runs in the event loop. The host repeats its request.
void LinuxVm::OnUnplugRequest(pci::Bdf guest) {
  const bool has_port = devices_->root_ports().PortOf(guest).has_value();
  absl::MutexLock lock(&mutex_);
  Departure& departure = Leaving(CardOf(guest));
  departure.wanted_by_host = true;
  departure.deadline =
      std::min(departure.deadline,
               has_port ? absl::Now() + unplug_time_ : absl::InfinitePast());
}

void LinuxVm::OnUnplugPermitted(pci::Bdf guest) {
  absl::MutexLock lock(&mutex_);
  Leaving(CardOf(guest)).let_go = true;
}

bool LinuxVm::HasLetGo(pci::Bdf card) {
  RootPorts& ports = devices_->root_ports();
  const std::optional<size_t> number = ports.PortOf(card);
  return number.has_value() && ports.port(*number).removal_requested() &&
         !ports.port(*number).removal_pending();
}

void LinuxVm::Depart(pci::Bdf card) {
  absl::MutexLock plug(&plug_mutex_);
  const bool let_go = HasLetGo(card);
  {
    absl::MutexLock lock(&mutex_);
    Departure& departure = *leaving_[card];
    departure.let_go = false;
    if (!let_go && departure.deadline > absl::Now()) {
      // The guest has taken it back.
      if (departure.deadline == absl::InfiniteFuture()) leaving_.erase(card);
      return;
    }
  }
  const std::string host = HostNameOf(card);
  if (!let_go && devices_->root_ports().PortOf(card).has_value()) {
    LOG(WARNING) << "the guest loses " << host
                 << " by surprise, because it did not let go in time";
  }
  absl::Status detached = Detach(card);
  if (!detached.ok()) LOG(ERROR) << detached;
  absl::MutexLock lock(&mutex_);
  // Nobody may wait for the end, and then this is the last that holds it.
  const std::shared_ptr<Departure> departure = leaving_.extract(card).mapped();
  if (departure->wanted_by_host && detached.ok()) {
    LOG(WARNING) << host << " is the host's again";
  }
  departure->detached = std::move(detached);
  departure->end = let_go ? UnplugEnd::kLetGo : UnplugEnd::kTaken;
}

absl::StatusOr<pci::Bdf> LinuxVm::Plug(DeviceManager::AttachOptions options) {
  absl::MutexLock plug(&plug_mutex_);
  {
    absl::MutexLock lock(&mutex_);
    if (end_.has_value()) {
      return absl::FailedPreconditionError("the VM has ended");
    }
  }
  RootPorts& ports = devices_->root_ports();
  for (size_t i = 0; i < ports.size() && !options.root_port.has_value(); ++i) {
    if (!ports.port(i).card_present()) options.root_port = i;
  }
  if (!options.root_port.has_value()) {
    return absl::FailedPreconditionError(
        absl::StrCat("each of the guest's ", ports.size(),
                     " root ports has a device, and it finds new ones only "
                     "behind an empty one (--root_ports)"));
  }
  options.hot_plug = true;
  return devices_->Attach(std::move(options));
}

absl::StatusOr<UnplugEnd> LinuxVm::Unplug(pci::Bdf guest, absl::Duration time) {
  std::shared_ptr<Departure> departure;
  {
    absl::MutexLock plug(&plug_mutex_);
    // The guest may answer before this returns.
    const absl::Status status = devices_->RequestUnplug(guest);
    if (!status.ok() && !absl::IsAlreadyExists(status)) return status;
    const pci::Bdf card = CardOf(guest);
    absl::MutexLock lock(&mutex_);
    Departure& leaving = Leaving(card);
    leaving.deadline = std::min(leaving.deadline, absl::Now() + time);
    departure = leaving_[card];
  }
  const auto over = [this, &departure] {
    mutex_.AssertHeld();
    return over_ || departure->end.has_value();
  };
  absl::MutexLock lock(&mutex_);
  mutex_.Await(absl::Condition(&over));
  if (!departure->detached.ok()) return departure->detached;
  return departure->end.value_or(UnplugEnd::kVmEnded);
}

absl::Status LinuxVm::Detach(pci::Bdf guest) {
  if (before_detach_ != nullptr) {
    // The functions of a card go together.
    for (const pci::Bdf device : devices_->Devices()) {
      if (device == guest || CardOf(device) == guest) before_detach_(device);
    }
  }
  return devices_->Detach(guest);
}

bool LinuxVm::IsWanted(pci::Bdf guest) {
  RootPorts& ports = devices_->root_ports();
  const std::optional<size_t> number = ports.PortOf(guest);
  if (number.has_value() && ports.port(*number).removal_requested()) {
    return true;
  }
  absl::MutexLock lock(&mutex_);
  const auto departure = leaving_.find(CardOf(guest));
  return departure != leaving_.end() &&
         departure->second->deadline != absl::InfiniteFuture();
}

absl::Status LinuxVm::DetachAll() {
  absl::MutexLock plug(&plug_mutex_);
  std::vector<std::string> kept;
  const std::vector<pci::Bdf> guests = devices_->Devices();
  for (const pci::Bdf guest : guests) {
    if (!IsWanted(guest)) kept.push_back(devices_->Find(guest)->name());
  }
  absl::Status first;
  for (const pci::Bdf guest : guests) {
    // A function of the same card may have taken it along.
    if (devices_->Find(guest) == nullptr) continue;
    kernel::KeepFirst(first, Detach(guest));
  }
  absl::MutexLock lock(&mutex_);
  kept_.insert(kept_.end(), kept.begin(), kept.end());
  return first;
}

std::vector<std::string> LinuxVm::kept() const {
  absl::MutexLock lock(&mutex_);
  return kept_;
}

}  // namespace passthru::vmm
