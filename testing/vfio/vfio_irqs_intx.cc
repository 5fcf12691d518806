// SPDX-License-Identifier: Apache-2.0
// The INTx part of VfioIrqs: automask, unmask, resample.
#include <linux/pci_regs.h>
#include <linux/vfio.h>

#include <cerrno>
#include <utility>

#include "passthru/testing/vfio/ioctl_answer.h"
#include "passthru/testing/vfio/vfio_irqs.h"

namespace passthru::fake {
namespace {

using kernel::SyscallResult;

}  // namespace

SyscallResult<int> VfioIrqs::SetIntx(const Request& request,
                                     absl::Span<const uint8_t> data) {
  const bool one = request.start == 0 && request.count == 1;
  switch (request.flags & VFIO_IRQ_SET_ACTION_TYPE_MASK) {
    case VFIO_IRQ_SET_ACTION_MASK:
      if (type_ != Type::kIntx || !one) return FromErrno(EINVAL);
      if ((request.flags & VFIO_IRQ_SET_DATA_EVENTFD) != 0) {
        return FromErrno(ENOTTY);
      }
      if ((request.flags & VFIO_IRQ_SET_DATA_NONE) != 0 || data[0] != 0) {
        MaskIntx();
      }
      return {0, 0};
    case VFIO_IRQ_SET_ACTION_UNMASK:
      if (type_ != Type::kIntx || !one) return FromErrno(EINVAL);
      return UnmaskIntx(request, data);
    case VFIO_IRQ_SET_ACTION_TRIGGER:
      return TriggerIntx(request, data);
    default:
      return FromErrno(ENOTTY);
  }
}

SyscallResult<int> VfioIrqs::UnmaskIntx(const Request& request,
                                        absl::Span<const uint8_t> data) {
  if ((request.flags & VFIO_IRQ_SET_DATA_EVENTFD) == 0) {
    if ((request.flags & VFIO_IRQ_SET_DATA_NONE) != 0 || data[0] != 0) {
      UnmaskIntxAndSignal();
    }
    return {0, 0};
  }
  const int fd = ReadFd(data, 0);
  if (fd < 0) {
    DropUnmaskEventfd();
    return {0, 0};
  }
  auto eventfd = options_.eventfds->Lookup(fd);
  if (!eventfd.ok()) return FromErrno(eventfd.error);
  if (unmask_eventfd_ != nullptr) return FromErrno(EBUSY);
  unmask_eventfd_ = std::move(eventfd.value);
  unmask_waiter_ = std::make_unique<UnmaskWaiter>(this);
  options_.eventfds->Attach(*unmask_eventfd_, unmask_waiter_.get());
  // As in vfio_virqfd_enable(), a pending count unmasks and stays.
  if (EventfdTable::Pending(*unmask_eventfd_)) UnmaskIntxAndSignal();
  return {0, 0};
}

SyscallResult<int> VfioIrqs::TriggerIntx(const Request& request,
                                         absl::Span<const uint8_t> data) {
  const bool none = (request.flags & VFIO_IRQ_SET_DATA_NONE) != 0;
  if (type_ == Type::kIntx && request.count == 0 && none) {
    DisableIntx();
    return {0, 0};
  }
  if ((type_ != Type::kIntx && type_ != Type::kNone) || request.start != 0 ||
      request.count != 1) {
    return FromErrno(EINVAL);
  }
  if ((request.flags & VFIO_IRQ_SET_DATA_EVENTFD) != 0) {
    Trigger trigger;
    if (const int fd = ReadFd(data, 0); fd >= 0) {
      auto eventfd = options_.eventfds->Lookup(fd);
      if (!eventfd.ok()) return FromErrno(eventfd.error);
      trigger = std::move(eventfd.value);
    }
    if (type_ == Type::kIntx) {
      intx_trigger_ = std::move(trigger);
      return {0, 0};
    }
    if (!options_.has_host_irq) return FromErrno(ENODEV);
    intx_trigger_ = std::move(trigger);
    intx_masked_ = virtual_intx_disable_;
    type_ = Type::kIntx;
    WriteIntxDisable(intx_masked_);
    HandleIntx();
    return {0, 0};
  }
  if (type_ != Type::kIntx) return FromErrno(EINVAL);
  if (none || data[0] != 0) SignalIntx();
  return {0, 0};
}

void VfioIrqs::OnIntx(bool asserted) {
  options_.hardware->SetIntxLevel(asserted);
  if (asserted) HandleIntx();
}

void VfioIrqs::HandleIntx() {
  if (!options_.hardware->intx_level()) return;
  if (type_ != Type::kIntx || intx_masked_ ||
      (options_.hardware->can_disable_intx() &&
       options_.hardware->intx_disabled())) {
    return;
  }
  WriteIntxDisable(true);
  intx_masked_ = true;
  SignalIntx();
}

void VfioIrqs::SignalIntx() {
  if (virtual_intx_disable_ || intx_trigger_ == nullptr) {
    ++dropped_;
    return;
  }
  Deliver(intx_trigger_, "INTx", 0);
}

void VfioIrqs::MaskIntx() {
  // Outside of INTx the physical bit still follows the virtual one.
  if (type_ != Type::kIntx) {
    WriteIntxDisable(true);
    return;
  }
  if (intx_masked_) return;
  WriteIntxDisable(true);
  intx_masked_ = true;
}

bool VfioIrqs::TryUnmaskIntx() {
  if (type_ != Type::kIntx) {
    WriteIntxDisable(false);
    return false;
  }
  if (!intx_masked_ || virtual_intx_disable_) return false;
  // Like pci_check_and_unmask_intx(), leaves an asserted line masked, because
  // it would fire at once. The caller sends the interrupt again.
  if (options_.hardware->intx_level()) return true;
  WriteIntxDisable(false);
  intx_masked_ = false;
  return false;
}

void VfioIrqs::UnmaskIntxAndSignal() {
  if (TryUnmaskIntx()) SignalIntx();
}

void VfioIrqs::SetVirtualIntxDisable(bool disabled) {
  if (disabled == virtual_intx_disable_) return;
  if (disabled) {
    virtual_intx_disable_ = true;
    MaskIntx();
  } else {
    virtual_intx_disable_ = false;
    UnmaskIntxAndSignal();
  }
}

void VfioIrqs::DropUnmaskEventfd() {
  if (unmask_eventfd_ == nullptr) return;
  options_.eventfds->Detach(*unmask_eventfd_, unmask_waiter_.get());
  unmask_eventfd_.reset();
  unmask_waiter_.reset();
}

void VfioIrqs::DisableIntx() {
  DropUnmaskEventfd();
  intx_trigger_.reset();
  intx_masked_ = false;
  type_ = Type::kNone;
}

void VfioIrqs::WriteIntxDisable(bool disable) {
  if (!options_.hardware->can_disable_intx()) return;
  const uint32_t command = options_.hardware->ReadConfig(PCI_COMMAND, 2);
  options_.hardware->WriteConfig(
      PCI_COMMAND, 2,
      disable ? command | PCI_COMMAND_INTX_DISABLE
              : command & ~uint32_t{PCI_COMMAND_INTX_DISABLE});
}

}  // namespace passthru::fake
