// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/kvm/fake_kvm_irqfd.h"

#include <linux/kvm.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <iterator>
#include <list>
#include <memory>
#include <utility>
#include <vector>

#include "passthru/devices/kernel/syscalls.h"
#include "passthru/testing/kernel/eventfd_table.h"
#include "passthru/testing/kernel/kernel_core.h"
#include "passthru/testing/kernel/kernel_version.h"
#include "passthru/testing/kvm/fake_kvm_routing.h"

namespace passthru::fake {

// One irqfd (struct kvm_kernel_irqfd).
class FakeKvmIrqfds::Irqfd final : public EventfdWaiter {
 public:
  Irqfd(FakeKvmIrqfds* owner, std::shared_ptr<FakeEventfd> eventfd,
        uint32_t gsi, std::shared_ptr<FakeEventfd> resample)
      : owner_(owner),
        eventfd_(std::move(eventfd)),
        gsi_(gsi),
        resample_(std::move(resample)) {}

  // Injects like irqfd_inject(). An edge is a pulse. A resampled line stays up
  // until the guest acknowledges it.
  void OnSignal() override {
    if (resample_ != nullptr) {
      owner_->sink_->SetIrq(IrqSource::kResampler, gsi_, true, "irqfd");
      return;
    }
    owner_->sink_->SetIrq(IrqSource::kUserSpace, gsi_, true, "irqfd");
    owner_->sink_->SetIrq(IrqSource::kUserSpace, gsi_, false, "irqfd");
  }

  void OnHangup() override { owner_->OnHangup(this); }

  FakeEventfd& eventfd() const { return *eventfd_; }
  uint32_t gsi() const { return gsi_; }
  FakeEventfd* resample() const { return resample_.get(); }

 private:
  FakeKvmIrqfds* const owner_;
  const std::shared_ptr<FakeEventfd> eventfd_;
  const uint32_t gsi_;
  const std::shared_ptr<FakeEventfd> resample_;  // Null if edge-triggered.
};

FakeKvmIrqfds::FakeKvmIrqfds(KernelCore* core, IrqSink* sink)
    : core_(core), sink_(sink) {}

FakeKvmIrqfds::~FakeKvmIrqfds() = default;

int FakeKvmIrqfds::Set(const kvm_irqfd& request, IrqchipMode mode) {
  constexpr uint32_t kIrqfdFlags =
      KVM_IRQFD_FLAG_DEASSIGN | KVM_IRQFD_FLAG_RESAMPLE;
  if ((request.flags & ~kIrqfdFlags) != 0) return EINVAL;
  return (request.flags & KVM_IRQFD_FLAG_DEASSIGN) != 0 ? Deassign(request)
                                                        : Assign(request, mode);
}

int FakeKvmIrqfds::Assign(const kvm_irqfd& request, IrqchipMode mode) {
  core_->mutex.AssertHeld();
  const bool resamples = (request.flags & KVM_IRQFD_FLAG_RESAMPLE) != 0;
  // These are the rules of kvm_arch_irqfd_allowed().
  if (mode == IrqchipMode::kNone) return EINVAL;
  if (resamples && mode != IrqchipMode::kKernel) return EINVAL;

  const auto eventfd = core_->eventfds.Lookup(static_cast<int>(request.fd));
  if (!eventfd.ok()) return eventfd.error;
  std::shared_ptr<FakeEventfd> resample;
  if (resamples) {
    auto found = core_->eventfds.Lookup(static_cast<int>(request.resamplefd));
    if (!found.ok()) return found.error;
    resample = std::move(found.value);
  }
  const bool bound_here = std::any_of(
      irqfds_.begin(), irqfds_.end(), [&eventfd](const auto& irqfd) {
        return &irqfd->eventfd() == eventfd.value.get();
      });
  // Newer kernels let only one VM use the eventfd's wait queue.
  const bool bound_elsewhere = core_->version >= KernelVersion::k6_18 &&
                               EventfdTable::HasWaiter(*eventfd.value);
  if (bound_here || bound_elsewhere) return EBUSY;

  irqfds_.push_back(std::make_unique<Irqfd>(this, eventfd.value, request.gsi,
                                            std::move(resample)));
  Irqfd* const irqfd = irqfds_.back().get();
  core_->eventfds.Attach(*eventfd.value, irqfd);
  // kvm_irqfd_assign() also injects for a signal that came before it. It looks
  // at the eventfd with vfs_poll(), which does not take the count.
  if (EventfdTable::Pending(*eventfd.value)) irqfd->OnSignal();
  return 0;
}

// Succeeds even if there was no irqfd to deassign.
int FakeKvmIrqfds::Deassign(const kvm_irqfd& request) {
  core_->mutex.AssertHeld();
  const auto eventfd = core_->eventfds.Lookup(static_cast<int>(request.fd));
  if (!eventfd.ok()) return eventfd.error;
  for (auto irqfd = irqfds_.begin(); irqfd != irqfds_.end();) {
    const auto next = std::next(irqfd);
    if (&(*irqfd)->eventfd() == eventfd.value.get() &&
        (*irqfd)->gsi() == request.gsi) {
      core_->eventfds.Detach((*irqfd)->eventfd(), irqfd->get());
      Shutdown(irqfd);
    }
    irqfd = next;
  }
  return 0;
}

void FakeKvmIrqfds::ReleaseAll() {
  core_->mutex.AssertHeld();
  while (!irqfds_.empty()) {
    const auto irqfd = irqfds_.begin();
    core_->eventfds.Detach((*irqfd)->eventfd(), irqfd->get());
    Shutdown(irqfd);
  }
}

void FakeKvmIrqfds::OnHangup(Irqfd* irqfd) {
  const auto found = std::find_if(
      irqfds_.begin(), irqfds_.end(),
      [irqfd](const auto& candidate) { return candidate.get() == irqfd; });
  if (found != irqfds_.end()) Shutdown(found);
}

// The last irqfd on a resampled GSI lowers the line, as
// irqfd_resampler_shutdown() does.
void FakeKvmIrqfds::Shutdown(
    std::list<std::unique_ptr<Irqfd>>::iterator irqfd) {
  const uint32_t gsi = (*irqfd)->gsi();
  const bool resampled = (*irqfd)->resample() != nullptr;
  irqfds_.erase(irqfd);
  const bool last =
      std::none_of(irqfds_.begin(), irqfds_.end(), [gsi](const auto& other) {
        return other->resample() != nullptr && other->gsi() == gsi;
      });
  if (resampled && last) {
    sink_->SetIrq(IrqSource::kResampler, gsi, false, "irqfd");
  }
}

void FakeKvmIrqfds::Acknowledge(uint32_t gsi) {
  core_->mutex.AssertHeld();
  std::vector<FakeEventfd*> resampled;
  for (const auto& irqfd : irqfds_) {
    if (irqfd->gsi() == gsi && irqfd->resample() != nullptr) {
      resampled.push_back(irqfd->resample());
    }
  }
  if (resampled.empty()) return;
  sink_->SetIrq(IrqSource::kResampler, gsi, false, "irqfd");
  for (FakeEventfd* const eventfd : resampled) core_->eventfds.Signal(*eventfd);
}

void FakeKvmIrqfds::ForEachGsi(
    absl::FunctionRef<void(uint32_t gsi)> visit) const {
  for (const auto& irqfd : irqfds_) visit(irqfd->gsi());
}

std::vector<FakeKvmIrqfds::Assigned> FakeKvmIrqfds::All() const {
  std::vector<Assigned> all;
  for (const auto& irqfd : irqfds_) {
    all.push_back({.gsi = irqfd->gsi(),
                   .eventfd = irqfd->eventfd().identity(),
                   .resample = irqfd->resample() != nullptr});
  }
  return all;
}

}  // namespace passthru::fake
